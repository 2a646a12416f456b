"""What is left of a cluster that has lost its majority for good, from its survivors' disks.

It becomes a backup file, to be restored into a new cluster: one mechanism. The new cluster has an
id of its own, so that no node of the old one is ever taken for one of its own.

Of each group the survivor counts whose log is the most up to date, by the term and then the index
of its last entry, as in an election (Raft §5.4.1): whatever is committed and is on any survivor is
in that log. For let an entry of term T be committed, and on a survivor X: a log that ends in a
later term than T was written by leaders that had the entry, and agrees with theirs up to its end;
one that ends in T was written by the same leader, and if it is no shorter than X's holds the entry.

All of that log is applied, its tail too, of which nobody can say any more whether it was
committed. To leave it out could lose what was acknowledged. To apply it does at worst what a caller
asked for and was told had an unknown end; or what a majority, unknown to this survivor, decided
otherwise: but then what it decided is on the lost disks, and lost anyway. That is what may be lost:
writes that were acknowledged by the nodes that are gone, and had not reached a survivor.

Invariant: nothing is changed in the directories but that, in the end, they are marked as given up.
"""

import os
import secrets
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack, closing
from typing import BinaryIO, Final, NamedTuple, TypedDict

import globaltable
from globaltable.admin.backup import Progress, Taken
from globaltable.backup.records import FORMAT_VERSION, Begin, Header, Origin
from globaltable.backup.writing import BackupWriter
from globaltable.deal import Deal
from globaltable.errors import ConfigError, Corrupt, StorageError
from globaltable.holdings import Holdings, keepers
from globaltable.model import Batch
from globaltable.raft.journal import Journal, founders_in, is_no_op
from globaltable.row_keys import is_system_row, slot_of_row
from globaltable.server.config import Config, NodeConfig
from globaltable.store import identity, known_topology
from globaltable.store.frozen import FrozenRows
from globaltable.store.lmdb_log import LmdbLogStore
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.table import Table
from globaltable.topology import Topology
from globaltable.wire.batches import decode_batch
from globaltable.wire.packing import pack

_CHUNK_BYTES: Final = 262_144
_BATCH: Final = b"\x00"
_ID_BYTES: Final = 6


class _Whose(TypedDict):
    cluster: str
    node: str
    groups: int
    slots: int


class Standing(NamedTuple):
    """One survivor's replica of a group."""

    node: str
    last_term: int
    last_index: int
    flushed: int
    """The last revision in its table: certainly committed."""
    reason: str
    """Why it cannot be used; empty if it can."""
    voters: tuple[str, ...] = ()
    """By the latest configuration in its log; empty if nothing has said so since it was founded."""

    @property
    def tail(self) -> int:
        """Entries of which it is not known whether they were committed."""
        return max(0, self.last_index - self.flushed)


class Found(NamedTuple):
    """A group's replicas, and the one that is used."""

    group: int
    chosen: Standing
    others: tuple[Standing, ...]


class _Survivor:
    def __init__(self, config: Config, node: NodeConfig) -> None:
        self.node = node
        self.log = LmdbLogStore(node.data_dir / "log")
        self.table = LmdbTableStore(node.data_dir / "table")
        self.held = set(self.log.groups())

    def close(self) -> None:
        self.table.close()
        self.log.close()

    def standing(self, group: int) -> Standing:
        name = self.node.name
        if group not in self.held:
            return Standing(name, 0, 0, 0, "it holds no replica of it")
        try:
            image = self.log.load(group)
            if image.hard_state.joining:
                return Standing(name, 0, 0, 0, "it had not yet joined")
            if image.hard_state.rebuilding:
                return Standing(name, 0, 0, 0, "it was discarded, and not yet rebuilt")
            state = self.table.image(group).state
            members = state.members or founders_in(image)
            journal = Journal(group, image, state.applied, state.applied_term, members)
        except StorageError as error:
            return Standing(name, 0, 0, 0, str(error))
        voters = journal.members.voters if journal.members is not None else ()
        return Standing(name, journal.last_term, journal.last_index, state.applied, "", voters)

    def replayed(self, group: int, slots: int, deal: Deal) -> Table:
        """The group's table, at the end of its log."""
        image = self.table.image(group)
        state = image.state
        table = Table(slots, self.table.rows(group), state, image.history, deal)
        journal = Journal(group, self.log.load(group), state.applied, state.applied_term)
        for command, index, term in journal:
            if index <= table.applied:
                continue
            batch = _batch(command)
            if batch is None:
                table.advance(index, term)
            else:
                table.apply(index, term, batch)
        return table


def _batch(command: bytes) -> Batch | None:
    """None for an entry that is about the group itself."""
    if is_no_op(command) or not command.startswith(_BATCH):
        return None
    return decode_batch(command[len(_BATCH) :])


