"""The rules that PySyncObj leaves out, one by one, in the paper's words where they fit.

Each test fails without its rule; `tests/simulation/mutants.py` takes the same rules away from
whole clusters.
"""

import pytest

from globaltable.raft.adaptor import Role
from globaltable.raft.guard import UNCOMMITTED_ENTRIES_MAX
from globaltable.raft.journal import InvariantViolated
from globaltable.raft.messages import (
    Ack,
    Append,
    Heartbeat,
    Held,
    PreVote,
    PreVoteReply,
    RequestVote,
    SnapshotAck,
    SnapshotPart,
    TimeoutNow,
    Vote,
)
from globaltable.raft.progress import IN_FLIGHT_BYTES_MAX
from globaltable.store.log import HardState
from globaltable.table_state import TableState
from tests.raft.rig import TIMING, Rig, ack, append, command, entries


class TestCommitCoversOnlyWhatWasMatched:
    """Raft figure 2, AppendEntries 5: min(leaderCommit, index of last *new* entry)."""

    def test_a_commit_index_does_not_reach_an_unmatched_tail(self) -> None:
        rig = Rig(1, 1, 1, voters="abcde")
        rig.tell("b", append(2, (2, 1), commit=4))
        assert rig.guard.commit_index == 2
        assert [entry.index for entry in rig.applied] == [2]

    def test_a_snapshot_chunk_commits_nothing(self) -> None:
        rig = Rig(1, 1, 1)
        rig.tell("b", SnapshotPart(2, 7, 0, TableState(9, 2, 1), b"", False))
        assert rig.guard.commit_index == 1
        assert rig.applied == []

    def test_a_heartbeat_without_a_place_commits_nothing(self) -> None:
        rig = Rig(1, 1, 1)
        assert rig.answer("b", Heartbeat(2)) == Ack(2, 0, 0, False, False)
        assert rig.guard.commit_index == 1

    def test_a_rejected_append_commits_nothing(self) -> None:
        rig = Rig(1, 1, 1)
        rig.tell("b", append(2, (4, 2), commit=4))
        assert rig.guard.commit_index == 1


class TestEntriesAreDeletedFromTheFirstThatConflicts:
    """Raft figure 2, AppendEntries 3 and 4."""

    def test_a_late_duplicate_removes_nothing(self) -> None:
        rig = Rig(1, 1, 1)
        answer = rig.answer("b", append(1, (1, 0), entries(1)))
        assert rig.log == [0, 1, 1, 1]
        assert answer == Ack(1, 0, 3, True, False), "it acknowledges only what it covers"

    def test_a_conflict_deletes_that_entry_and_all_behind_it(self) -> None:
        rig = Rig(1, 1, 1, 1)
        rig.tell("b", append(2, (2, 1), entries(1, 2, after=2)))
        assert rig.log == [0, 1, 1, 2]

    def test_a_committed_entry_is_never_deleted(self) -> None:
        rig = Rig(1, 1, committed=3)
        with pytest.raises(InvariantViolated, match="committed"):
            rig.tell("b", append(2, (1, 0), entries(2)))

    def test_a_missing_previous_entry_is_asked_for(self) -> None:
        rig = Rig(1)
        assert rig.answer("b", append(2, (9, 2), attempt=3)) == Ack(2, 3, 3, False, True)

    def test_a_term_that_differs_is_passed_over_whole(self) -> None:
        rig = Rig(1, 2, 2, 2)
        assert rig.answer("b", append(3, (5, 1))) == Ack(3, 0, 3, False, True)


