"""Who may lead: pre-vote, stickiness, voters counted rather than votes, leadership handed over.

The library holds the elections. But it campaigns whenever its deadline passes, helps whoever asks
to depose a leader, counts a vote as often as it comes, and overlooks later terms in answers. So its
campaigns are held back here, and of what other replicas say it hears only what Raft would heed.

Who asks is answered by the rules of terms and logs alone, whether it is a member here or not, and
whether this replica takes itself for a voter or not (thesis §4.2.2): the one that asks may have a
configuration that has not come here yet, and its majority may need this very vote. Answers count
only if they are a voter's, by the configuration of who asked.

Invariants: at most one vote is given, and one counted from each voter, in a term; no campaign
begins before a majority would vote for it, but at the word of the leader itself, nor by a replica
that is no voter; who leads in a term leads alone (a breach is fatal to the replica).
"""

import random
from dataclasses import dataclass

from globaltable.raft.adaptor import Adaptor, Role, Timing
from globaltable.raft.journal import InvariantViolated, Journal
from globaltable.raft.membership import Membership
from globaltable.raft.messages import (
    Ack,
    PreVote,
    PreVoteReply,
    RequestVote,
    Send,
    TimeoutNow,
    Vote,
)


@dataclass(slots=True)
class _Campaign:
    """A pre-vote (Raft thesis §9.6) under way, for the election of `term`."""

    term: int
    granted: set[str]


