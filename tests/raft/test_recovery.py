"""A replica that lost what it had persisted, rule by rule, each with the danger it averts.

`tests/interaction/rebuild.txt` shows the whole of it as a conversation.
"""

import pytest

from globaltable.raft.adaptor import Role
from globaltable.raft.messages import (
    Ack,
    Append,
    Ask,
    Heartbeat,
    Held,
    JoinerAck,
    Matched,
    Message,
    PreVote,
    PreVoteReply,
    Recover,
    RecoverReply,
    RequestVote,
    SnapshotPart,
    TimeoutNow,
    Vote,
)
from globaltable.raft.recovery import Phase
from globaltable.raft.transfer import EndRead, ReadChunk
from globaltable.store.log import HardState
from globaltable.table_state import TableState
from tests.raft.rig import TIMING, Rig, ack, append, command, entries

OF_A_PRESENT_LEADER: list[Message] = [
    append(9, (1, 0), entries(9)),
    Heartbeat(9),
    Held(9, 2),
    Matched(9, 2),
    TimeoutNow(9),
    SnapshotPart(9, 7, 0, TableState(9, 2, 1), b"", True),
]
OF_ELECTIONS: list[Message] = [
    PreVote(99, 99, 98),
    PreVoteReply(99, False),
    RequestVote(99, 99, 98, False),
    RequestVote(99, 99, 98, True),
    Vote(99, True),
    Recover(1),
]


def _asking(voters: str = "abc", term: int = 0) -> Rig:
    return Rig(voters=voters, rebuilding=True, term=term)


def _nonce(rig: Rig) -> int:
    """What it asks with; a heartbeat passes."""
    asked = [m for _, m in rig.turn(TIMING.heartbeat_s) if isinstance(m, Recover)]
    return asked[0].nonce


def _catching_up(term: int = 5, voters: str = "abc") -> Rig:
    rig = _asking(voters)
    nonce = _nonce(rig)
    for peer in voters[1:]:
        rig.guard.receive(peer, RecoverReply(nonce, term))
    rig.turn()
    assert rig.guard.recovery.phase is Phase.CATCHING_UP
    return rig


class TestAsking:
    def test_every_other_voter_is_asked_until_it_has_answered(self) -> None:
        rig = _asking("abcde")
        nonce = _nonce(rig)
        rig.tell("c", RecoverReply(nonce, 1))
        again = rig.turn(TIMING.heartbeat_s)
        assert again == [("b", Recover(nonce)), ("d", Recover(nonce)), ("e", Recover(nonce))]
        assert rig.turn(TIMING.heartbeat_s / 2) == [], "once a heartbeat"
        assert rig.guard.recovery.waits_for == "waits for an answer of b, d, e"

    @pytest.mark.parametrize("message", [*OF_A_PRESENT_LEADER, *OF_ELECTIONS])
    def test_it_hears_nothing_else(self, message: Message) -> None:
        """It may have promised, in a term that it has forgotten, not to."""
        rig = _asking()
        rig.turn()
        before = rig.hard_state
        assert rig.tell("b", message) == []
        assert (rig.log, rig.hard_state, rig.guard.leader) == ([0], before, None)

    def test_it_does_not_campaign(self) -> None:
        rig = _asking()
        sent = [message for _ in range(20) for _, message in rig.turn(1.1)]
        assert {type(message) for message in sent} == {Recover}
        assert rig.role() is Role.FOLLOWER

    def test_a_majority_of_answers_is_not_enough(self) -> None:
        """Of five, b was elected in term 9 with this replica's vote, and with it has committed an
        entry that c and d lack. c leads in term 5, for it has not heard of that. Should this
        replica acknowledge what c appends, another entry would be committed in the same place."""
        rig = _asking("abcde")
        nonce = _nonce(rig)
        for peer in "cde":
            rig.tell(peer, RecoverReply(nonce, 5))
        assert rig.guard.recovery.phase is Phase.ASKING
        assert rig.tell("c", append(5, (1, 0), entries(5))) == []
        rig.tell("b", RecoverReply(nonce, 9))
        assert rig.answer("c", append(5, (1, 0), entries(5))) == Ack(9, 0, 0, False, False)
        assert rig.log == [0]

    def test_one_that_answers_twice_is_one(self) -> None:
        rig = _asking()
        nonce = _nonce(rig)
        rig.tell("b", RecoverReply(nonce, 5), RecoverReply(nonce, 6))
        assert rig.guard.recovery.phase is Phase.ASKING

    def test_an_answer_to_an_earlier_life_is_not_heeded(self) -> None:
        """Since it was given this replica, whole again, may have voted in a later term."""
        rig = _asking()
        nonce = _nonce(rig)
        rig.tell("b", RecoverReply(nonce + 1, 5))
        rig.tell("c", RecoverReply(nonce, 5))
        assert rig.guard.recovery.phase is Phase.ASKING

    def test_nor_one_of_who_is_no_voter(self) -> None:
        rig = _asking()
        nonce = _nonce(rig)
        rig.tell("b", RecoverReply(nonce, 5))
        rig.tell("z", RecoverReply(nonce, 5))
        assert rig.guard.recovery.phase is Phase.ASKING

    @pytest.mark.parametrize("catching_up", [False, True])
    def test_two_that_are_rebuilt_never_answer_each_other(self, catching_up: bool) -> None:
        """Neither knows what it promised: together they could elect who lacks what both held."""
        rig = _catching_up() if catching_up else _asking()
        sent = rig.tell("b", Recover(77))
        assert not any(isinstance(message, RecoverReply) for _, message in sent)

    def test_each_life_has_a_question_of_its_own(self) -> None:
        """After a crash on the way, what was answered before counts for nothing."""
        rig = _catching_up(term=5)
        image = rig.hard_state
        assert image == HardState(5, "a", rebuilding=True)
        again = Rig(term=image.term, voted_for=image.voted_for, rebuilding=image.rebuilding, seed=2)
        assert again.guard.recovery.phase is Phase.ASKING
        assert _nonce(again) != _nonce(_asking())

    def test_those_who_are_members_no_more_are_not_waited_for(self) -> None:
        """They had answered, had named each other and one more, and were removed then."""
        rig = _asking("abc")
        nonce = _nonce(rig)
        for gone in "xy":
            rig.tell(gone, RecoverReply(nonce, 1, ("a", "b", "c", "x", "y", "z")))
        assert "z" in rig.guard.recovery.waits_for
        for _ in range(200):
            for peer, message in rig.turn(TIMING.heartbeat_s):
                if peer in "bc" and isinstance(message, Recover):
                    rig.tell(peer, RecoverReply(nonce, 2, ("a", "b", "c")))
            if rig.guard.recovery.phase is Phase.CATCHING_UP:
                return
        raise AssertionError(rig.guard.recovery.waits_for)