class TestAcks:
    def test_of_an_earlier_term_count_for_nothing(self) -> None:
        rig = Rig(1, 1).elect()
        rig.tell("b", ack(1, 4))
        assert (rig.guard.match_index("b"), rig.guard.commit_index) == (0, 1)
        rig.tell("b", ack(2, 4))
        assert (rig.guard.match_index("b"), rig.guard.commit_index) == (4, 4)

    def test_an_entry_of_an_earlier_term_is_not_committed_by_counting(self) -> None:
        """Raft §5.4.2."""
        rig = Rig(1, 1).elect()
        rig.tell("b", ack(2, 3))
        assert rig.guard.commit_index == 1

    def test_beyond_the_own_log_are_fatal(self) -> None:
        rig = Rig(1).elect()
        with pytest.raises(InvariantViolated, match="ends at"):
            rig.tell("b", ack(2, 99))

    def test_a_rejection_of_an_earlier_attempt_is_not_heeded(self) -> None:
        rig = Rig(1, 1, 1, 1).elect()
        rejection = Ack(2, 1, 2, False, True)
        (again,) = [m for to, m in rig.tell("b", rejection) if to == "b"]
        assert isinstance(again, Append) and (again.prev_index, again.round) == (1, 2)
        rig.tell("b", ack(2, 6)._replace(round=2))
        rig.tell("b", rejection)
        (heartbeat,) = [m for to, m in rig.turn(0.06) if isinstance(m, Append) and to == "b"]
        assert (heartbeat.prev_index, heartbeat.entries) == (6, ())


class TestVotes:
    def test_are_counted_by_voter(self) -> None:
        """Raft §5.2: each server will vote for at most one candidate in a given term."""
        rig = Rig(1, voters="abcde")
        rig.turn(1.1)
        for voter in "bc":
            rig.guard.receive(voter, PreVoteReply(2, True))
        rig.turn()
        for _ in range(5):
            rig.guard.receive("b", Vote(2, True))
        assert rig.role() is Role.CANDIDATE
        rig.guard.receive("c", Vote(2, True))
        assert rig.role() is Role.LEADER

    def test_one_is_given_in_a_term_and_remembered(self) -> None:
        rig = Rig(1)
        assert ("b", Vote(2, True)) in rig.tell("b", RequestVote(2, 2, 1, False))
        assert rig.tell("c", RequestVote(2, 2, 1, False)) == []
        again = Rig(1, term=2, voted_for="b")
        assert again.tell("c", RequestVote(2, 2, 1, False)) == []

    def test_a_vote_is_persisted_in_the_turn_in_which_it_is_sent(self) -> None:
        rig = Rig(1)
        rig.guard.receive("b", RequestVote(2, 2, 1, False))
        rig.guard.tick()
        write = rig.guard.take_write()
        assert write is not None and write.hard_state == HardState(2, "b")
        assert ("b", Vote(2, True)) in rig.guard.take_outbox()

    def test_none_for_a_log_that_is_not_up_to_date(self) -> None:
        """Raft §5.4.1."""
        rig = Rig(1, 2)
        assert rig.tell("b", RequestVote(3, 9, 1, False)) == []
        assert rig.tell("b", RequestVote(4, 2, 2, False)) == []

    def test_of_another_term_do_not_count(self) -> None:
        rig = Rig(1)
        rig.turn(1.1)
        rig.guard.receive("b", PreVoteReply(2, True))
        rig.turn()
        rig.guard.receive("b", Vote(1, True))
        assert rig.role() is Role.CANDIDATE


