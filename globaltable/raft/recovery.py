"""A replica that lost what it had persisted, or comes anew: how it takes part without breaking its
word.

Raft rests on what a replica has persisted: its old votes and its old acknowledgements may have been
counted. One whose log and table were discarded (`globaltable rebuild`) carries a durable mark, and
goes through three phases; a crash in one of the first two begins again with the first.

1. *Asking.* It hears nothing but answers to its question, `Recover`. Everybody is asked for its
   term, and who it has for members; it answers once that term is durable; who is being rebuilt
   itself does not answer. All members that any answer names must have answered (members may have
   changed since this replica lost its log, but those that are voters by a configuration that is not
   known to all were learners by one that is, and who is removed by such a one is named by the one
   before). A majority is not enough: the candidate this replica once voted for, or
   the leader that counts on its acknowledgement, may be the very one that was not heard (Michael et
   al. 2017, "Recovering Shared Objects Without Stable Storage", on the recovery of Viewstamped
   Replication). The nonce ties answers to this life: one that was given earlier may be older than a
   promise that is lost.
2. *Catching up.* Its term becomes the greatest of the answers (or its own), and its vote in it its
   own. So it never votes twice in a term, nor acknowledges what it has promised not to: whoever it
   voted for had that term durable before asking for the vote, and has answered. It is a follower
   that appends and acknowledges truthfully, but votes for nobody in any term and does not campaign:
   every leader meanwhile is elected by those who have kept their word, or with a vote it gave while
   it had its log; and so holds all that was committed with its lost acknowledgements (Raft §5.4.3).
   It proposes a barrier of its own, made after all answers.
3. *Whole.* Once the barrier is applied here, all that was committed before it was made is durable
   here. The mark is cleared in the write that precedes the next message, so before a vote leaves.

An entry it acknowledged in its old life may be counted even later: by a leader of the same term, or
by a follower that has its old `Matched`. That is harmless. Its vote aside, every majority that
elects a leader of a later term has a member that acknowledged the entry before it voted, if a
majority did; and if that leader has the entry, so has this replica by its barrier. If the same
leader goes on, the barrier stands behind the entry in its log. A leader that is asked forgets what
it believed this replica to hold (`replication`), so that nothing is handed over to it, and a
follower what it was told (`follower`).

One that *joins* did not found its group, and has no log. It asks nobody, for what it once promised
nobody counts on any more: either it was never a member, or it was one and its removal is
committed. For who has that configuration, or a later one, asks for its vote only if that gives it
one again, which is not before it is whole; and who does not have it cannot win: a majority of any
configuration before it shares a voter with the majority that committed it. So it catches up, as
one without a vote, from a snapshot, for the first configuration of its group stands in no log entry
that is sent; and is whole behind a barrier of its own, as above. Should the configuration then give
it a vote already, its removal was not what ended its earlier life: it has lost its log as a voter
(an empty disk that was started with `--join` in the place of one that served), and has to ask. By
then it has acknowledged entries, to a leader that may have been deposed by its lost vote. So what
one that joins acknowledges counts for nobody (`JoinerAck`), itself included, but for how far it has
come; a leader that has it for a voter tells it to ask, at once.

Invariants: in the first phase nothing is sent but `Recover`; before the third no vote, pre-vote or
campaign, and no answer to a `Recover`, so that two who are rebuilt at once never vouch for each
other.
"""

import random
from enum import Enum
from typing import Final, NamedTuple

from globaltable.members import Members
from globaltable.raft.adaptor import Adaptor, Timing
from globaltable.raft.journal import Journal
from globaltable.raft.membership import Membership
from globaltable.raft.messages import (
    Examine,
    Message,
    PreVote,
    PreVoteReply,
    Recover,
    RecoverReply,
    RequestVote,
    Send,
    TimeoutNow,
    Vote,
)

_NONCE_BITS: Final = 62
_ASK_AGAIN: Final = 10
_PATIENCE: Final = 10
"""Election timeouts without a word of a leader, after which one that catches up asks again."""


class Phase(Enum):
    """Where a replica stands on its way back."""

    ASKING = "asking"
    CATCHING_UP = "catching up"
    JOINING = "joining"
    WHOLE = "whole"


class _Answer(NamedTuple):
    term: int
    members: tuple[str, ...]
    at: float


_UNHEARD_WHILE_CATCHING_UP: Final = (
    PreVote,
    PreVoteReply,
    RequestVote,
    Vote,
    TimeoutNow,
    Recover,
    Examine,
)