class Salvage:
    """The survivors' directories, held. A context manager."""

    def __init__(self, config: Config, nodes: Sequence[str]) -> None:
        """Raises `ConfigError` if a directory is another's or in use, `StorageError` if it cannot
        be read."""
        self.config = config
        self._stack = ExitStack()
        self._survivors: dict[str, _Survivor] = {}
        self._nodes = [config.node(name) for name in nodes]
        self._founded = config.topology()
        self._known: dict[str, Topology] = {}
        """What each survivor knows, if it has kept anything."""
        successors = set()
        try:
            for node in self._nodes:
                if not node.data_dir.is_dir():
                    raise ConfigError(
                        f"{node.data_dir} does not exist: node {node.name} is no survivor"
                    )
                kept = known_topology.load(node.data_dir)
                if kept is not None:
                    self._known[node.name] = kept.newest
                lock = identity.claim(node.data_dir, if_retired=True, **self._whose(node))
                self._stack.callback(os.close, lock)
                successors.add(identity.successor(node.data_dir))
                survivor = self._stack.enter_context(closing(_Survivor(config, node)))
                self._survivors[node.name] = survivor
        except BaseException:
            self.close()
            raise
        named = sorted(successors - {""})
        self.successor_id = named[0] if named else secrets.token_hex(_ID_BYTES)
        """Of the cluster to come. A recovery that is done again names the same."""

    def _whose(self, node: NodeConfig) -> _Whose:
        return _Whose(
            cluster=self.config.fence,
            node=node.name,
            groups=len(self._known.get(node.name, self._founded).groups),
            slots=self.config.slots,
        )

    @property
    def topology(self) -> Topology:
        """The newest that any survivor knows; the founding one if nothing has changed since."""
        known = [self._founded, *self._known.values()]
        return max(known, key=lambda topology: topology.version)

    def is_majority(self, survey: Sequence[Found]) -> bool:
        """Of every group, by the members that the log of the one that counts has."""
        names = set(self._survivors)
        for group, chosen, _ in survey:
            voters = chosen.voters or self._founded.groups[group].replicas
            if 2 * len(names.intersection(voters)) <= len(voters):
                return False
        return True

    def survey(self) -> list[Found]:
        """Raises `Corrupt` if there is a group of which nothing can be used."""
        found = []
        for group in range(len(self.topology.groups)):
            standings = [survivor.standing(group) for survivor in self._survivors.values()]
            usable = [standing for standing in standings if not standing.reason]
            if not usable:
                reasons = "; ".join(f"{one.node}: {one.reason}" for one in standings)
                raise Corrupt(f"nothing of group {group} can be used: {reasons}")
            chosen = max(usable, key=lambda one: (one.last_term, one.last_index))
            others = tuple(one for one in standings if one is not chosen)
            found.append(Found(group, chosen, others))
        return found

    def write(self, file: BinaryIO, found: Sequence[Found], progress: Progress) -> Taken:
        """Raises `Corrupt` at a record that is damaged."""
        config = self.config
        header = Header(
            format_version=FORMAT_VERSION,
            origin=Origin.SALVAGE,
            cluster=config.cluster,
            cluster_id=config.cluster_id,
            successor_id=self.successor_id,
            tables=config.tables,
            slots=config.slots,
            groups=len(self.topology.groups),
            begun_at_ms=int(time.time() * 1_000),
            made_by=globaltable.__version__,
        )
        writer = BackupWriter(file.write, header)
        kept = self._kept(found)
        for group, chosen, _ in found:
            survivor = self._survivors[chosen.node]
            table = self._replayed(group, chosen)
            writer.begin_group(Begin(group, table.applied, chosen.last_term, chosen.node))
            for rows in _rows(survivor, group, table, kept[group]):
                writer.rows(pack(rows))
                progress(writer.contents.tally.rows, 0)
            writer.end_group()
        trailer = writer.finish()
        contents = writer.contents
        return Taken(header, trailer, contents.tally, contents.heads, writer.bytes)

    def _replayed(self, group: int, chosen: Standing) -> Table:
        deal = self.topology.deal_of(group)
        return self._survivors[chosen.node].replayed(group, self.config.slots, deal)

    def _kept(self, found: Sequence[Found]) -> dict[int, set[int]]:
        """By group, the slots that are taken from it. Each is taken once, though what the survivors
        have of two groups between which it moved may be of different times."""
        of_geos: dict[str, dict[int, Holdings]] = {}
        for group, chosen, _ in found:
            geo = self.topology.groups[group].geo
            of_geos.setdefault(geo, {})[group] = self._replayed(group, chosen).holdings
        kept: dict[int, set[int]] = {group: set() for group, _, _ in found}
        for of_groups in of_geos.values():
            for slot, group in keepers(of_groups).items():
                kept[group].add(slot)
        return kept

    def retire(self) -> None:
        """No node of the old cluster starts on these directories again."""
        for node in self._nodes:
            whose = self._whose(node)
            identity.retire(node.data_dir, successor=self.successor_id, **whose)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> "Salvage":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _rows(
    survivor: _Survivor, group: int, table: Table, slots: Set[int]
) -> Iterator[list[tuple[bytes, bytes]]]:
    with closing(survivor.table.open_rows(group)) as source:
        rows = FrozenRows(source, table.freeze())
        while chunk := rows.next_rows(_CHUNK_BYTES):
            own = [row for row in chunk if slot_of_row(row[0]) in slots]
            if callers := [row for row in own if not is_system_row(row[0])]:
                yield callers
