"""A backup restored into a new cluster of any shape, through its logs, while it runs.

Every row goes where the new cluster's slots and groups put it, by an import (`globaltable.table`),
which keeps its unit and version and changes no row that stands. So it may be broken off anywhere:
run again with the same file, it goes on behind the last chunk that was noted, and what was imported
behind that is found to be there already.

Invariants: the whole file is verified before anything is imported; a chunk is noted only when it
and all before it are imported.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import BinaryIO, Final, NamedTuple

from globaltable.admin.backup import Progress, Taken, verify
from globaltable.admin.nodes import Node, Nodes, asking
from globaltable.backup.contents import NamedRow
from globaltable.backup.reading import BackupReader
from globaltable.backup.records import Origin
from globaltable.errors import InvalidArgument, NoQuorum, Rejected, Unavailable
from globaltable.model import SYSTEM_TABLE, qualified_name, split_name
from globaltable.server.restores import not_empty
from globaltable.v1 import admin_pb2 as pb

UNDER_WAY_MAX: Final = 8
"""Chunks that are sent and not answered."""
NOTED_CHUNKS: Final = 64
"""So many chunks are imported from one note to the next."""
REQUEST_TIMEOUT_S: Final = 20.0
PATIENCE_S: Final = 120.0
"""How long a chunk is tried again for."""
_RETRY_DELAY_S: Final = 0.2

_SYSTEM_PREFIX: Final = qualified_name(SYSTEM_TABLE, "")


class Restored(NamedTuple):
    backup: Taken
    imported: int
    present: int
    """Rows that stood there already: of a restore that was broken off."""
    was_done: bool
    """An earlier restore of this backup had come to its end: nothing was done."""
    resumed_at: int
    """Chunks that an earlier one had noted."""


def restore(file: BinaryIO, nodes: Nodes, progress: Progress) -> Restored:
    """Raises `Rejected` if the cluster is not one to restore this backup to, `Unavailable` if it
    cannot go on for now: to run it again goes on."""
    backup = verify(file, lambda *_: None)
    _require_fit(backup, nodes)
    return _Restore(file, backup, nodes, progress).run()


def _require_fit(backup: Taken, nodes: Nodes) -> None:
    header, cluster = backup.header, nodes.cluster
    if header.origin == Origin.SALVAGE and cluster.cluster_id != header.successor_id:
        raise Rejected(
            f"this is what was recovered of a cluster that lost its majority: it is restored only "
            f'to a cluster whose configuration says cluster_id = "{header.successor_id}", so that '
            f"nodes of the old one are refused; this one has "
            + (f"{cluster.cluster_id!r}" if cluster.cluster_id else "none")
        )
    lacking = sorted(backup.tally.by_table.keys() - {*cluster.tables, SYSTEM_TABLE})
    if lacking:
        raise InvalidArgument(
            f"the cluster has no table {lacking[0]!r}, of which the backup holds "
            f"{backup.tally.by_table[lacking[0]].rows} rows; add it to the configuration's tables"
        )


class _Restore:
    def __init__(self, file: BinaryIO, backup: Taken, nodes: Nodes, progress: Progress) -> None:
        self._file = file
        self._backup = backup
        self._nodes = nodes.nodes
        self._node_by_name = {node.name: node for node in nodes.nodes}
        self._topology = nodes.topology
        self._holders = [group.holders for group in nodes.topology.groups]
        self._progress = progress
        self._noting: Node | None = None
        """Whom the standing is noted at."""
        self._imported = 0
        self._present = 0
        self._counting = threading.Lock()
        self._stop = threading.Event()

    def run(self) -> Restored:
        standing = self._begin()
        resumed_at = standing.chunks
        if not standing.done:
            standing = self._import_all(standing)
            self._note(standing, standing.chunks, done=True)
            return self._result(False, resumed_at)
        return self._result(True, resumed_at)

    def _result(self, was_done: bool, resumed_at: int) -> Restored:
        return Restored(self._backup, self._imported, self._present, was_done, resumed_at)

    def _import_all(self, standing: pb.RestoreStanding) -> pb.RestoreStanding:
        """All chunks behind those that are noted, some at a time; notes how far they are done."""
        done_before = standing.chunks
        finished: set[int] = set()
        under_way: set[Future[int]] = set()
        with ThreadPoolExecutor(UNDER_WAY_MAX, thread_name_prefix="import") as pool:
            try:
                for number, rows in self._chunks(standing.chunks):
                    under_way.add(pool.submit(self._import, number, rows))
                    if len(under_way) >= UNDER_WAY_MAX:
                        under_way = self._collect(under_way, finished)
                    while done_before in finished:
                        finished.remove(done_before)
                        done_before += 1
                    if done_before - standing.chunks >= NOTED_CHUNKS:
                        standing = self._note(standing, done_before)
                while under_way:
                    under_way = self._collect(under_way, finished)
            except BaseException:
                self._stop.set()
                for future in under_way:
                    future.cancel()
                raise
        standing.chunks = done_before + len(finished)
        return standing

    def _chunks(self, skip: int) -> Iterator[tuple[int, list[NamedRow]]]:
        """Numbered from the file's first."""
        self._file.seek(0)
        reader = BackupReader(self._file.read)
        for number, (_, rows) in enumerate(reader.chunks()):
            if number >= skip:
                # What the old cluster kept about itself is not true of the new one.
                yield number, [row for row in rows if not row.name.startswith(_SYSTEM_PREFIX)]
            self._progress(reader.contents.tally.rows, self._backup.tally.rows)

    def _collect(self, under_way: set[Future[int]], finished: set[int]) -> set[Future[int]]:
        done, rest = wait(under_way, return_when=FIRST_COMPLETED)
        finished.update(future.result() for future in done)
        return rest

    def _note(
        self, standing: pb.RestoreStanding, chunks: int, done: bool = False
    ) -> pb.RestoreStanding:
        request = pb.NoteRestoreRequest(
            backup_id=self._backup.backup_id, version=standing.version, chunks=chunks, done=done
        )
        assert self._noting is not None, "it has begun"
        with asking(self._noting.address):
            return self._noting.stub.NoteRestore(request, timeout=REQUEST_TIMEOUT_S)

    def _begin(self) -> pb.RestoreStanding:
        """Begin it, if every group is empty; or go on with it."""
        request = pb.BeginRestoreRequest(backup_id=self._backup.backup_id)
        standing = self._begin_at_any(request)
        if standing.version == 0:
            self._require_empty()
            request.found_empty = True
            standing = self._begin_at_any(request)
        return standing

    def _require_empty(self) -> None:
        for group, holders in enumerate(self._holders):
            row = self._find_row(group, [n for n in self._nodes if n.name in holders])
            if row.found:
                raise Rejected(not_empty(row.table, row.key))

    def _find_row(self, group: int, nodes: Sequence[Node]) -> pb.FindRowResponse:
        last: Unavailable = NoQuorum(f"no node that holds group {group} has answered")
        for node in nodes:
            try:
                with asking(node.address):
                    request = pb.FindRowRequest(group=group)
                    return node.stub.FindRow(request, timeout=REQUEST_TIMEOUT_S)
            except Unavailable as error:
                last = error
        raise last

    def _begin_at_any(self, request: pb.BeginRestoreRequest) -> pb.RestoreStanding:
        """At the first node that can: who holds no replica of the mark's group cannot."""
        for node in self._nodes:
            try:
                with asking(node.address):
                    standing = node.stub.BeginRestore(request, timeout=REQUEST_TIMEOUT_S)
            except Unavailable as error:
                last = error
            else:
                self._noting = node
                return standing
        raise last

    # --- on the pool's threads -------------------------------------------------------------------

    def _import(self, number: int, rows: list[NamedRow]) -> int:
        """The chunk's number, once all its rows stand."""
        deadline = time.monotonic() + PATIENCE_S
        attempt = number
        while rows and not self._stop.is_set():
            left: list[NamedRow] = []
            delay_s, reason = 0.0, ""
            for node, share in self._shares(rows, attempt):
                try:
                    undecided, said, node_delay_s = self._send(node, share)
                    left += undecided
                except Unavailable as error:
                    left += share
                    said, node_delay_s = str(error), _RETRY_DELAY_S
                reason, delay_s = said or reason, max(delay_s, node_delay_s)
            rows = left
            if rows:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"{reason}; {self._imported} rows were imported: to run the restore again "
                        "goes on from there"
                    )
                attempt += 1
                self._stop.wait(delay_s)
        return number

    def _shares(
        self, rows: Sequence[NamedRow], attempt: int
    ) -> Iterator[tuple[Node, list[NamedRow]]]:
        """Rows, each with a node that holds its group, another one at each attempt: so none is
        shown to a node outside its geo."""
        shares: dict[str, list[NamedRow]] = {}
        owners = self._topology.groups_of([row.name for row in rows])
        for row, owner in zip(rows, owners, strict=True):
            holders = [name for name in self._holders[owner] if name in self._node_by_name]
            if not holders:
                raise NoQuorum(f"no node that holds group {owner} has answered")
            shares.setdefault(holders[attempt % len(holders)], []).append(row)
        for name, share in shares.items():
            yield self._node_by_name[name], share

    def _send(self, node: Node, rows: list[NamedRow]) -> tuple[list[NamedRow], str, float]:
        """What is undecided of rows that a node was asked to import, why, and when to ask again."""
        with asking(node.address):
            response = node.stub.Import(_request(rows), timeout=REQUEST_TIMEOUT_S)
        self._require_none_refused(rows, response)
        with self._counting:
            self._imported += response.imported
            self._present += response.present
        undecided = [rows[position] for position in response.undecided]
        return undecided, f"{node.address}: {response.detail}", response.retry_delay_ms / 1_000

    def _require_none_refused(self, rows: list[NamedRow], response: pb.ImportResponse) -> None:
        if not response.refused:
            return
        refused = response.refused[0]
        name, row = rows[refused.position]
        table, key = split_name(name)
        raise Rejected(
            f"{key!r} of {table!r} is {_told(refused.unit, refused.version)} in the cluster, and "
            f"{_told(row.unit, row.version)} in the backup: somebody writes to the cluster that is "
            "being restored; begin anew with an empty one, and let nobody else in"
        )


def _told(unit: str | None, version: int) -> str:
    return f"in unit {unit!r} at version {version}" if unit else f"unbound at version {version}"


def _request(rows: list[NamedRow]) -> pb.ImportRequest:
    names, values = zip(*rows, strict=True)
    units, versions, _, client_ids, sequences = zip(*values, strict=True)
    return pb.ImportRequest(
        names=names,
        units=[unit or "" for unit in units],
        versions=versions,
        client_ids=client_ids,
        sequences=sequences,
    )