class TestPreVoteAndStickiness:
    """Raft thesis §9.6 and §4.2.3."""

    def test_asking_raises_nobodys_term(self) -> None:
        rig = Rig(1)
        sent = rig.turn(1.1)
        assert ("b", PreVote(2, 2, 1)) in sent
        assert (rig.guard.term, rig.guard.role) == (1, Role.FOLLOWER)

    def test_a_replica_that_hears_a_leader_grants_none(self) -> None:
        rig = Rig(1)
        rig.tell("b", append(1, (2, 1)))
        assert rig.answer("c", PreVote(2, 2, 1)) == PreVoteReply(1, False)
        rig.now += TIMING.election_min_s + 0.01
        rig.guard.set_now(rig.now)
        rig.guard.receive("c", PreVote(2, 2, 1))
        assert ("c", PreVoteReply(2, True)) in rig.guard.take_outbox()

    def test_who_is_granted_one_goes_first(self) -> None:
        rig = Rig(1)
        assert rig.answer("c", PreVote(2, 2, 1)) == PreVoteReply(2, True)
        assert rig.guard.adaptor.election_deadline >= rig.now + TIMING.election_min_s

    def test_who_is_refused_does_not(self) -> None:
        rig = Rig(1)
        before = rig.guard.adaptor.election_deadline
        assert rig.answer("c", PreVote(2, 1, 1)) == PreVoteReply(1, False)
        assert rig.guard.adaptor.election_deadline == before

    def test_nor_does_one_that_has_no_vote(self) -> None:
        rig = Rig(1, learners="l")
        before = rig.guard.adaptor.election_deadline
        assert rig.answer("l", PreVote(2, 2, 1)) == PreVoteReply(2, True)
        assert rig.guard.adaptor.election_deadline == before

    def test_of_two_who_ask_each_other_the_one_named_first_goes_on(self) -> None:
        rig = Rig(1)
        assert ("b", PreVote(2, 2, 1)) in rig.turn(1.1)
        rig.tell("b", PreVote(2, 2, 1), PreVoteReply(2, True))
        assert rig.role() is Role.CANDIDATE

    def test_and_the_other_asks_again_later(self) -> None:
        rig = Rig(1, voters="Aab")
        assert ("A", PreVote(2, 2, 1)) in rig.turn(1.1)
        rig.tell("A", PreVote(2, 2, 1), PreVoteReply(2, True))
        assert rig.role() is Role.FOLLOWER
        assert ("A", PreVote(2, 2, 1)) in rig.turn(1.1)

    def test_nor_answers_an_election(self) -> None:
        rig = Rig(1)
        rig.tell("b", append(1, (2, 1)))
        assert rig.tell("c", RequestVote(9, 9, 9, False)) == []
        assert rig.guard.term == 1

    def test_but_one_that_the_leader_itself_has_asked_for(self) -> None:
        rig = Rig(1)
        rig.tell("b", append(1, (2, 1)))
        assert ("c", Vote(2, True)) in rig.tell("c", RequestVote(2, 2, 1, True))

    def test_a_majority_must_grant_it(self) -> None:
        rig = Rig(1, voters="abcde")
        rig.turn(1.1)
        rig.tell("b", PreVoteReply(2, True), PreVoteReply(2, True))
        assert rig.role() is Role.FOLLOWER
        rig.tell("c", PreVoteReply(2, True))
        assert rig.role() is Role.CANDIDATE

    def test_an_answer_to_an_earlier_question_counts_for_nothing(self) -> None:
        rig = Rig(1, voters="abcde")
        rig.turn(1.1)
        rig.tell("b", PreVoteReply(1, True))
        rig.tell("c", PreVoteReply(1, True))
        assert rig.role() is Role.FOLLOWER

    def test_leadership_is_handed_over_at_once(self) -> None:
        rig = Rig(1)
        rig.tell("b", append(1, (2, 1)))
        sent = rig.tell("b", TimeoutNow(1))
        assert ("c", RequestVote(2, 2, 1, True)) in sent
        assert rig.role() is Role.CANDIDATE

    def test_an_election_of_a_later_term_makes_the_leaders_word_void(self) -> None:
        rig = Rig(1)
        rig.tell("b", append(1, (2, 1)))
        rig.guard.receive("b", TimeoutNow(1))
        rig.tell("c", RequestVote(2, 2, 1, True))
        rig.tell("c", append(2, (2, 1)))
        for _ in range(40):
            sent = rig.tell("c", append(2, (2, 1)))
            rig.now += 0.05
            assert not any(isinstance(message, RequestVote) for _, message in sent)
        assert rig.role() is Role.FOLLOWER

    def test_but_not_at_the_word_of_who_does_not_lead(self) -> None:
        rig = Rig(1)
        rig.tell("b", append(1, (2, 1)))
        rig.tell("c", TimeoutNow(1))
        assert rig.role() is Role.FOLLOWER


