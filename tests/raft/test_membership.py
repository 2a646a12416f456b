"""Members that change, rule by rule: what a replica counts, heeds and refuses while they do."""

import pytest

from globaltable.members import Members
from globaltable.raft.adaptor import Role
from globaltable.raft.journal import InvariantViolated, Journal, members_command
from globaltable.raft.messages import (
    Ack,
    Examine,
    Held,
    Matched,
    Message,
    PreVote,
    PreVoteReply,
    Removed,
    RequestVote,
    TimeoutNow,
    Vote,
    Whole,
)
from globaltable.raft.recovery import Phase
from globaltable.store.log import Entry, HardState, LogImage
from tests.raft.rig import ROOT, Rig, ack, append, entries

THREE = Members(("a", "b", "c"))
WITH_D = Members(("a", "b", "c"), ("d",))
FOUR = Members(("a", "b", "c", "d"))
FIVE = Members(("a", "b", "c", "d", "e"))


def _configuration(index: int, term: int, members: Members) -> Entry:
    return Entry(members_command(members), index, term)


def _leader(**options: str) -> Rig:
    """It has committed an entry of its own term, and may change its members."""
    rig = Rig(1, committed=2, **options).elect()  # type: ignore[arg-type]
    for peer in "bc":
        rig.tell(peer, ack(2, 3))
    assert rig.guard.may_change_members
    return rig


class TestInTheLog:
    """Thesis §4.1: a server uses the latest configuration in its log, committed or not."""

    def test_a_configuration_is_in_force_once_it_is_in_the_log(self) -> None:
        rig = Rig()
        rig.tell("b", append(1, (1, 0), [_configuration(2, 1, WITH_D)]))
        assert rig.guard.members == WITH_D
        assert not rig.guard.members_committed

    def test_the_one_before_is_in_force_again_where_the_log_is_truncated(self) -> None:
        rig = Rig()
        rig.tell("b", append(1, (1, 0), [_configuration(2, 1, WITH_D)]))
        rig.tell("c", append(2, (1, 0), entries(2)))
        assert rig.guard.members == THREE

    def test_a_log_that_is_read_again_has_it_too(self) -> None:
        log = (ROOT, *entries(1), _configuration(3, 1, WITH_D), *entries(1, after=3))
        journal = Journal(0, LogImage(log, HardState(1, None)), 2, 1, THREE)
        assert (journal.members, journal.members_index) == (WITH_D, 3)
        assert [journal.members_at(index) for index in (2, 3, 4)] == [THREE, WITH_D, WITH_D]

    def test_those_as_of_a_snapshot_replace_all_before(self) -> None:
        journal = Journal(0, LogImage((ROOT,), HardState(1, None)), 1, 0, THREE)
        journal.reset(9, 1, FIVE)
        assert (journal.members, journal.members_index) == (FIVE, 9)

    def test_who_founds_a_group_stands_in_the_base_of_its_log(self) -> None:
        write = Journal(0, LogImage(), 1, 0, THREE).take_write()
        assert write is not None
        assert write.entries == (_configuration(1, 0, THREE),)


class TestOneStepAtATime:
    def test_not_before_the_last_one_is_committed(self) -> None:
        rig = _leader()
        rig.guard.change_members(WITH_D)
        with pytest.raises(InvariantViolated, match="before"):
            rig.guard.change_members(FOUR)

    def test_not_before_an_entry_of_the_leaders_own_term_is(self) -> None:
        """Ongaro 2015: its own log's configuration may be one that is not committed."""
        rig = Rig(1, committed=2).elect()
        with pytest.raises(InvariantViolated, match="before"):
            rig.guard.change_members(WITH_D)

    def test_not_two_voters_at_once(self) -> None:
        rig = _leader(learners="de")
        with pytest.raises(InvariantViolated, match="one may change at a time"):
            rig.guard.change_members(FIVE)

    def test_no_vote_for_who_has_not_been_a_learner(self) -> None:
        rig = _leader()
        with pytest.raises(InvariantViolated, match="without having been a learner"):
            rig.guard.change_members(FOUR)

    def test_the_leader_does_not_remove_itself(self) -> None:
        rig = _leader()
        with pytest.raises(InvariantViolated, match="the leader goes"):
            rig.guard.change_members(Members(("b", "c")))

    def test_the_new_majority_commits_it(self) -> None:
        """Of four voters three: the leader and one other are none."""
        rig = _leader(learners="d")
        rig.guard.change_members(FOUR)
        rig.turn()
        rig.tell("b", ack(2, 4))
        assert not rig.guard.members_committed
        rig.tell("d", ack(2, 4))
        assert rig.guard.members_committed