class TestAnswering:
    def test_a_whole_replica_tells_its_term(self) -> None:
        assert Rig(1, term=7).answer("b", Recover(77)) == RecoverReply(77, 7, ("a", "b", "c"))

    def test_once_that_term_is_durable(self) -> None:
        """Else it could forget it, and vote in it for who was asked for a vote in it before."""
        rig = Rig(1)
        rig.guard.receive("c", append(8, (2, 1)))
        rig.guard.receive("b", Recover(77))
        rig.guard.tick()
        write = rig.guard.take_write()
        assert write is not None and write.hard_state == HardState(8, None)
        reply = RecoverReply(77, 8, ("a", "b", "c"))
        assert ("b", reply) in rig.guard.take_outbox(), "which leaves after the write"

    def test_a_leader_forgets_what_the_other_held(self) -> None:
        """Or it would hand over to it, and propose nothing while it waits in vain."""
        rig = Rig(1, 1).elect()
        rig.tell("b", ack(2, 4))
        assert (rig.guard.match_index("b"), rig.guard.commit_index) == (4, 4)
        rig.tell("b", Recover(77))
        assert (rig.guard.match_index("b"), rig.guard.commit_index) == (0, 4)
        assert rig.guard.hand_over("b") is False

    def test_a_question_that_comes_late_does_no_harm(self) -> None:
        rig = Rig(1, 1).elect()
        rig.tell("b", Recover(77), ack(2, 4))
        assert rig.guard.match_index("b") == 4

    def test_and_reads_no_further_for_it(self) -> None:
        """A snapshot that nobody receives would be in the way of the next until it is given up."""
        rig = Rig(1, 1, 1, 1, committed=5, first=4).elect()
        rig.tell("b", Ack(2, 1, 2, False, True))
        rig.turn(0.06)
        (read,) = rig.guard.take_jobs()
        assert isinstance(read, ReadChunk)
        rig.tell("b", Recover(77))
        assert rig.guard.take_jobs() == [EndRead("b", read.transfer)]


