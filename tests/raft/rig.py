"""One replica's guard, driven by hand: what it is told, what it sends, what it would persist."""

import random
from collections.abc import Sequence

from globaltable.members import Members
from globaltable.model import Batch
from globaltable.raft.adaptor import Role, Timing
from globaltable.raft.guard import Guard
from globaltable.raft.journal import Journal
from globaltable.raft.messages import (
    Ack,
    Append,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    Vote,
)
from globaltable.store.log import Entry, HardState, LogImage
from globaltable.store.table import ROOT_STATE
from globaltable.wire.batches import encode_batch

TIMING = Timing(heartbeat_s=0.05, election_min_s=0.5, election_max_s=1.0)
ROOT = Entry(b"\x01", 1, 0)


def command(number: int) -> bytes:
    """What an entry holds: some batch."""
    return b"\x00" + encode_batch(Batch(number.to_bytes(16, "big"), 1, ()))


def entries(*terms: int, after: int = 1) -> tuple[Entry, ...]:
    """Entries behind index `after`, of these terms. The same place and term: the same content."""
    return tuple(
        Entry(command(index * 1_000 + term), index, term)
        for index, term in enumerate(terms, after + 1)
    )


class Rig:
    """Node `a` of voters `a`, `b`, `c` (and more), connected to all of them."""

    def __init__(
        self,
        *terms: int,
        term: int | None = None,
        voted_for: str | None = None,
        committed: int = 1,
        voters: str = "abc",
        learners: str = "",
        first: int = 1,
        rebuilding: bool = False,
        joining: bool = False,
        seed: int = 1,
    ) -> None:
        log = (ROOT, *entries(*terms))[first - 1 :]
        state = HardState(log[-1].term if term is None else term, voted_for, rebuilding, joining)
        applied_term = log[committed - first].term
        members = Members(tuple(voters), tuple(learners))
        self.journal = Journal(0, LogImage(log, state), committed, applied_term, members)
        self.now = 100.0
        self.guard = Guard(
            node="a",
            journal=self.journal,
            timing=TIMING,
            rng=random.Random(seed),
            now=self.now,
        )
        for peer in (voters + learners).replace("a", ""):
            self.guard.set_connected(peer, True)
        self.applied: list[Entry] = []
        self.hard_state = state
        """As it is on the disk."""

    def tell(self, sender: str, *messages: Message) -> list[tuple[str, Message]]:
        """Receive, and step: what is sent in answer."""
        for message in messages:
            self.guard.receive(sender, message)
        return self.turn()

    def turn(self, seconds: float = 0.0, *, durable: bool = True) -> list[tuple[str, Message]]:
        """A step, and what is sent; if it is not `durable`, its write is still under way."""
        self.now += seconds
        self.guard.set_now(self.now)
        self.applied += self.guard.tick()
        write = self.guard.take_write()
        if write is not None and write.hard_state is not None:
            self.hard_state = write.hard_state
        sent = self.guard.take_outbox()
        return sent + self.guard.persisted() if durable else sent

    def answer(self, sender: str, *messages: Message) -> Message:
        """The last thing told to the sender in answer."""
        return [message for to, message in self.tell(sender, *messages) if to == sender][-1]

    def elect(self) -> "Rig":
        """Make it the leader of the next term, by the book."""
        voters = ["b", "c", "d", "e"]
        while not any(isinstance(message, PreVote) for _, message in self.turn(0.6)):
            pass
        term = self.guard.term + 1
        for voter in voters:
            self.guard.receive(voter, PreVoteReply(term, True))
        sent = self.turn()
        assert any(isinstance(message, RequestVote) for _, message in sent), sent
        for voter in voters:
            self.guard.receive(voter, Vote(term, True))
        self.turn()
        assert self.role() is Role.LEADER
        return self

    def role(self) -> Role:
        """A method, for the type checker takes a property to stay what it was."""
        return self.guard.role

    @property
    def log(self) -> list[int]:
        """The terms of the entries held, from the first on."""
        return [entry.term for entry in self.journal]


def append(
    term: int,
    prev: tuple[int, int],
    new: Sequence[Entry] = (),
    *,
    commit: int = 1,
    attempt: int = 0,
) -> Append:
    return Append(term, attempt, prev[0], prev[1], commit, 0, tuple(new))


def ack(term: int, through: int) -> Ack:
    """Everything up to `through` is durable and agrees."""
    return Ack(term, 0, through + 1, True, False)


assert ROOT_STATE.applied == ROOT.index