class TestLearners:
    def test_a_leader_does_not_count_them(self) -> None:
        rig = _leader(learners="de")
        rig.guard.append(entries(2)[0].command[1:])
        rig.turn()
        for learner in "de":
            rig.tell(learner, ack(2, 4))
        assert rig.guard.commit_index == 3
        rig.tell("b", ack(2, 4))
        assert rig.guard.commit_index == 4

    def test_a_follower_does_not_count_their_word(self) -> None:
        rig = Rig(voters="abcef", learners="d")
        rig.tell("b", append(1, (1, 0), entries(1)), Held(1, 2), Matched(1, 2))
        rig.tell("d", Matched(1, 2))
        assert rig.guard.commit_index == 1
        rig.tell("c", Matched(1, 2))
        assert rig.guard.commit_index == 2

    def test_they_do_not_count_themselves(self) -> None:
        rig = Rig(voters="bcd", learners="a")
        rig.tell("b", append(1, (1, 0), entries(1)), Held(1, 2))
        assert rig.guard.commit_index == 1, "leader and learner are no majority"
        rig.tell("b", append(1, (2, 1), commit=2))
        assert rig.guard.commit_index == 2

    def test_they_do_not_campaign_even_at_the_leaders_word(self) -> None:
        rig = Rig(voters="bcd", learners="a")
        rig.tell("b", append(1, (1, 0), entries(1)), TimeoutNow(1))
        sent = [message for _ in range(5) for _, message in rig.turn(1.1)]
        assert rig.role() is Role.FOLLOWER
        assert not any(isinstance(message, RequestVote) for message in sent)

    def test_they_answer_who_asks_for_their_vote(self) -> None:
        """Who asks may have a configuration that gives it one and has not come here; without it
        there might never be a leader to tell of it (thesis §4.2.2)."""
        rig = Rig(voters="bcd", learners="a")
        assert rig.answer("b", RequestVote(5, 9, 4, False)) == Vote(5, True)

    def test_but_a_candidate_does_not_count_them(self) -> None:
        rig = Rig(learners="de")
        while not any(isinstance(message, PreVote) for _, message in rig.turn(0.6)):
            pass
        for learner in "de":
            rig.tell(learner, PreVoteReply(rig.guard.term + 1, True))
        assert rig.role() is Role.FOLLOWER
        rig.tell("b", PreVoteReply(rig.guard.term + 1, True))
        for learner in "de":
            rig.tell(learner, Vote(rig.guard.term, True))
        assert rig.role() is Role.CANDIDATE
        rig.tell("c", Vote(rig.guard.term, True))
        assert rig.role() is Role.LEADER

    def test_one_is_asked_before_it_is_given_the_vote(self) -> None:
        rig = _leader(learners="d")
        assert not rig.guard.is_examined("d")
        question = next(m for _, m in rig.turn() if isinstance(m, Examine))
        rig.tell("d", Whole(2, question.nonce + 1))
        assert not rig.guard.is_examined("d"), "an answer to another question"
        rig.tell("d", Whole(2, question.nonce))
        assert rig.guard.is_examined("d")

    def test_one_that_is_not_whole_does_not_answer(self) -> None:
        rig = Rig(rebuilding=True)
        assert not any(isinstance(m, Whole) for _, m in rig.tell("b", Examine(1, 7)))


