"""PySyncObj 0.3.17 as a core that is stepped. The only file that knows its private names.

Each replica executes a copy of the library's module of its own, so that what the module takes from
its surroundings (clock, randomness, journal, snapshots, pickle, poller) is handed to it as an
argument, and no two replicas, and no other user of the library in the process, share any of it.

Seams, each checked by `tests/raft/test_adaptor.py`, which fails loudly if one has moved:

* module globals: `monotonicTime`, `random`, `createJournal`, `Serializer`, `createPoller`,
  `globalDnsResolver`, `pickle`, `PIPE_NOTIFIER_ENABLED`;
* attributes of `SyncObj` listed in `PRIVATE_NAMES`.

Invariants: nothing is unpickled; the clock stands still within a step; messages leave only through
`send`; the library takes no snapshot and receives none (the guard does).
"""

import importlib.util
import random
import types
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NoReturn

from pysyncobj import SyncObjConf
from pysyncobj.config import SERIALIZER_STATE
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from globaltable import limits
from globaltable.members import Members
from globaltable.raft.dialect import Said, Told, from_library, to_library
from globaltable.raft.journal import InvariantViolated, Journal
from globaltable.store.log import Entry

PYSYNCOBJ_VERSION: Final = "0.3.17"
REGULAR: Final = b"\x00"
_NEVER: Final = float(2**62)

PRIVATE_NAMES: Final = (
    "_SyncObj__raftState",
    "_SyncObj__raftCurrentTerm",
    "_SyncObj__raftLeader",
    "_SyncObj__raftElectionDeadline",
    "_SyncObj__raftCommitIndex",
    "_SyncObj__raftLastApplied",
    "_SyncObj__raftNextIndex",
    "_SyncObj__raftMatchIndex",
    "_SyncObj__raftLog",
    "_SyncObj__connectedNodes",
    "_SyncObj__otherNodes",
    "_SyncObj__readonlyNodes",
    "_SyncObj__lastResponseTime",
    "_SyncObj__transferInProgress",
    "_SyncObj__newAppendEntriesTime",
    "_SyncObj__setCurrentTerm",
    "_SyncObj__setState",
    "_SyncObj__generateRaftTimeout",
    "_SyncObj__doApplyCommand",
)
PRIVATE_GLOBALS: Final = (
    "monotonicTime",
    "random",
    "createJournal",
    "Serializer",
    "createPoller",
    "globalDnsResolver",
    "pickle",
    "PIPE_NOTIFIER_ENABLED",
)


class Role(IntEnum):
    """PySyncObj's numbers."""

    FOLLOWER = 0
    CANDIDATE = 1
    LEADER = 2


_ROLES: Final = tuple(Role)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A follower campaigns after `election_min_s` to `election_max_s` without a leader."""

    heartbeat_s: float = 0.05
    election_min_s: float = 0.5
    election_max_s: float = 1.0


class _Peer(Node):  # type: ignore[misc]
    """A node whose place in a set does not depend on the process's hash seed."""

    def __init__(self, id: str) -> None:  # noqa: A002 - PySyncObj's name
        super().__init__(id)
        self._hash = zlib.crc32(id.encode())

    def __hash__(self) -> int:
        return self._hash


class _Peers(dict[str, _Peer]):
    """Every name has one: what a replica hears may come from who is no member."""

    def __missing__(self, name: str) -> _Peer:
        peer = self[name] = _Peer(name)
        return peer


class _Links(Transport):  # type: ignore[misc]
    """Hands the library's messages to the guard, and the guard's to the library, translated."""

    ready = True

    def __init__(self, send: Callable[[str, Said], None]) -> None:
        super().__init__(None, None, [])
        self._send = send

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        said = from_library(message)
        if said is not None:
            self._send(node.id, said)
        return True

    def deliver(self, node: Node, message: Told) -> None:
        self._onMessageReceived(node, to_library(message))

    def connected(self, node: Node, up: bool) -> None:
        if up:
            self._onNodeConnected(node)
        else:
            self._onNodeDisconnected(node)

    def destroy(self) -> None:
        pass


class _NoSnapshots:
    """The library's serializer, idle: the guard streams snapshots, and compaction is its own."""

    def __init__(self, *_: object) -> None:
        pass

    def checkSerializing(self) -> tuple[int, None]:  # noqa: N802 - PySyncObj's name
        return SERIALIZER_STATE.NOT_SERIALIZING, None

    def getTransmissionData(self, _: object) -> None:  # noqa: N802
        return None

    def cancelTransmisstion(self, _: object) -> None:  # noqa: N802 - sic
        pass


class _NoPoller:
    def poll(self, _: float) -> None:
        pass