class TestStepDown:
    @pytest.mark.parametrize(
        "message",
        [
            Ack(9, 0, 0, False, False),
            Vote(9, False),
            PreVoteReply(9, False),
            SnapshotAck(9, 1, 1),
        ],
    )
    def test_a_leader_that_hears_a_higher_term_becomes_a_follower(self, message: Ack) -> None:
        """Raft §5.1."""
        rig = Rig(1).elect()
        rig.tell("b", message)
        assert (rig.guard.role, rig.guard.term, rig.guard.leader) == (Role.FOLLOWER, 9, None)

    def test_a_leader_without_a_majority_falls_back_within_the_election_timeout(self) -> None:
        rig = Rig(1).elect()
        rig.turn(TIMING.election_max_s / 2)
        assert rig.role() is Role.LEADER
        rig.turn(TIMING.election_max_s / 2 + 0.01)
        assert (rig.guard.role, rig.guard.leader) == (Role.FOLLOWER, None)

    def test_a_deposed_leader_is_told_of_the_present_term(self) -> None:
        rig = Rig(1, term=5)
        assert rig.answer("b", append(4, (2, 1))) == Ack(5, 0, 0, False, False)

    def test_two_leaders_in_a_term_are_fatal(self) -> None:
        rig = Rig(1).elect()
        with pytest.raises(InvariantViolated, match="leads in term 2"):
            rig.tell("b", append(2, (2, 1)))

    def test_who_is_no_voter_is_not_heard(self) -> None:
        rig = Rig(1).elect()
        assert rig.tell("z", Ack(9, 0, 0, False, False)) == []
        assert rig.role() is Role.LEADER


class TestFollowerSideCommit:
    """With three voters the leader and a follower are a majority, once both hold an entry."""

    def test_a_follower_commits_what_it_and_the_leader_hold(self) -> None:
        rig = Rig(1)
        rig.tell("b", append(2, (2, 1), entries(2, 2, after=2)), Held(2, 4))
        assert rig.guard.commit_index == 4
        assert [entry.index for entry in rig.applied] == [2, 3, 4]

    def test_in_whatever_order_it_learns_of_it(self) -> None:
        rig = Rig(1)
        rig.tell("b", Held(2, 4), append(2, (2, 1), entries(2, 2, after=2)))
        assert rig.guard.commit_index == 4

    def test_not_what_the_leader_has_only_sent(self) -> None:
        """It may leave the leader before it is durable there (Raft thesis §10.2.1)."""
        rig = Rig(1)
        rig.tell("b", append(2, (2, 1), entries(2, 2, after=2)))
        assert rig.guard.commit_index == 1
        rig.tell("b", Held(2, 3))
        assert rig.guard.commit_index == 3

    def test_not_what_only_the_leader_holds(self) -> None:
        rig = Rig(1)
        rig.tell("b", append(2, (2, 1), entries(2, after=2)), Held(2, 9))
        assert rig.guard.commit_index == 3

    def test_not_what_an_earlier_leader_has_told_of(self) -> None:
        rig = Rig(1, term=2)
        rig.tell("b", Held(2, 9))
        rig.tell("c", append(3, (2, 1), entries(3, after=2)))
        assert rig.guard.commit_index == 1

    def test_not_what_was_matched_with_an_earlier_leader(self) -> None:
        rig = Rig(1)
        rig.tell("b", append(2, (2, 1), entries(2, after=2)))
        rig.tell("c", Held(3, 9))
        assert rig.guard.commit_index == 1

    def test_not_what_is_of_an_earlier_term(self) -> None:
        """Raft §5.4.2: figure 8 shows what would go wrong."""
        rig = Rig(1)
        rig.tell("b", append(3, (2, 1), entries(2, after=2)), Held(3, 3))
        assert rig.guard.commit_index == 1

    def test_it_is_durable_in_the_turn_that_applies_it(self) -> None:
        rig = Rig(1)
        rig.guard.receive("b", append(2, (2, 1), entries(2, after=2)))
        rig.guard.receive("b", Held(2, 3))
        applicable = rig.guard.tick()
        write = rig.guard.take_write()
        assert write is not None
        assert [entry.index for entry in write.entries] == [3] == [applicable[-1].index]