class Recovery:
    """One replica's way from its mark to being whole; without the mark it is whole from the start.

    `nonces` is drawn from only if there is a mark.
    """

    def __init__(
        self,
        *,
        membership: Membership,
        adaptor: Adaptor,
        journal: Journal,
        timing: Timing,
        nonces: random.Random,
        send: Send,
    ) -> None:
        self._membership = membership
        self._adaptor = adaptor
        self._journal = journal
        self._period_s = timing.heartbeat_s
        self._patience_s = timing.election_max_s * _PATIENCE
        self._began_at = adaptor.now
        self.attempt = 0
        """Counts its attempts to become whole: a barrier belongs to one."""
        self._send = send
        self._nonces = nonces
        self._phase = Phase.JOINING if journal.joining else Phase.WHOLE
        self._nonce: int | None = None
        self._answers: dict[str, _Answer] = {}
        self._ask_at = adaptor.now
        self._rounds = 0
        if journal.rebuilding:
            self._begin_asking()

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def is_whole(self) -> bool:
        return self._phase is Phase.WHOLE

    @property
    def wants_barrier(self) -> bool:
        """A batch that is made from now on shows, once it is applied, that the replica is whole."""
        joined = self._phase is Phase.JOINING and self._membership.is_member
        return joined or self._phase is Phase.CATCHING_UP

    @property
    def waits_for(self) -> str:
        """For people; empty once whole."""
        if self._phase is Phase.WHOLE:
            return ""
        if self._phase is Phase.ASKING:
            unheard = ", ".join(peer for peer in self._needed if peer not in self._answers)
            return f"waits for an answer of {unheard or 'any member'}"
        if not self._membership.is_member:
            return "waits to be added by the leader of its group"
        return "catches up with its leader"

    @property
    def counts(self) -> bool:
        """Whether what it holds may be counted towards a majority: not of one that joins."""
        return self._phase is not Phase.JOINING

    def hears(self, message: Message) -> bool:
        """Whether a message of a voter concerns a replica in this phase."""
        if self._phase is Phase.WHOLE:
            return True
        if self._phase is Phase.ASKING:
            return isinstance(message, RecoverReply)
        return not isinstance(message, _UNHEARD_WHILE_CATCHING_UP)

    def told_to_ask(self) -> None:
        """A leader has this replica for a voter, which joins as if it had none."""
        if self._phase is Phase.JOINING:
            self._ask_as_a_voter()

    def _ask_as_a_voter(self) -> None:
        self._journal.set_marks(rebuilding=True, joining=False)
        self._begin_asking()

    def ask(self, heard_leader_at: float) -> None:
        """Time has passed: ask who has not answered, once a heartbeat. Who catches up and does not
        hear of a leader any more may have been removed meanwhile, and begins again."""
        if self._phase is Phase.CATCHING_UP:
            heard_at = max(heard_leader_at, self._began_at)
            if self._adaptor.now - heard_at > self._patience_s:
                self._begin_asking()
        if self._phase is not Phase.ASKING or self._adaptor.now < self._ask_at:
            return
        assert self._nonce is not None
        self._ask_at = self._adaptor.now + self._period_s
        self._rounds += 1
        self._forget_strangers()
        # Who has answered is asked again at times, for members may have changed.
        again = self._rounds % _ASK_AGAIN == 0
        known = dict.fromkeys((*self._membership.peers, *self._needed, *self._adaptor.connected))
        for peer in known:
            if again or peer not in self._answers:
                self._send(peer, Recover(self._nonce))

    @property
    def _needed(self) -> list[str]:
        """Who must answer: all that the answers name; before there are any, who was known."""
        named = dict.fromkeys(name for answer in self._answers.values() for name in answer.members)
        named.pop(self._membership.node, None)
        return list(named) or self._membership.peers

    def _forget_strangers(self) -> None:
        """Who does not answer again, and is named by none of those who do, nor by whom they name,
        may be a member no more: of several that were removed, each may have named the others."""
        long_ago = self._adaptor.now - 3 * _ASK_AGAIN * self._period_s
        present = [peer for peer, answer in self._answers.items() if answer.at >= long_ago]
        if not present:
            return
        reached = set(present)
        while present:
            for name in self._answers[present.pop()].members:
                if name not in reached and name in self._answers:
                    reached.add(name)
                    present.append(name)
        for stranger in self._answers.keys() - reached:
            del self._answers[stranger]

    def _begin_asking(self) -> None:
        self._phase = Phase.ASKING
        self._answers.clear()
        self.attempt += 1
        self._nonce = self._nonces.getrandbits(_NONCE_BITS)
        self._ask_at = self._adaptor.now

    def on_recover(self, sender: str, message: Recover) -> None:
        """A whole replica's answer. It leaves, as all answers do, once the term is durable."""
        assert self.is_whole, self._phase
        since = self._journal.members_since(self._journal.commit_index)
        names = dict.fromkeys(name for members in since for name in members.names)
        self._send(sender, RecoverReply(message.nonce, self._adaptor.term, tuple(names)))

    def on_reply(self, sender: str, message: RecoverReply) -> None:
        """Late ones, and those to an earlier life, count for nothing."""
        if self._phase is not Phase.ASKING or message.nonce != self._nonce:
            return
        known = self._answers.get(sender)
        term = max(message.term, known.term if known is not None else 0)
        self._answers[sender] = _Answer(term, message.members, self._adaptor.now)
        if all(peer in self._answers for peer in self._needed):
            terms = [answer.term for answer in self._answers.values()]
            self._adaptor.forswear_vote(max(self._adaptor.term, *terms))
            self._began_at = self._adaptor.now
            named = {name for answer in self._answers.values() for name in answer.members}
            if named and self._membership.node not in named:
                # Its removal is committed. What it has heard binds it all the more.
                self._journal.set_marks(rebuilding=False, joining=True)
                self._phase = Phase.JOINING
                self.attempt += 1
            else:
                self._phase = Phase.CATCHING_UP

    def barrier_applied(self, members: Members | None) -> None:
        """A batch that was made since `wants_barrier` is applied here; the members as of then."""
        assert not self.is_whole, self._phase
        has_vote = members is not None and self._membership.node in members.voters
        if self._phase is Phase.JOINING and has_vote:
            self._ask_as_a_voter()
        else:
            self._journal.set_marks(rebuilding=False, joining=False)
            self._phase = Phase.WHOLE
