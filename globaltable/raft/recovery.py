"""A replica that lost what it had persisted: how it takes part again without breaking its word.

Raft rests on what a replica has persisted: its old votes and its old acknowledgements may have been
counted. One whose log and table were discarded (`globaltable rebuild`) carries a durable mark, and
goes through three phases; a crash in one of the first two begins again with the first.

1. *Asking.* It hears nothing but answers to its question, `Recover`. Every other voter is asked for
   its term, and answers once that term is durable; who is being rebuilt itself does not answer. All
   must have answered, for a majority is not enough: the candidate this replica once voted for, or
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

Invariants: in the first phase nothing is sent but `Recover`; before the third no vote, pre-vote or
campaign, and no answer to a `Recover`, so that two who are rebuilt at once never vouch for each
other.
"""

import random
from collections.abc import Sequence
from enum import Enum
from typing import Final

from globaltable.raft.adaptor import Adaptor, Timing
from globaltable.raft.journal import Journal
from globaltable.raft.messages import (
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


class Phase(Enum):
    """Where a replica stands on its way back."""

    ASKING = "asking"
    CATCHING_UP = "catching up"
    WHOLE = "whole"


_UNHEARD_WHILE_CATCHING_UP: Final = (
    PreVote,
    PreVoteReply,
    RequestVote,
    Vote,
    TimeoutNow,
    Recover,
)


class Recovery:
    """One replica's way from its mark to being whole; without the mark it is whole from the start.

    `nonces` is drawn from only if there is a mark.
    """

    def __init__(
        self,
        *,
        peers: Sequence[str],
        adaptor: Adaptor,
        journal: Journal,
        timing: Timing,
        nonces: random.Random,
        send: Send,
    ) -> None:
        self._peers = peers
        self._adaptor = adaptor
        self._journal = journal
        self._period_s = timing.heartbeat_s
        self._send = send
        self._phase = Phase.ASKING if journal.rebuilding else Phase.WHOLE
        self._nonce = nonces.getrandbits(_NONCE_BITS) if journal.rebuilding else None
        self._terms: dict[str, int] = {}
        self._ask_at = adaptor.now

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def is_whole(self) -> bool:
        return self._phase is Phase.WHOLE

    @property
    def waits_for(self) -> str:
        """For people; empty once whole."""
        if self._phase is Phase.WHOLE:
            return ""
        if self._phase is Phase.ASKING:
            unheard = ", ".join(peer for peer in self._peers if peer not in self._terms)
            return f"waits for an answer of {unheard}"
        return "catches up with its leader"

    def hears(self, message: Message) -> bool:
        """Whether a message of a voter concerns a replica in this phase."""
        if self._phase is Phase.WHOLE:
            return True
        if self._phase is Phase.ASKING:
            return isinstance(message, RecoverReply)
        return not isinstance(message, _UNHEARD_WHILE_CATCHING_UP)

    def ask(self) -> None:
        """Time has passed: ask who has not answered, once a heartbeat."""
        if self._phase is not Phase.ASKING or self._adaptor.now < self._ask_at:
            return
        assert self._nonce is not None
        self._ask_at = self._adaptor.now + self._period_s
        for peer in self._peers:
            if peer not in self._terms:
                self._send(peer, Recover(self._nonce))

    def on_recover(self, sender: str, message: Recover) -> None:
        """A whole replica's answer. It leaves, as all answers do, once the term is durable."""
        assert self.is_whole, self._phase
        self._send(sender, RecoverReply(message.nonce, self._adaptor.term))

    def on_reply(self, sender: str, message: RecoverReply) -> None:
        """Late ones, and those to an earlier life, count for nothing."""
        if self._phase is not Phase.ASKING or message.nonce != self._nonce:
            return
        self._terms[sender] = max(message.term, self._terms.get(sender, 0))
        if len(self._terms) == len(self._peers):
            self._adaptor.forswear_vote(max(self._adaptor.term, *self._terms.values()))
            self._phase = Phase.CATCHING_UP

    def barrier_applied(self) -> None:
        """A batch that was made while catching up is applied here."""
        assert self._phase is Phase.CATCHING_UP, self._phase
        self._journal.clear_rebuilding()
        self._phase = Phase.WHOLE