class TestALeaderCountsWhatItHolds:
    """Entries leave it before they are durable there; it counts only then (Raft thesis §10.2.1)."""

    def test_it_does_not_count_before_its_last_write_is_durable(self) -> None:
        rig = Rig(1).elect()
        rig.tell("b", ack(2, 3))
        rig.guard.append(command(4))
        rig.turn(durable=False)
        rig.guard.receive("b", ack(2, 4))
        with pytest.raises(InvariantViolated, match="before entries 4 to 4 were durable"):
            rig.guard.tick()
        rig.guard.persisted()
        rig.turn()
        assert rig.guard.commit_index == 4

    def test_followers_are_told_once_it_is_durable(self) -> None:
        rig = Rig(1).elect()
        rig.guard.append(command(4))
        sent = rig.turn(durable=False)
        assert not any(isinstance(message, Held) for _, message in sent)
        assert rig.guard.persisted() == [("b", Held(2, 4)), ("c", Held(2, 4))]
        assert rig.guard.persisted() == []

    def test_what_was_cut_off_meanwhile_is_not_durable(self) -> None:
        rig = Rig(1)
        rig.guard.receive("b", append(2, (2, 1), entries(2, 2, after=2)))
        rig.turn(durable=False)
        rig.guard.receive("c", append(3, (3, 2), entries(3, after=3)))
        rig.guard.persisted()
        assert rig.journal.durable_index == 3
        rig.turn()
        assert rig.journal.durable_index == 4


class TestFlow:
    def test_a_full_window_gets_one_heartbeat_not_a_stream(self) -> None:
        rig = Rig(1).elect()
        rig.tell("b", ack(2, 3))
        big = command(1) + bytes(IN_FLIGHT_BYTES_MAX // 8)
        sent = 0
        for _ in range(12):
            rig.guard.append(big)
            messages = [m for to, m in rig.turn() if to == "c" and isinstance(m, Append)]
            sent += sum(len(message.entries) for message in messages)
            assert len(messages) <= 2
        assert 0 < sent < 12

    def test_a_peer_that_needs_a_snapshot_gets_one_heartbeat(self) -> None:
        rig = Rig(1, 1, 1, 1, committed=5, first=4).elect()
        sent = [m for to, m in rig.tell("b", Ack(2, 1, 2, False, True)) if to == "b"]
        assert sent == [Heartbeat(2)]

    def test_what_is_not_committed_is_bounded(self) -> None:
        rig = Rig(1).elect()
        while rig.guard.can_append:
            rig.guard.append(command(1))
            assert rig.journal.last_index < UNCOMMITTED_ENTRIES_MAX + 10

    def test_a_new_connection_begins_where_the_peer_is_known_to_stand(self) -> None:
        rig = Rig(1, 1).elect()
        rig.tell("b", ack(2, 4))
        rig.guard.append(command(1))
        rig.turn()
        rig.guard.set_connected("b", False)
        rig.guard.set_connected("b", True)
        again = [m for to, m in rig.turn() if to == "b" and isinstance(m, Append)]
        assert [entry.index for entry in again[0].entries] == [5]

    def test_what_is_in_flight_is_not_sent_again_at_every_acknowledgement(self) -> None:
        rig = Rig(1).elect()
        rig.tell("b", ack(2, 3))
        sent: list[int] = []
        for index in range(4, 12):
            rig.guard.append(command(index))
            messages = rig.turn() if index < 8 else rig.tell("b", ack(2, index - 4))
            for message in (m for to, m in messages if to == "b" and isinstance(m, Append)):
                sent += [entry.index for entry in message.entries]
        sent += [e.index for _, m in rig.turn() if isinstance(m, Append) for e in m.entries]
        assert sent == list(range(4, 12))

    def test_but_a_gap_in_what_arrived_is_filled(self) -> None:
        rig = Rig(1).elect()
        rig.tell("b", ack(2, 3))
        attempt = 0
        for index in range(4, 8):
            rig.guard.append(command(index))
            attempt = next(m.round for _, m in rig.turn() if isinstance(m, Append))
        sent = rig.tell("b", Ack(2, attempt, 5, False, True))
        again = [m for to, m in sent if to == "b" and isinstance(m, Append)]
        assert [entry.index for entry in again[0].entries] == [5, 6, 7]

    def test_an_acknowledgement_that_commits_nothing_needs_no_step(self) -> None:
        rig = Rig(1).elect()
        rig.guard.append(command(1))
        rig.turn()
        assert rig.guard.receive("b", ack(2, 4)) is True
        rig.turn()
        assert rig.guard.commit_index == 4
        assert rig.guard.receive("c", ack(2, 4)) is False