class TestALogThatIsShorterThanItsLeaderBelieves:
    def test_is_sent_from_where_it_ends(self) -> None:
        """Also by a leader that the question did not reach, and that counts on an old answer."""
        rig = Rig(1, 1).elect()
        rig.tell("b", ack(2, 4))
        rig.guard.set_connected("b", False)
        rig.guard.set_connected("b", True)
        (first,) = [m for to, m in rig.turn() if to == "b" and isinstance(m, Append)]
        assert first.prev_index == 4
        rejection = Ack(2, first.round, 2, False, True)
        (again,) = [m for to, m in rig.tell("b", rejection) if to == "b"]
        assert isinstance(again, Append)
        assert (again.prev_index, [entry.index for entry in again.entries]) == (1, [2, 3, 4])
        rig.tell("b", ack(2, 4)._replace(round=again.round))
        rig.guard.append(command(5))
        (new,) = [m for to, m in rig.turn() if to == "b" and isinstance(m, Append)]
        assert (new.prev_index, len(new.entries)) == (4, 1)

    def test_or_by_snapshot(self) -> None:
        rig = Rig(1, 1, 1, 1, committed=5, first=4).elect()
        rig.tell("b", ack(2, 6))
        rig.tell("b", Recover(77))
        rejection = Ack(2, 2, 2, False, True)
        (heartbeat,) = [m for to, m in rig.tell("b", rejection) if to == "b"]
        assert heartbeat == Heartbeat(2)
        rig.turn(0.06)
        assert any(isinstance(job, ReadChunk) for job in rig.guard.take_jobs())


class TestCatchingUp:
    def test_it_takes_the_greatest_term_and_its_own_vote(self) -> None:
        """Whoever it voted for has answered with that term or a later one: no second vote in it."""
        rig = _asking()
        nonce = _nonce(rig)
        rig.tell("b", RecoverReply(nonce, 7))
        rig.tell("c", RecoverReply(nonce, 5))
        assert rig.hard_state == HardState(7, "a", rebuilding=True)
        assert (rig.role(), rig.guard.leader) == (Role.FOLLOWER, None)

    def test_or_its_own_term_if_that_is_greater(self) -> None:
        """It crashed on its way, and has followed a leader since it asked first."""
        rig = _asking(term=8)
        nonce = _nonce(rig)
        rig.tell("b", RecoverReply(nonce, 7))
        rig.tell("c", RecoverReply(nonce, 5))
        assert rig.hard_state == HardState(8, "a", rebuilding=True)

    def test_it_follows_and_acknowledges_what_it_holds(self) -> None:
        rig = _catching_up(term=5)
        answer = rig.answer("b", append(5, (1, 0), entries(1, 5)))
        assert answer == Ack(5, 0, 4, True, False)
        assert (rig.log, rig.guard.leader) == ([0, 1, 5], "b")

    def test_not_the_leader_of_an_earlier_term(self) -> None:
        """It may have voted against it since, and its vote have been counted."""
        rig = _catching_up(term=5)
        assert rig.answer("b", append(4, (1, 0), entries(4))) == Ack(5, 0, 0, False, False)
        assert rig.log == [0]

    @pytest.mark.parametrize("message", [RequestVote(5, 99, 5, False), PreVote(6, 99, 5)])
    def test_it_does_not_vote(self, message: Message) -> None:
        assert _catching_up(term=5).tell("b", message) == []

    @pytest.mark.parametrize(
        "message", [PreVote(99, 3, 5), RequestVote(99, 3, 5, False), RequestVote(99, 3, 5, True)]
    )
    def test_not_even_in_a_later_term(self, message: Message) -> None:
        """That of c, which lacks what b and this replica had committed, while b is down."""
        rig = _catching_up(term=5)
        assert rig.tell("c", message) == []
        assert rig.hard_state.term == 5

    def test_it_does_not_campaign_even_at_its_leaders_word(self) -> None:
        rig = _catching_up(term=5)
        rig.tell("b", append(5, (1, 0), entries(5)), TimeoutNow(5))
        sent = [message for _ in range(20) for _, message in rig.turn(1.1)]
        assert {type(message) for message in sent} == {Recover}, "as no leader is heard"
        assert rig.role() is Role.FOLLOWER

    def test_it_commits_what_it_and_its_leader_hold(self) -> None:
        """What it holds by now is as durable as with anybody else."""
        rig = _catching_up(term=5)
        rig.tell("b", append(5, (1, 0), entries(1, 5)))
        assert rig.guard.commit_index == 1
        rig.tell("b", Held(5, 3))
        assert [entry.index for entry in rig.applied] == [2, 3]

    def test_not_what_its_leader_was_told_to_hold_before(self) -> None:
        rig = _asking()
        rig.tell("b", Held(5, 3))
        nonce = _nonce(rig)
        rig.tell("b", RecoverReply(nonce, 5))
        rig.tell("c", RecoverReply(nonce, 5))
        rig.tell("b", append(5, (1, 0), entries(1, 5)))
        assert rig.guard.commit_index == 1


