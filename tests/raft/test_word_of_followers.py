"""With five voters: whom a follower counts as a holder, and what it tells the others to hold.

Raft §5.3, §5.4.2: an entry of the present term is committed once a majority holds it durably. It is
nothing to Raft who counts. The conversation is `tests/interaction/follower_commit_at_five.txt`.
"""

import pytest

from globaltable.errors import ProtocolError
from globaltable.raft.adaptor import Role
from globaltable.raft.messages import (
    Append,
    Heartbeat,
    Held,
    Matched,
    Message,
    Recover,
    SnapshotPart,
)
from globaltable.raft.transfer import InstallSnapshot, StageChunk
from globaltable.table_state import TableState
from globaltable.wire.frames import decode_frame, encode_frame
from globaltable.wire.packing import pack
from tests.raft.rig import Rig, ack, append, entries

TWO_NEW = append(2, (2, 1), entries(2, 2, after=2))
"""Entries 3 and 4, from `b`, which leads in term 2."""


def _five(*terms: int, term: int | None = None) -> Rig:
    return Rig(*terms, voters="abcde", term=term)


def _words(sent: list[tuple[str, Message]]) -> list[tuple[str, Message]]:
    return [(to, message) for to, message in sent if isinstance(message, Matched)]


class TestWhatIsCounted:
    def test_the_leader_and_itself_are_no_majority(self) -> None:
        rig = _five(1)
        rig.tell("b", TWO_NEW, Held(2, 4))
        assert rig.guard.commit_index == 1

    def test_with_a_third_they_are(self) -> None:
        rig = _five(1)
        rig.tell("b", TWO_NEW, Held(2, 4))
        rig.tell("c", Matched(2, 4))
        assert rig.guard.commit_index == 4
        assert [entry.index for entry in rig.applied] == [2, 3, 4]

    def test_in_whatever_order_it_learns_of_it(self) -> None:
        rig = _five(1)
        rig.tell("c", Matched(2, 4))
        rig.tell("b", Held(2, 4))
        assert rig.guard.commit_index == 1
        rig.tell("b", TWO_NEW)
        assert rig.guard.commit_index == 4

    def test_two_other_followers_are_enough_if_the_leader_has_not_told(self) -> None:
        """It may have sent what is not durable there (Raft thesis §10.2.1)."""
        rig = _five(1)
        rig.tell("b", TWO_NEW)
        rig.tell("c", Matched(2, 4))
        assert rig.guard.commit_index == 1
        rig.tell("d", Matched(2, 3))
        assert rig.guard.commit_index == 3

    def test_no_follower_counts_twice(self) -> None:
        rig = _five(1)
        rig.tell("b", TWO_NEW)
        rig.tell("c", Matched(2, 4), Matched(2, 4), Matched(2, 3))
        assert rig.guard.commit_index == 1

    def test_a_late_word_takes_nothing_back(self) -> None:
        rig = _five(1)
        rig.tell("c", Matched(2, 4), Matched(2, 3))
        rig.tell("b", TWO_NEW, Held(2, 4))
        assert rig.guard.commit_index == 4

    def test_not_what_it_has_not_itself(self) -> None:
        rig = _five(1)
        rig.tell("b", append(2, (2, 1), entries(2, after=2)), Held(2, 9))
        rig.tell("c", Matched(2, 9))
        assert rig.guard.commit_index == 3

    def test_not_what_it_has_but_has_not_verified(self) -> None:
        """Its entries 3 and 4 are of term 1; the leader's may be others."""
        rig = _five(1, 1, 1)
        rig.tell("b", append(2, (2, 1)), Held(2, 4))
        rig.tell("c", Matched(2, 4))
        rig.tell("d", Matched(2, 4))
        assert rig.guard.commit_index == 1

    def test_not_what_is_of_an_earlier_term(self) -> None:
        """Raft §5.4.2: figure 8 shows what would go wrong."""
        rig = _five(1)
        rig.tell("b", append(3, (2, 1), entries(2, after=2)), Held(3, 3))
        rig.tell("c", Matched(3, 3))
        rig.tell("d", Matched(3, 3))
        assert rig.guard.commit_index == 1
        rig.tell("b", append(3, (3, 2), entries(3, after=3)), Held(3, 4))
        rig.tell("c", Matched(3, 4))
        assert rig.guard.commit_index == 4

    def test_it_is_durable_in_the_turn_that_applies_it(self) -> None:
        rig = _five(1)
        rig.guard.receive("c", Matched(2, 4))
        rig.guard.receive("b", Held(2, 4))
        rig.guard.receive("b", TWO_NEW)
        applicable = rig.guard.tick()
        write = rig.guard.take_write()
        assert write is not None
        assert [entry.index for entry in write.entries] == [3, 4]
        assert [entry.index for entry in applicable] == [2, 3, 4]

    def test_one_that_lost_its_log_is_not_counted_for_what_it_told(self) -> None:
        rig = _five(1)
        rig.tell("c", Matched(2, 4))
        rig.tell("c", Recover(7))
        rig.tell("b", TWO_NEW, Held(2, 4))
        assert rig.guard.commit_index == 1
        rig.tell("c", Matched(2, 4))
        assert rig.guard.commit_index == 4

    def test_only_what_commits_makes_a_step_due(self) -> None:
        rig = _five(1)
        rig.tell("b", TWO_NEW)
        assert not rig.guard.receive("c", Matched(2, 4))
        assert rig.guard.receive("d", Matched(2, 4))
        assert not rig.guard.receive("e", Matched(2, 4))