class TestAFollowersOwnCommit:
    """`follower._commit_by_itself`: by the latest configuration at or below what is matched."""

    def test_of_four_voters_it_needs_two_others(self) -> None:
        rig = Rig(learners="d")
        rig.tell("b", append(1, (1, 0), [_configuration(2, 1, FOUR), *entries(1, after=2)]))
        rig.tell("b", Held(1, 3))
        assert rig.guard.commit_index == 1
        rig.tell("d", Matched(1, 3))
        assert rig.guard.commit_index == 3

    def test_a_configuration_behind_what_is_matched_is_not_counted_by(self) -> None:
        """It is a deposed leader's, who had d and e for voters beside a."""
        rig = Rig()
        later = [_configuration(3, 1, WITH_D), _configuration(4, 1, FOUR)]
        rig.tell("c", append(1, (1, 0), [*entries(1), *later]))
        rig.tell("b", append(2, (2, 1)), Held(2, 2))
        assert rig.guard.members == FOUR
        assert rig.guard.commit_index == 1, "the entry is of an earlier term"
        rig.tell("b", append(2, (2, 1), entries(2, after=2)), Held(2, 3))
        assert (rig.guard.members, rig.guard.commit_index) == (THREE, 3)

    def test_a_new_voter_is_told_what_is_held(self) -> None:
        rig = Rig(learners="d")
        sent = rig.tell("b", append(1, (1, 0), [_configuration(2, 1, FOUR)]))
        assert [to for to, m in sent if isinstance(m, Matched)] == ["c", "d"]


class TestStrangers:
    """Thesis §4.2: who is no member here may be one by a configuration that has not come yet."""

    def test_a_leader_that_is_no_member_is_followed(self) -> None:
        rig = Rig()
        assert rig.answer("z", append(1, (1, 0), entries(1))) == Ack(1, 0, 3, True, False)
        assert rig.guard.leader == "z"

    def test_a_candidate_that_is_no_member_is_voted_for(self) -> None:
        assert Rig().answer("z", RequestVote(5, 9, 4, False)) == Vote(5, True)

    def test_but_not_while_a_leader_is_heard_from(self) -> None:
        rig = Rig()
        rig.tell("b", append(1, (1, 0), entries(1)))
        assert rig.tell("z", RequestVote(5, 9, 4, False)) == []
        assert rig.guard.term == 1

    @pytest.mark.parametrize("message", [ack(2, 3), Ack(9, 0, 0, False, False)])
    def test_a_leader_hears_no_answers_of_who_is_none(self, message: Message) -> None:
        rig = _leader()
        rig.tell("z", message)
        assert (rig.role(), rig.guard.term) == (Role.LEADER, 2)


class TestRemoved:
    def test_who_leaves_is_told_once_that_is_committed(self) -> None:
        rig = _leader(voters="abcd")
        rig.tell("d", ack(2, 3))
        rig.guard.change_members(THREE)
        assert not any(isinstance(m, Removed) for _, m in rig.turn())
        sent = rig.tell("b", ack(2, 4))
        assert [(to, m) for to, m in sent if isinstance(m, Removed)] == [("d", Removed(2, 4))]

    def test_who_missed_it_learns_it_when_it_would_campaign(self) -> None:
        sent = Rig(1, committed=2).tell("z", PreVote(9, 1, 0))
        assert ("z", Removed(1, 2)) in sent

    def test_a_replica_knows_by_its_own_log_once_that_is_committed(self) -> None:
        """It may yet give way."""
        rig = Rig(voters="abcd")
        gone = Members(("b", "c", "d"))
        rig.tell("b", append(1, (1, 0), [_configuration(2, 1, gone)]))
        before = rig.guard.is_removed
        rig.tell("b", append(1, (2, 1), commit=2))
        assert (before, rig.guard.is_removed) == (False, True)

    def test_or_is_told_and_campaigns_no_more(self) -> None:
        rig = Rig(1, voters="abcd")
        rig.tell("b", Removed(1, 9))
        assert rig.guard.is_removed
        assert all(not isinstance(m, PreVote) for _ in range(5) for _, m in rig.turn(1.1))

    def test_what_it_is_told_is_void_once_it_has_a_later_configuration(self) -> None:
        """It was removed, and added again."""
        rig = Rig()
        rig.tell("b", append(1, (1, 0), [*entries(1), _configuration(3, 1, WITH_D)]))
        rig.tell("b", Removed(1, 2))
        assert not rig.guard.is_removed

    def test_one_that_goes_through_what_was_long_ago_is_not_removed_by_it(self) -> None:
        rig = Rig(rebuilding=True)
        rig.tell("b", Removed(1, 9))
        assert rig.guard.recovery.phase is Phase.ASKING
        assert not rig.guard.is_removed
