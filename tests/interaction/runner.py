"""Replicas of one group in a conversation that is led by hand, command by command.

Nothing arrives unless a command delivers it, and no time passes but by `tick`; disks are the
simulator's. What replicas do about a command is its transcript: each message when it arrives, and
under it, indented, what it brings about: a role, what is persisted, applied, and told to callers.

Commands (links are written `from->to`):

    add-nodes NAME ... [log-entries:N] [append-bytes:N]     start a group of these replicas
    join NAME ...            start replicas that founded nothing and wait to be added
    want voters:A,B[,...] [learners:A,...]   what whoever leads is to bring the members to
    campaign NODE            its election timeout passes
    tick SECONDS             the clock moves once, for all
    bind NODE KEY UNIT · move NODE KEY UNIT VERSION · unbind NODE KEY VERSION · read NODE
    retry NODE OP            the same op once more
    release NODE KEY HOP GROUP · adopt NODE KEY HOP GROUP REVISION [rows:N] · drop-rows NODE KEY HOP
    refuse NODE KEY HOP GROUP · reclaim NODE KEY HOP         steps of a move of the key's slot
    copy NODE KEY HOP GROUP AFTER THROUGH [KEY=UNIT@VERSION ...] [opN ...]   rows, and known ops
    holdings NODE            of slots that were moved
    deliver [LINK]           what is in flight now (on that link), and no answers to it
    stabilize [NODE ...]     deliver (among these nodes) until nothing is in flight
    drop LINK                lose what is in flight
    delay LINK               keep it aside · duplicate LINK  keep a copy aside
    deliver-late             deliver what was kept aside
    cut NODE [NODE]          the link between two, or all links of one, go down · mend
    crash NODE · restart NODE
    discard NODE             log and table of one that is down are discarded, and it is marked
    hand-over NODE NODE      the leader gives up leadership to another
    flush NODE               the table reaches the disk, so that the log can be compacted
    status · log [NODE] · get NODE KEY
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from globaltable import limits
from globaltable.errors import SlotElsewhere
from globaltable.group import Replica
from globaltable.holdings import NO_ROWS_DIGEST
from globaltable.members import Members
from globaltable.model import Op, OpKind, OutcomeStatus, qualified_name
from globaltable.proposals import Settled
from globaltable.raft.adaptor import Role, Timing
from globaltable.raft.messages import Message
from globaltable.raft.transfer import EndRead, InstallSnapshot, Job, ReadChunk, StageChunk
from globaltable.replica_limits import ReplicaLimits
from globaltable.slot_steps import Adopt, CopiedRow, Copy, Drop, Reclaim, Refuse, Release, Step
from globaltable.store.log import HardState
from globaltable.store.table import SnapshotSource
from globaltable.topology import Group, slot_of
from globaltable.wire.rows import HistoryRow
from tests.interaction import notation
from tests.interaction.notation import Notation
from tests.simulation.disk import Platter, SimLog, SimTable

TIMING: Final = Timing(heartbeat_s=0.1, election_min_s=1.0, election_max_s=2.0)
TABLE: Final = "t"
GROUP: Final = 0
CLIENT: Final = 1
OTHER_CLIENT: Final = 2
"""Whose ops were applied in another group."""
SLOTS: Final = 16
_PATIENCE_S: Final = 3_600.0
_DELIVERIES_MAX: Final = 500

Standing = tuple[Role, int, str | None]


@dataclass(slots=True)
class _Flight:
    sender: str
    to: str
    message: Message


@dataclass(slots=True)
class _Life:
    """One process, from its start to its crash."""

    replica: Replica
    log: SimLog
    table: SimTable
    told: Standing
    """What the transcript last said of its role."""
    removed: bool = False
    sources: dict[tuple[str, int], SnapshotSource] = field(default_factory=dict)


class Conversation:
    """One transcript's replicas, and what is in flight between them."""

    def __init__(self) -> None:
        self._now = 100.0
        self._group = Group(GROUP, ())
        self._names: list[str] = []
        self._wanted: Members | None = None
        self._limits = ReplicaLimits()
        self._append_bytes = limits.APPEND_BYTES_MAX
        self._platters: dict[str, Platter] = {}
        self._starts: dict[str, int] = {}
        self._lives: dict[str, _Life] = {}
        self._down: set[frozenset[str]] = set()
        self._in_flight: list[_Flight] = []
        self._aside: list[_Flight] = []
        self._ops: list[Op] = []
        self._notation = Notation()
        self._lines: list[str] = []
        self._commands: dict[str, Callable[..., None]] = {
            "add-nodes": self._add_nodes,
            "join": self._join,
            "want": self._want,
            "campaign": self._campaign,
            "tick": self._tick,
            "bind": self._bind,
            "move": self._move,
            "unbind": self._unbind,
            "read": self._read,
            "retry": self._retry,
            "release": self._release,
            "copy": self._copy,
            "adopt": self._adopt,
            "drop-rows": self._drop_rows,
            "refuse": self._refuse,
            "reclaim": self._reclaim,
            "holdings": self._holdings,
            "deliver": self._deliver,
            "stabilize": self._stabilize,
            "drop": self._drop,
            "delay": self._delay,
            "duplicate": self._duplicate,
            "deliver-late": self._deliver_late,
            "cut": self._cut,
            "mend": self._mend,
            "crash": self._crash,
            "restart": self._restart,
            "discard": self._discard,
            "wipe": self._wipe,
            "hand-over": self._hand_over,
            "flush": self._flush,
            "status": self._status,
            "log": self._log,
            "get": self._get,
        }

    def run(self, command: str) -> list[str]:
        """The transcript of one command."""
        name, *arguments = command.split()
        self._lines = []
        self._commands[name](*arguments)
        return self._lines or ["ok"]

    def _say(self, line: str) -> None:
        self._lines.append(line)

    # --- nodes -----------------------------------------------------------------------------------

    def _add_nodes(self, *words: str) -> None:
        names = tuple(word for word in words if ":" not in word)
        options = {
            name: int(value) for name, _, value in (w.partition(":") for w in words) if value
        }
        self._append_bytes = options.pop("append-bytes", self._append_bytes)
        log_entries = options.pop("log-entries", self._limits.log_entries)
        self._limits = ReplicaLimits(log_entries=log_entries)
        assert not options, options
        self._group = Group(GROUP, names)
        self._names = list(names)
        self._platters = {name: Platter() for name in names}
        self._starts = dict.fromkeys(names, 0)
        for name in names:
            self._start(name)

    def _join(self, *names: str) -> None:
        for name in names:
            self._names.append(name)
            self._platters[name] = Platter()
            self._starts[name] = 0
            self._start(name)
            self._say(self._status_of(name))

    def _want(self, *words: str) -> None:
        named = (word.partition(":") for word in words)
        options = {kind: tuple(names.split(",")) for kind, _, names in named}
        self._wanted = Members(options["voters"], options.get("learners", ()))
        for life in self._lives.values():
            life.replica.wanted = self._wanted
        self._turns()

    def _start(self, name: str) -> None:
        self._starts[name] += 1
        log, table = SimLog(self._platters[name]), SimTable(self._platters[name])
        bound = limits.APPEND_BYTES_MAX
        limits.APPEND_BYTES_MAX = self._append_bytes  # type: ignore[misc]
        try:
            replica = Replica(
                group=self._group,
                members=Members(self._group.replicas) if name in self._group.replicas else None,
                node=name,
                slots=SLOTS,
                image=log.load(GROUP),
                store=table,
                timing=TIMING,
                limits=self._limits,
                rng=random.Random(f"{name} {self._starts[name]}"),
                now=self._now,
            )
        finally:
            limits.APPEND_BYTES_MAX = bound  # type: ignore[misc]
        replica.wanted = self._wanted
        self._lives[name] = _Life(replica, log, table, _standing(replica))
        for peer in self._lives:
            if peer != name and frozenset((name, peer)) not in self._down:
                self._set_link(name, peer, True)

    def _crash(self, name: str) -> None:
        for peer in self._lives:
            if peer != name:
                self._set_link(name, peer, False)
        del self._lives[name]

    def _discard(self, name: str) -> None:
        assert name not in self._lives, "it is not down"
        self._platters[name] = Platter(states={GROUP: HardState(0, None, rebuilding=True)})

    def _wipe(self, name: str) -> None:
        """Its disk is empty, and it is to be started with `--join`."""
        assert name not in self._lives, "it is not down"
        self._platters[name] = Platter(states={GROUP: HardState(0, None, joining=True)})

    def _restart(self, name: str) -> None:
        self._start(name)
        self._say(self._status_of(name))
        self._turns()

    def _set_link(self, one: str, other: str, up: bool) -> None:
        """What is in flight on a link is lost with it."""
        kept = []
        for flight in self._in_flight:
            if up or {flight.sender, flight.to} != {one, other}:
                kept.append(flight)
            else:
                self._say(f"lost: {self._written(flight)}")
        self._in_flight = kept
        self._lives[one].replica.set_connected(other, up)
        self._lives[other].replica.set_connected(one, up)

    def _cut(self, one: str, *others: str) -> None:
        self._change_links(one, others, up=False)

    def _mend(self, one: str, *others: str) -> None:
        self._change_links(one, others, up=True)

    def _change_links(self, one: str, others: Sequence[str], *, up: bool) -> None:
        for other in others or [name for name in self._names if name != one]:
            pair = frozenset((one, other))
            if up == (pair not in self._down):
                continue
            (self._down.discard if up else self._down.add)(pair)
            if pair <= self._lives.keys():
                self._set_link(one, other, up)
        self._turns()

    # --- time and turns --------------------------------------------------------------------------

    def _campaign(self, name: str) -> None:
        self._lives[name].replica.guard.adaptor.set_election_deadline(self._now - 0.001)
        self._turn(name)

    def _tick(self, seconds: str) -> None:
        self._now += float(seconds)
        self._turns()

    def _turns(self) -> None:
        for name in self._names:
            if name in self._lives:
                self._turn(name)

    def _turn(self, name: str) -> None:
        """Step, persist, send, apply: the contract of `globaltable.group`, until it rests."""
        life = self._lives[name]
        replica = life.replica
        jobs: Sequence[Job] = ()
        while True:
            ready = replica.step(self._now, may_hand_over=False)
            self._say_role(name)
            self._send(name, ready.at_once)
            if ready.write is not None:
                before = life.log.load(GROUP).entries
                life.log.commit([ready.write])
                self._say(f"  {name} persists {self._notation.write(ready.write, before)}")
            self._send(name, ready.messages)
            if ready.committed:
                self._say(f"  {name} applies {self._notation.entries(ready.committed)}")
            completed = replica.complete()
            self._send(name, completed.messages)
            self._tell(name, (*ready.settled, *completed.settled))
            if replica.is_removed and not life.removed:
                self._say(f"  {name} is removed from its group, and may be discarded")
            life.removed = replica.is_removed
            jobs = ready.jobs
            for job in jobs:
                self._carry_out(name, job)
            if not jobs and not replica.wants_step:
                return

    def _send(self, name: str, messages: Iterable[tuple[str, Message]]) -> None:
        for to, message in messages:
            if to in self._lives and frozenset((name, to)) not in self._down:
                self._in_flight.append(_Flight(name, to, message))

    def _say_role(self, name: str) -> None:
        life = self._lives[name]
        standing = _standing(life.replica)
        if standing != life.told:
            life.told = standing
            role, term, leader = standing
            self._say(f"  {notation.role(name, role, leader, term)}")

    def _tell(self, name: str, settled: Iterable[Settled]) -> None:
        for op, outcomes in settled:
            if op is None:
                at = self._lives[name].replica.table.applied
                self._say(f"  {name} may read: it holds all up to {at}")
            elif isinstance(op, Op):
                self._say(f"  {name} tells {notation.outcome(op, outcomes[0])}")
            else:
                self._say(f"  {name} tells {notation.step_outcome(op, outcomes[0])}")

    def _carry_out(self, name: str, job: Job) -> None:
        life = self._lives[name]
        replica = life.replica
        match job:
            case ReadChunk(peer, transfer):
                source = life.sources.get((peer, transfer))
                if source is None:
                    source = life.sources[peer, transfer] = life.table.open_snapshot(GROUP)
                replica.chunk_read(peer, transfer, source.state, source.next_chunk())
            case EndRead(peer, transfer):
                source = life.sources.pop((peer, transfer), None)
                if source is not None:
                    source.close()
            case StageChunk(sender, transfer, number, payload):
                life.table.stage(GROUP, number, payload)
                replica.chunk_staged(sender, transfer, number)
            case InstallSnapshot(_, _, state):
                life.table.install(GROUP, state)
                life.table.refresh()
                self._say(
                    f"  {name} installs the snapshot up to {state.applied}/{state.applied_term}"
                )
                self._tell(name, replica.snapshot_installed())

    def _hand_over(self, name: str, target: str) -> None:
        self._lives[name].replica.hand_over(target)
        self._turn(name)

    def _flush(self, name: str) -> None:
        life = self._lives[name]
        flush = life.replica.begin_flush()
        assert flush is not None
        life.table.flush([(GROUP, flush)])
        life.table.refresh()
        life.replica.table.end_flush()
        self._say(f"{name}'s table is on disk up to {flush.state.applied}")
        self._turn(name)

    # --- ops -------------------------------------------------------------------------------------

    def _bind(self, node: str, key: str, unit: str) -> None:
        self._new_op(node, OpKind.BIND, key, unit, 0)

    def _move(self, node: str, key: str, unit: str, version: str) -> None:
        self._new_op(node, OpKind.MOVE, key, unit, int(version))

    def _unbind(self, node: str, key: str, version: str) -> None:
        self._new_op(node, OpKind.UNBIND, key, "", int(version))

    def _new_op(self, node: str, kind: OpKind, key: str, unit: str, version: int) -> None:
        name = qualified_name(TABLE, key)
        op = Op(kind, name, unit, version, CLIENT, len(self._ops) + 1)
        self._ops.append(op)
        self._submit(node, op)

    def _retry(self, node: str, op: str) -> None:
        self._submit(node, self._ops[int(op.removeprefix("op")) - 1])

    def _submit(self, node: str, op: Op) -> None:
        assert self._lives[node].replica.submit([op], op, self._now + _PATIENCE_S)
        self._turn(node)

    def _read(self, node: str) -> None:
        assert self._lives[node].replica.submit([], None, self._now + _PATIENCE_S)
        self._turn(node)

    # --- moves of slots --------------------------------------------------------------------------

    def _release(self, node: str, key: str, hop: str, group: str) -> None:
        self._take_step(node, Release(_slot(key), int(hop), int(group)))

    def _copy(
        self, node: str, key: str, hop: str, group: str, after: str, through: str, *words: str
    ) -> None:
        rows = [self._row(word) for word in words if "=" in word]
        ops = [self._known(word) for word in words if "=" not in word]
        place = (int(after), int(through))
        copy = Copy(_slot(key), int(hop), int(group), *place, tuple(rows), tuple(ops))
        self._take_step(node, copy)

    def _row(self, word: str) -> CopiedRow:
        key, _, rest = word.partition("=")
        unit, _, version = rest.partition("@")
        name = qualified_name(TABLE, key)
        return CopiedRow(name, unit, int(version), OTHER_CLIENT, int(version))

    def _known(self, word: str) -> HistoryRow:
        """The op as it would have ended where it was applied."""
        op = self._ops[int(word.removeprefix("op")) - 1]
        applied = (OutcomeStatus.APPLIED, op.unit, op.version + 1, 0)
        return HistoryRow(op.kind, op.name, op.client_id, op.sequence, *applied)

    def _adopt(
        self, node: str, key: str, hop: str, group: str, revision: str, rows: str = ""
    ) -> None:
        """With the rows that are staged on the node, unless it is said that there were others."""
        staged = self._lives[node].replica.table.holdings.of(_slot(key))
        count = int(rows.removeprefix("rows:")) if rows else staged.rows
        place = (int(group), int(revision), count)
        digest = staged.digest or NO_ROWS_DIGEST
        self._take_step(node, Adopt(_slot(key), int(hop), *place, digest))

    def _drop_rows(self, node: str, key: str, hop: str) -> None:
        self._take_step(node, Drop(_slot(key), int(hop)))

    def _refuse(self, node: str, key: str, hop: str, group: str) -> None:
        self._take_step(node, Refuse(_slot(key), int(hop), int(group)))

    def _reclaim(self, node: str, key: str, hop: str) -> None:
        self._take_step(node, Reclaim(_slot(key), int(hop)))

    def _take_step(self, node: str, step: Step) -> None:
        assert self._lives[node].replica.submit_step(step, step, self._now + _PATIENCE_S)
        self._turn(node)

    def _holdings(self, node: str) -> None:
        for slot, holding in self._lives[node].replica.table.holdings.moved.items():
            self._say(f"{node} {notation.holding(slot, holding)}")

    # --- messages --------------------------------------------------------------------------------

    def _written(self, flight: _Flight) -> str:
        return f"{flight.sender}->{flight.to} {self._notation.message(flight.message)}"

    def _arrives(self, flight: _Flight) -> None:
        self._say(self._written(flight))
        self._lives[flight.to].replica.receive(flight.sender, flight.message)
        self._turn(flight.to)

    def _take(self, link: str) -> list[_Flight]:
        """What is in flight on a link, or everywhere, which then no longer is."""
        taken = [f for f in self._in_flight if link in ("", f"{f.sender}->{f.to}")]
        self._in_flight = [f for f in self._in_flight if f not in taken]
        return taken

    def _deliver(self, link: str = "") -> None:
        for flight in self._take(link):
            self._arrives(flight)

    def _stabilize(self, *among: str) -> None:
        nodes = among or self._names
        for _ in range(_DELIVERIES_MAX):
            ready = [f for f in self._in_flight if {f.sender, f.to} <= set(nodes)]
            if not ready:
                return
            self._in_flight.remove(ready[0])
            self._arrives(ready[0])
        raise AssertionError("the conversation does not end")

    def _drop(self, link: str) -> None:
        for flight in self._take(link):
            self._say(f"lost: {self._written(flight)}")

    def _delay(self, link: str) -> None:
        for flight in self._take(link):
            self._say(f"late: {self._written(flight)}")
            self._aside.append(flight)

    def _duplicate(self, link: str) -> None:
        for flight in self._in_flight:
            if link == f"{flight.sender}->{flight.to}":
                self._say(f"twice: {self._written(flight)}")
                self._aside.append(flight)

    def _deliver_late(self) -> None:
        late, self._aside = self._aside, []
        for flight in late:
            self._arrives(flight)

    # --- what there is to see --------------------------------------------------------------------

    def _status(self) -> None:
        for name in self._names:
            self._say(self._status_of(name) if name in self._lives else f"{name} is down")

    def _status_of(self, name: str) -> str:
        replica = self._lives[name].replica
        guard = replica.guard
        match guard.role:
            case Role.LEADER:
                peers = [peer for peer in self._names if peer != name]
                known = " ".join(f"{peer}:{guard.match_index(peer)}" for peer in peers)
                what = f"leads, knows {known}"
            case Role.CANDIDATE:
                what = "campaigns"
            case Role.FOLLOWER:
                what = f"follows {guard.leader or 'nobody'}"
                if not guard.recovery.is_whole:
                    what += f", {guard.recovery.waits_for}"
        journal = guard.journal
        return (
            f"{name} term:{guard.term} log:{journal.first_index}..{journal.last_index}"
            f"/{journal.last_term} commit:{guard.commit_index} {what}"
        )

    def _log(self, *names: str) -> None:
        for name in names or self._names:
            guard = self._lives[name].replica.guard
            commit = guard.commit_index
            committed = [entry for entry in guard.journal if entry.index <= commit]
            rest = [entry for entry in guard.journal if entry.index > commit]
            tail = f" not committed:{self._notation.entries(rest)}" if rest else ""
            self._say(f"{name} {self._notation.entries(committed)}{tail}")

    def _get(self, node: str, key: str) -> None:
        try:
            binding = self._lives[node].replica.get(qualified_name(TABLE, key))
        except SlotElsewhere as error:
            self._say(f"{key}: {error}")
            return
        bound = f"={binding.unit} version:{binding.version}" if binding else " is not bound"
        self._say(f"{key}{bound}")


def _slot(key: str) -> int:
    return slot_of(qualified_name(TABLE, key), SLOTS)


def _standing(replica: Replica) -> Standing:
    guard = replica.guard
    return guard.role, guard.term, guard.leader


def rewritten(transcript: str) -> str:
    """The transcript with its commands run anew, and all its comments kept."""
    conversation = Conversation()
    paragraphs = []
    for paragraph in transcript.strip("\n").split("\n\n"):
        lines = paragraph.split("\n")
        comments = [line for line in lines if line.startswith("#")]
        rest = [line for line in lines if not line.startswith("#")]
        commands = rest[: rest.index("----")] if "----" in rest else rest
        printed = [line for command in commands for line in conversation.run(command)]
        paragraphs.append(
            "\n".join([*comments, *commands, *(["----"] if commands else []), *printed])
        )
    return "\n\n".join(paragraphs) + "\n"