class _NoResolver:
    def setTimeouts(self, *_: object) -> None:  # noqa: N802
        pass

    def setPreferredAddrFamily(self, *_: object) -> None:  # noqa: N802
        pass


class _NoPickle:
    """Unpickling bytes of a peer or a disk would run their code."""

    def _refuse(self, *_: object) -> NoReturn:
        raise InvariantViolated("the library was about to pickle or unpickle; nothing may")

    loads = dumps = load = dump = _refuse


def _library_code() -> types.CodeType:
    spec = importlib.util.find_spec("pysyncobj.syncobj")
    assert spec is not None and spec.loader is not None
    code = spec.loader.get_code("pysyncobj.syncobj")  # type: ignore[attr-defined]
    assert isinstance(code, types.CodeType)
    return code


_CODE: Final = _library_code()


def _private_module() -> Any:
    module = types.ModuleType("globaltable.raft.pysyncobj_of_one_replica")
    module.__package__ = "pysyncobj"
    exec(_CODE, module.__dict__)
    return module


class Adaptor:
    """One replica's PySyncObj, in terms the guard understands."""

    def __init__(
        self,
        *,
        node: str,
        members: Members | None,
        journal: Journal,
        applied: int,
        timing: Timing,
        rng: random.Random,
        now: float,
        send: Callable[[str, Said], None],
    ) -> None:
        self._now = now
        self._node = node
        self._journal = journal
        self._links = _Links(send)
        self._nodes = _Peers()
        module = _private_module()
        module.monotonicTime = lambda: self._now
        module.random = rng
        module.createJournal = lambda _: journal
        module.Serializer = _NoSnapshots
        module.createPoller = lambda _: _NoPoller()
        module.globalDnsResolver = _NoResolver
        module.pickle = _NoPickle()
        module.PIPE_NOTIFIER_ENABLED = False
        conf = SyncObjConf(
            autoTick=False,
            commandsQueueSize=0,
            raftMinTimeout=timing.election_min_s,
            raftMaxTimeout=timing.election_max_s,
            appendEntriesPeriod=timing.heartbeat_s,
            connectionTimeout=timing.election_max_s,
            leaderFallbackTimeout=timing.election_max_s,
            appendEntriesUseBatch=True,
            appendEntriesBatchSizeBytes=limits.APPEND_BYTES_MAX,
            logCompactionMinEntries=2**62,
            logCompactionMinTime=_NEVER,
            dynamicMembershipChange=False,
        )
        self._core = module.SyncObj(
            self._nodes[node], [], conf, nodeClass=_Peer, transport=self._links
        )
        self.set_members(members)
        self._core._SyncObj__raftLastApplied = applied
        self._core._SyncObj__doApplyCommand = lambda command: None

    # --- state -----------------------------------------------------------------------------------

    @property
    def core(self) -> Any:
        """The library's object, for the test that checks the seams."""
        return self._core

    @property
    def now(self) -> float:
        """The time of this step."""
        return self._now

    @property
    def role(self) -> Role:
        number: int = self._core._SyncObj__raftState
        return _ROLES[number]

    @property
    def term(self) -> int:
        term: int = self._core._SyncObj__raftCurrentTerm
        return term

    @property
    def leader(self) -> str | None:
        leader = self._core._SyncObj__raftLeader
        return None if leader is None else leader.id

    @property
    def commit_index(self) -> int:
        index: int = self._core._SyncObj__raftCommitIndex
        return index

    @property
    def last_applied(self) -> int:
        index: int = self._core._SyncObj__raftLastApplied
        return index

    @property
    def election_deadline(self) -> float:
        deadline: float = self._core._SyncObj__raftElectionDeadline
        return deadline

    @property
    def heartbeat_at(self) -> float:
        """As a leader: when followers must hear of it even if it has nothing to send."""
        at: float = self._core._SyncObj__newAppendEntriesTime
        return at

    @property
    def asked_to_campaign(self) -> bool:
        """A leader has handed over to this replica, and the election has not begun."""
        asked: bool = self._core._SyncObj__transferInProgress
        return asked

    def match_index(self, peer: str) -> int:
        """As a leader: what the peer is known to hold durably."""
        index: int = self._core._SyncObj__raftMatchIndex.get(self._nodes[peer], 0)
        return index

    def is_connected(self, peer: str) -> bool:
        return self._nodes[peer] in self._core._SyncObj__connectedNodes

    @property
    def connected(self) -> list[str]:
        """All that are, members or not."""
        return sorted(peer.id for peer in self._core._SyncObj__connectedNodes)

    @property
    def connected_to_anyone(self) -> bool:
        return bool(self._core._SyncObj__connectedNodes)

    # --- inputs ----------------------------------------------------------------------------------

    def set_now(self, now: float) -> None:
        """The clock for all that follows. It never goes back."""
        self._now = max(self._now, now)

    def deliver(self, sender: str, message: Told) -> None:
        self._links.deliver(self._nodes[sender], message)

    def set_connected(self, peer: str, up: bool) -> None:
        self._links.connected(self._nodes[peer], up)

    def append(self, command: bytes) -> None:
        """As a leader: append an entry of the current term."""
        assert self.role is Role.LEADER
        self._core._applyCommand(command, None)
        self._core._checkCommandsToApply()

    def set_members(self, members: Members | None) -> None:
        """Whom the library sends to, and whose votes and acknowledgements it counts.

        Its own changes of membership are pickled commands, and unsound (`tests/raft/
        test_library_as_found.py`): they stay off, and its sets of nodes are set from here. Voters
        are its partner nodes, learners its read-only ones, which it replicates to and never counts.
        """
        core, own = self._core, self._node
        voters = sorted(members.voters) if members is not None else ()
        learners = sorted(members.learners) if members is not None else ()
        core._SyncObj__otherNodes = {self._nodes[name] for name in voters if name != own}
        core._SyncObj__readonlyNodes = {self._nodes[name] for name in learners if name != own}
        known = core._SyncObj__otherNodes | core._SyncObj__readonlyNodes
        for gone in core._SyncObj__raftMatchIndex.keys() - known:
            del core._SyncObj__raftMatchIndex[gone]
            del core._SyncObj__raftNextIndex[gone]
            core._SyncObj__lastResponseTime.pop(gone, None)
        if self.role is Role.LEADER:
            for peer in known - core._SyncObj__raftMatchIndex.keys():
                core._SyncObj__raftMatchIndex[peer] = 0
                core._SyncObj__raftNextIndex[peer] = self._journal.last_index + 1
                core._SyncObj__lastResponseTime[peer] = self._now

    def send_now(self) -> None:
        """Let the next tick send entries, or a heartbeat, without waiting for its period."""
        self._core._SyncObj__newAppendEntriesTime = -1.0

    def tick(self) -> list[Entry]:
        """Elections, commit and sending. Returns the entries that became applicable."""
        before = self.last_applied
        self._core.doTick(0.0)
        after = self.last_applied
        return self._journal.slice(before + 1, after) if after > before else []

    # --- what the guard corrects -----------------------------------------------------------------

    def set_election_deadline(self, deadline: float) -> None:
        self._core._SyncObj__raftElectionDeadline = deadline

    def postpone_election(self) -> None:
        timeout: float = self._core._SyncObj__generateRaftTimeout()
        self.set_election_deadline(self._now + timeout)

    def step_down(self, term: int) -> None:
        """Become a follower of nobody in a later term (Raft §5.1)."""
        assert term > self.term, (term, self.term)
        self._core._SyncObj__setCurrentTerm(term, None)
        self._core._SyncObj__setState(Role.FOLLOWER.value)
        self._core._SyncObj__raftLeader = None
        self.forget_transfer()
        self.postpone_election()

    def forswear_vote(self, term: int) -> None:
        """Be a follower of nobody in `term`, in which this replica gives no vote: it is its own."""
        assert term >= self.term, (term, self.term)
        self._core._SyncObj__setCurrentTerm(term, self._node)
        self._core._SyncObj__setState(Role.FOLLOWER.value)
        self._core._SyncObj__raftLeader = None
        self.postpone_election()

    def forget_match(self, peer: str) -> None:
        """As a leader: nothing is known any more of what the peer holds."""
        self._core._SyncObj__raftMatchIndex[self._nodes[peer]] = 0

    def forget_transfer(self) -> None:
        """The leader that asked this replica to campaign is of the past."""
        self._core._SyncObj__transferInProgress = False

    def rewind(self, peer: str, next_index: int) -> None:
        """As a leader: send to the peer from `next_index` on."""
        self._core._SyncObj__raftNextIndex[self._nodes[peer]] = next_index

    def pause(self, peer: str) -> None:
        """End the library's loop of sends to one peer; `resume` before the next step."""
        self._core._SyncObj__connectedNodes.discard(self._nodes[peer])

    def resume(self, peer: str) -> None:
        self._core._SyncObj__connectedNodes.add(self._nodes[peer])

    def transfer_leadership(self, target: str) -> None:
        """Ask a peer that holds everything to campaign at once (Raft thesis §3.10)."""
        self._core.transferLeadership(self._nodes[target])

    def install(self, index: int, term: int, members: Members | None) -> None:
        """Log and state now begin at `index`, by a snapshot that is durable in the table."""
        assert index > self.commit_index, (index, self.commit_index)
        self._journal.reset(index, term, members)
        self._core._SyncObj__raftLastApplied = index
        self._core._SyncObj__raftCommitIndex = index