class Elections:
    """One replica's part in the elections of its group."""

    def __init__(
        self,
        *,
        membership: Membership,
        adaptor: Adaptor,
        journal: Journal,
        timing: Timing,
        send: Send,
    ) -> None:
        self._node = membership.node
        self._membership = membership
        self._adaptor = adaptor
        self._journal = journal
        self._timing = timing
        self._send = send
        self.heard_leader_at = float("-inf")
        self._campaign: _Campaign | None = None
        self._cleared_to_campaign = False
        self._transfer_term: int | None = None
        self._votes: tuple[int, set[str]] = (0, set())

    # --- terms -----------------------------------------------------------------------------------

    def heed_term(self, term: int) -> bool:
        """Step down before a later term (Raft §5.1), which the library overlooks in answers."""
        if term <= self._adaptor.term:
            return False
        self._adaptor.step_down(term)
        return True

    def heed_leader(self, sender: str, term: int) -> bool:
        """Whether a leader's message is of the present; tells a deposed one of the present term."""
        present = self._adaptor.term
        if term < present:
            self._send(sender, Ack(present, 0, 0, success=False, reset=False))
            return False
        if term == present and self._adaptor.role is Role.LEADER:
            raise InvariantViolated(f"{sender} leads in term {term}, and so does {self._node}")
        self.heard_leader_at = self._adaptor.now
        self.end_campaign()
        return True

    def heed_follower(self, term: int) -> bool:
        """Whether a follower's answer is one to this replica, as the leader of the present term.

        The library counts an acknowledgement of any term; Raft only those of this one (§5.3).
        """
        if self.heed_term(term):
            return False
        return self._adaptor.role is Role.LEADER and term == self._adaptor.term

    def heed_fellow(self, term: int) -> bool:
        """Whether one follower's word to another is of the present term.

        It is no sign of the leader's life. But that there is a leader of its term is certain, so a
        later one is heeded (§5.1); who tells of an earlier one will hear of this one otherwise.
        """
        self.heed_term(term)
        return self._adaptor.role is not Role.LEADER and term == self._adaptor.term

    # --- pre-vote --------------------------------------------------------------------------------

    def campaign_soon(self, rng: random.Random) -> None:
        """The preferred leader tries first; the pre-vote keeps it from deposing a live leader."""
        delay = self._timing.heartbeat_s * (1 + rng.random())
        self._adaptor.set_election_deadline(self._adaptor.now + delay)

    def hold_for_pre_vote(self, *, may_campaign: bool, may_ask: bool) -> None:
        """The library campaigns when its deadline passes; hold it until a majority would agree.

        And for good while a snapshot is being installed, for a leader's log cannot be replaced;
        while this replica is being rebuilt or joins (`recovery`); and as long as it has no vote.
        One that has none, and does not hear a leader, asks all the same (`may_ask`): not to be
        voted for, but to be told if it is a member no more.
        """
        adaptor = self._adaptor
        if adaptor.role is Role.LEADER or adaptor.election_deadline >= adaptor.now:
            return
        if not may_campaign:
            adaptor.forget_transfer()
            adaptor.postpone_election()
            self.end_campaign()
            if may_ask:
                self._ask(adaptor.term + 1)
            return
        if adaptor.asked_to_campaign:
            self._transfer_term = adaptor.term + 1
            return
        if self._cleared_to_campaign:
            return
        adaptor.postpone_election()
        if not adaptor.connected_to_anyone:
            return
        self._campaign = _Campaign(adaptor.term + 1, {self._node})
        self._ask(self._campaign.term)

    def _ask(self, term: int) -> None:
        last_index, last_term = self._journal.last_index, self._journal.last_term
        for peer in self._membership.fellows:
            self._send(peer, PreVote(term, last_index, last_term))

    def counts(self, sender: str) -> bool:
        """Whether its vote does, by the configuration in force here."""
        return sender in self._membership.fellows

    def end_campaign(self) -> None:
        """Another pre-vote must precede the next election."""
        self._campaign = None
        self._cleared_to_campaign = False

    def on_pre_vote(self, sender: str, message: PreVote) -> None:
        journal, present = self._journal, self._adaptor.term
        up_to_date = (message.last_term, message.last_index) >= (
            journal.last_term,
            journal.last_index,
        )
        if message.term > present and up_to_date and not self._leader_is_live():
            self._send(sender, PreVoteReply(message.term, True))
            self._give_way(sender)
        else:
            self._send(sender, PreVoteReply(present, False))

    def _give_way(self, rival: str) -> None:
        """Of several who would campaign let one go first, as far as this replica has a say in it.

        A vote that is given postpones the own election (Raft §5.2); a pre-vote comes a round trip
        earlier, and two who are granted theirs within that time split the votes. Where a minority
        is lost all the others must agree, so that happens to many groups of a region that is lost,
        and to some of them several times. So a pre-vote that is granted postpones the own election,
        too; of two who have asked each other, the one whose name comes first goes on. It costs
        nobody's safety: what is given up is a campaign that has not begun. One who asks in vain
        delays others by at most what it draws itself before it asks again.
        """
        if not self.counts(rival) or self._adaptor.asked_to_campaign or self._cleared_to_campaign:
            return
        if self._campaign is None or rival < self._node:
            self.end_campaign()
            self._adaptor.postpone_election()

    def on_pre_vote_reply(self, sender: str, message: PreVoteReply) -> None:
        if not message.granted:
            self.heed_term(message.term)
            return
        campaign, adaptor = self._campaign, self._adaptor
        if campaign is None or message.term != campaign.term or adaptor.role is Role.LEADER:
            return
        if not self.counts(sender):
            return
        campaign.granted.add(sender)
        if len(campaign.granted) >= self._membership.majority and campaign.term == adaptor.term + 1:
            self._cleared_to_campaign = True
            adaptor.set_election_deadline(-1.0)

    def _leader_is_live(self) -> bool:
        """Stickiness (Raft thesis §4.2.3): a replica that hears from a leader does not help to
        depose it. A leader without a majority falls back by itself within `election_max_s`."""
        if self._adaptor.role is Role.LEADER:
            return True
        recently = self._adaptor.now - self.heard_leader_at < self._timing.election_min_s
        return self._adaptor.leader is not None and recently

    # --- votes -----------------------------------------------------------------------------------

    def on_library_request(self, peer: str, message: RequestVote) -> None:
        """The library campaigns, and does not tell by whose word."""
        transfer = self._transfer_term == message.term
        self._send(peer, message._replace(transfer=transfer))

    def on_request_vote(self, sender: str, message: RequestVote) -> None:
        if not message.transfer and self._leader_is_live():
            return
        if message.term < self._adaptor.term:
            self._send(sender, Vote(self._adaptor.term, False))
            return
        if message.term > self._adaptor.term:
            # What was begun in an earlier term, at its leader's or a majority's word, is void.
            self.end_campaign()
            self._adaptor.forget_transfer()
        self._adaptor.deliver(sender, message)

    def on_vote(self, sender: str, message: Vote) -> None:
        if self.heed_term(message.term) or not message.granted:
            return
        present = self._adaptor.term
        if self._adaptor.role is not Role.CANDIDATE or message.term != present:
            return
        # The library counts votes; Raft counts voters (§5.2).
        term, voters = self._votes
        if term != present:
            voters = set()
            self._votes = (present, voters)
        if sender in voters or not self.counts(sender):
            return
        voters.add(sender)
        self._adaptor.deliver(sender, message)

    # --- leadership handed over ------------------------------------------------------------------

    def hand_over(self, target: str) -> bool:
        """As a leader: ask a peer that holds everything to take over. False if it does not."""
        adaptor = self._adaptor
        if adaptor.role is not Role.LEADER or not adaptor.is_connected(target):
            return False
        if adaptor.match_index(target) != self._journal.last_index or not self.counts(target):
            return False
        adaptor.transfer_leadership(target)
        return True

    def on_timeout_now(self, sender: str, message: TimeoutNow) -> None:
        if message.term == self._adaptor.term and sender == self._adaptor.leader:
            self._adaptor.deliver(sender, message)