class TestTerms:
    def test_a_word_of_an_earlier_term_is_not_heeded(self) -> None:
        rig = _five(1)
        rig.tell("b", append(3, (2, 1), entries(3, after=2)), Held(3, 3))
        assert not rig.guard.receive("c", Matched(2, 3))
        rig.turn()
        assert rig.guard.commit_index == 1

    def test_what_was_told_in_an_earlier_term_is_forgotten(self) -> None:
        rig = _five(1, term=2)
        rig.tell("c", Matched(2, 3))
        rig.tell("d", Matched(2, 3))
        rig.tell("b", append(3, (2, 1), entries(3, after=2)), Held(3, 3))
        assert rig.guard.commit_index == 1

    def test_a_word_of_a_later_term_is_heeded_and_kept(self) -> None:
        """Raft §5.1; whoever agrees with a leader of that term has heard of one."""
        rig = _five(1)
        assert rig.guard.receive("c", Matched(2, 4))
        rig.turn()
        assert rig.hard_state.term == 2
        assert rig.guard.leader is None
        rig.tell("b", TWO_NEW, Held(2, 4))
        assert rig.guard.commit_index == 4

    def test_a_leader_steps_down_before_a_later_one(self) -> None:
        rig = _five(1).elect()
        rig.tell("c", Matched(rig.guard.term + 1, 9))
        assert rig.role() is Role.FOLLOWER

    def test_a_leader_does_not_count_by_it(self) -> None:
        """It has acknowledgements, which only then are sent to it; whoever errs is not believed."""
        rig = _five(1).elect()
        for peer in "bcde":
            assert not rig.guard.receive(peer, Matched(2, 3))
        rig.turn()
        assert rig.guard.commit_index == 1
        rig.tell("b", ack(2, 3))
        rig.tell("c", ack(2, 3))
        assert rig.guard.commit_index == 3

    def test_it_is_no_sign_of_the_leaders_life(self) -> None:
        rig = _five(1, term=2)
        rig.tell("b", append(2, (2, 1)))
        sent: list[tuple[str, Message]] = []
        for _ in range(30):
            sent += rig.turn(0.1)
            sent += rig.tell("c", Matched(2, 2))
        assert any(type(message).__name__ == "PreVote" for _, message in sent)