class TestWhole:
    def test_the_mark_is_cleared_in_the_write_before_the_first_vote(self) -> None:
        """Else a crash after the vote would have it ask anew, and vote a second time."""
        rig = _catching_up(term=5)
        rig.guard.recovery.barrier_applied(None)
        assert rig.guard.recovery.is_whole
        rig.guard.receive("b", RequestVote(6, 9, 5, False))
        rig.guard.tick()
        write = rig.guard.take_write()
        assert write is not None and write.hard_state == HardState(6, "b", rebuilding=False)
        assert ("b", Vote(6, True)) in rig.guard.take_outbox(), "which leaves after the write"

    def test_it_does_not_vote_in_the_term_it_may_have_voted_in(self) -> None:
        rig = _catching_up(term=5)
        rig.guard.recovery.barrier_applied(None)
        rig.turn()
        assert rig.hard_state == HardState(5, "a")
        assert rig.tell("b", RequestVote(5, 9, 5, False)) == []

    def test_an_answer_that_comes_late_changes_nothing(self) -> None:
        rig = _asking()
        nonce = _nonce(rig)
        for peer in "bcbc":
            rig.tell(peer, RecoverReply(nonce, 5))
        rig.tell("b", RecoverReply(nonce, 9))
        assert rig.hard_state == HardState(5, "a", rebuilding=True)
        rig.guard.recovery.barrier_applied(None)
        rig.tell("b", RecoverReply(nonce, 9))
        assert rig.guard.recovery.is_whole
        assert rig.hard_state == HardState(5, "a")

    def test_it_campaigns_and_answers_as_anybody(self) -> None:
        rig = _catching_up(term=5)
        rig.guard.recovery.barrier_applied(None)
        assert rig.answer("b", Recover(77)) == RecoverReply(77, 5, ("a", "b", "c"))
        rig.elect()
        assert rig.guard.term == 6


class TestOneThatJoinsInThePlaceOfAVoter:
    """Its disk was lost, and it was started as if it were new: the group still counts on it.

    The danger: b was elected in term 9 with this replica's vote, and with it has committed an entry
    that c lacks. c leads in term 5, for it has not heard of that. Should what this replica holds
    count for c, another entry would be committed in the same place.
    """

    @pytest.mark.parametrize("voters", ["abc", "abcde"])
    def test_what_it_holds_counts_for_nobody(self, voters: str) -> None:
        rig = Rig(voters=voters, joining=True)
        sent = rig.tell("c", append(5, (1, 0), entries(5)))
        assert ("c", JoinerAck(5, 0, 3)) in sent
        assert not any(isinstance(m, Ack) and m.success for _, m in sent)
        assert not any(isinstance(m, Matched) for _, m in sent)
        rig.tell("c", Held(5, 2))
        assert rig.guard.commit_index == 1, "nor for itself"

    def test_told_to_ask_it_does(self) -> None:
        """Durably: a crash does not have it join again."""
        rig = Rig(joining=True)
        rig.tell("c", append(5, (1, 0), entries(5)), Ask(5))
        assert rig.hard_state == HardState(5, None, rebuilding=True, joining=False)
        assert rig.guard.recovery.phase is Phase.ASKING
        asked = [m for _, m in rig.turn(TIMING.heartbeat_s) if isinstance(m, Recover)]
        assert len(asked) == 2
        assert rig.tell("c", append(5, (2, 5), entries(5, after=2))) == []

    def test_by_a_leader_of_an_earlier_term_it_is_not_told(self) -> None:
        rig = Rig(joining=True, term=7)
        rig.tell("c", Ask(5))
        assert rig.guard.recovery.phase is Phase.JOINING

    def test_who_is_whole_need_not_ask(self) -> None:
        rig = Rig()
        rig.tell("c", append(5, (1, 0), entries(5)), Ask(5))
        assert rig.guard.recovery.is_whole
        assert rig.answer("c", append(5, (2, 5), entries(5, after=2))) == Ack(5, 0, 4, True, False)

    def test_a_leader_has_a_voter_ask_and_does_not_count_it(self) -> None:
        rig = Rig().elect()
        last = rig.journal.last_index
        assert rig.answer("b", JoinerAck(rig.guard.term, 0, last + 1)) == Ask(rig.guard.term)
        rig.turn()
        assert rig.guard.commit_index < last and rig.guard.match_index("b") == 0
        rig.tell("c", ack(rig.guard.term, last))
        rig.turn()
        assert rig.guard.commit_index == last

    def test_and_knows_of_a_learner_how_far_it_has_come(self) -> None:
        rig = Rig(learners="d").elect()
        last = rig.journal.last_index
        sent = rig.tell("d", JoinerAck(rig.guard.term, 0, last + 1))
        assert not any(isinstance(message, Ask) for _, message in sent)
        assert rig.guard.match_index("d") == last and rig.guard.commit_index < last

    def test_of_a_stranger_nothing_is_heard(self) -> None:
        rig = Rig().elect()
        assert rig.tell("z", JoinerAck(rig.guard.term, 0, 2)) == []