class TestWhatIsTold:
    def test_the_other_followers_and_not_the_leader(self) -> None:
        sent = _five(1).tell("b", TWO_NEW)
        assert _words(sent) == [(peer, Matched(2, 4)) for peer in "cde"]

    def test_nobody_with_three_voters(self) -> None:
        assert _words(Rig(1).tell("b", TWO_NEW)) == []

    def test_only_once_it_is_durable(self) -> None:
        """It leaves with the acknowledgement, and behind the write that holds what it promises:
        what a step puts into its outbox but for appends waits for its write (`group`)."""
        rig = _five(1)
        rig.guard.receive("b", TWO_NEW)
        assert _words(rig.guard.take_outbox()) == []
        rig.guard.tick()
        write = rig.guard.take_write()
        assert write is not None
        assert [entry.index for entry in write.entries] == [3, 4]
        assert len(_words(rig.guard.take_outbox())) == 3
        assert rig.guard.persisted() == []

    def test_once_for_all_appends_of_a_step(self) -> None:
        first = append(2, (2, 1), entries(2, after=2))
        second = append(2, (3, 2), entries(2, after=3))
        assert _words(_five(1).tell("b", first, second)) == [
            (peer, Matched(2, 4)) for peer in "cde"
        ]

    def test_nothing_if_nothing_has_risen(self) -> None:
        rig = _five(1)
        rig.tell("b", TWO_NEW)
        assert _words(rig.tell("b", TWO_NEW, append(2, (4, 2)), Heartbeat(2))) == []
        assert _words(rig.turn(0.05)) == []

    def test_nothing_of_what_the_leader_has_committed(self) -> None:
        """One that catches up keeps quiet: the others are told by the leader."""
        rig = _five(1)
        assert _words(rig.tell("b", append(2, (2, 1), entries(2, 2, after=2), commit=9))) == []
        rig.guard.set_connected("c", False)
        rig.guard.set_connected("c", True)
        assert _words(rig.turn()) == []

    def test_what_it_has_committed_by_itself_is_told_nevertheless(self) -> None:
        rig = _five(1)
        rig.tell("c", Matched(2, 4))
        sent = rig.tell("b", Held(2, 4), TWO_NEW)
        assert rig.guard.commit_index == 4
        assert len(_words(sent)) == 3

    def test_again_over_a_new_link(self) -> None:
        """What was on its way over the old one may be lost."""
        rig = _five(1)
        rig.tell("b", TWO_NEW)
        rig.guard.set_connected("c", False)
        assert _words(rig.turn()) == []
        rig.guard.set_connected("c", True)
        assert _words(rig.turn()) == [("c", Matched(2, 4))]
        assert _words(rig.turn()) == []

    def test_nothing_over_a_link_that_is_down_until_it_is_up(self) -> None:
        rig = _five(1)
        rig.guard.set_connected("d", False)
        assert [to for to, _ in _words(rig.tell("b", TWO_NEW))] == ["c", "e"]
        rig.guard.set_connected("d", True)
        assert _words(rig.turn()) == [("d", Matched(2, 4))]

    def test_nothing_that_was_matched_in_an_earlier_term(self) -> None:
        rig = _five(1)
        rig.guard.receive("b", TWO_NEW)
        rig.guard.receive("c", Matched(3, 9))
        assert _words(rig.turn()) == []

    def test_in_a_new_term_anew_what_is_verified_in_it(self) -> None:
        rig = _five(1)
        rig.tell("b", TWO_NEW)
        sent = rig.tell("c", append(3, (3, 2)))
        assert _words(sent) == [(peer, Matched(3, 3)) for peer in "bde"]


class TestWhileASnapshotIsInstalled:
    STATE = TableState(9, 2, 1)

    def _installing(self) -> Rig:
        rig = _five(1)
        rig.tell("b", SnapshotPart(2, 7, 0, self.STATE, b"", True))
        assert [type(job) for job in rig.guard.take_jobs()] == [StageChunk]
        rig.guard.chunk_staged("b", 7, 0)
        assert [type(job) for job in rig.guard.take_jobs()] == [InstallSnapshot]
        return rig

    def test_nothing_is_committed_or_told_and_words_are_kept(self) -> None:
        rig = self._installing()
        sent = rig.tell("b", append(2, (9, 2), entries(2, after=9)), Held(2, 10))
        sent += rig.tell("c", Matched(2, 10))
        assert _words(sent) == []
        assert rig.guard.commit_index == 1
        rig.guard.snapshot_installed()
        rig.turn()
        assert rig.guard.commit_index == 9
        sent = rig.tell("b", append(2, (9, 2), entries(2, after=9)))
        assert rig.guard.commit_index == 10
        assert _words(sent) == [(peer, Matched(2, 10)) for peer in "cde"]


class TestTheLeader:
    def test_followers_are_told_what_it_holds(self) -> None:
        rig = _five(1).elect()
        rig.guard.append(b"\x01")
        rig.turn(durable=False)
        assert rig.guard.persisted() == [(peer, Held(2, 4)) for peer in "bcde"]

    def test_what_it_commits_last_is_told_at_once(self) -> None:
        """To those whose links to the others are down."""
        rig = _five(1).elect()
        rig.tell("b", ack(2, 3))
        rig.tell("c", ack(2, 3))
        assert rig.guard.wants_tick
        told = [message for _, message in rig.turn() if isinstance(message, Append)]
        assert [(message.commit_index, message.entries) for message in told] == [(3, ())] * 4

    def test_what_it_commits_while_more_is_under_way_is_told_with_that(self) -> None:
        rig = _five(1).elect()
        rig.guard.append(b"\x01")
        rig.turn()
        rig.tell("b", ack(2, 3))
        rig.tell("c", ack(2, 3))
        assert rig.guard.commit_index == 3
        assert not rig.guard.wants_tick


class TestOnTheWire:
    def test_no_number_is_negative(self) -> None:
        for word in (Matched(-1, 1), Matched(1, -1), Held(1, -1)):
            with pytest.raises(ProtocolError, match="is negative"):
                decode_frame(encode_frame([(0, word)]))

    @pytest.mark.parametrize("fields", [[1], [1, 2, 3], [1, "2"], [1, True], [1, 2**63], [None, 1]])
    def test_of_another_shape_it_is_refused(self, fields: list[object]) -> None:
        with pytest.raises(ProtocolError, match="Matched"):
            decode_frame(pack([[0, 14, *fields]]))
        assert decode_frame(pack([[0, 14, 1, 2]])) == [(0, Matched(1, 2))]
