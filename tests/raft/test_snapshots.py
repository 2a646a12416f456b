"""Snapshots in place of a log: when one is installed, and above all when not."""

from globaltable.raft.adaptor import Role
from globaltable.raft.messages import Ack, Append, Heartbeat, PreVote, SnapshotAck, SnapshotPart
from globaltable.raft.transfer import (
    GIVE_UP,
    EndRead,
    InstallSnapshot,
    ReadChunk,
    StageChunk,
)
from globaltable.store.table import SnapshotChunk
from globaltable.table_state import TableState
from tests.raft.rig import Rig, append, entries


class TestReceiving:
    def test_one_that_ends_where_all_is_committed_is_acknowledged_not_installed(self) -> None:
        rig = Rig(1, 1, 1, committed=3)
        answer = rig.answer("b", SnapshotPart(1, 7, 0, TableState(3, 1, 1), b"", True))
        assert answer == SnapshotAck(1, 7, GIVE_UP)
        assert rig.guard.take_jobs() == []

    def test_one_that_is_overtaken_while_it_is_staged_is_not_installed(self) -> None:
        rig = Rig(1, 1, 1)
        rig.tell("b", SnapshotPart(2, 7, 0, TableState(5, 2, 1), b"", True))
        rig.tell("b", append(2, (4, 1), entries(2, after=4)))
        rig.guard.take_jobs()
        rig.guard.chunk_staged("b", 7, 0)
        assert ("b", SnapshotAck(2, 7, GIVE_UP)) in rig.turn()
        assert rig.guard.take_jobs() == []

    def test_an_installed_one_replaces_state_and_log_in_one_step(self) -> None:
        rig = Rig(1, 1, 1)
        rig.tell("b", SnapshotPart(2, 7, 0, TableState(9, 2, 1), b"", True))
        assert rig.guard.take_jobs() == [StageChunk("b", 7, 0, b"")]
        rig.guard.chunk_staged("b", 7, 0)
        assert rig.guard.take_jobs() == [InstallSnapshot("b", 7, TableState(9, 2, 1))]
        rig.guard.snapshot_installed()
        assert (rig.journal.first_index, rig.journal.last_index) == (9, 9)
        assert rig.guard.commit_index == 9
        assert ("b", SnapshotAck(2, 7, 1)) in rig.guard.take_outbox()

    def test_nothing_is_appended_while_one_is_installed(self) -> None:
        rig = Rig(1)
        rig.tell("b", SnapshotPart(2, 7, 0, TableState(9, 2, 1), b"", True))
        rig.guard.chunk_staged("b", 7, 0)
        answer = rig.answer("b", append(2, (2, 1), entries(2, after=2)))
        assert answer == Ack(2, 0, 0, False, False)
        assert rig.journal.last_index == 2

    def test_a_first_chunk_that_comes_twice_does_not_begin_anew(self) -> None:
        rig = Rig(1)
        first = SnapshotPart(2, 7, 0, TableState(9, 2, 1), b"0", False)
        rig.tell("b", first, first._replace(number=1, payload=b"1", last=True), first)
        assert len(rig.guard.take_jobs()) == 2
        rig.guard.chunk_staged("b", 7, 0)
        rig.guard.chunk_staged("b", 7, 1)
        rig.guard.chunk_staged("b", 7, 1)
        assert rig.guard.take_jobs() == [InstallSnapshot("b", 7, TableState(9, 2, 1))]

    def test_a_missing_chunk_ends_the_transfer(self) -> None:
        rig = Rig(1)
        first = SnapshotPart(2, 7, 0, TableState(9, 2, 1), b"0", False)
        answer = rig.answer("b", first, first._replace(number=2))
        assert answer == SnapshotAck(2, 7, GIVE_UP)

    def test_a_chunk_of_a_deposed_leader_is_answered_with_the_present_term(self) -> None:
        rig = Rig(1, term=5)
        answer = rig.answer("b", SnapshotPart(4, 7, 0, TableState(9, 2, 1), b"", True))
        assert answer == Ack(5, 0, 0, False, False)

    def test_one_whose_end_the_log_holds_is_not_installed(self) -> None:
        """What the log holds behind it may have been acknowledged (Raft figure 13, rule 6)."""
        rig = Rig(1, 1, 1, voters="abcde")
        assert rig.answer("b", SnapshotPart(2, 7, 0, TableState(3, 1, 1), b"", True)) == (
            SnapshotAck(2, 7, GIVE_UP)
        )
        assert rig.guard.take_jobs() == []

    def test_nor_one_whose_end_the_log_holds_by_the_time_it_is_staged(self) -> None:
        rig = Rig(1, 1, 1, voters="abcde")
        rig.tell("b", SnapshotPart(2, 7, 0, TableState(5, 2, 1), b"", True))
        rig.tell("b", append(2, (4, 1), entries(2, 2, after=4)))
        rig.guard.take_jobs()
        rig.guard.chunk_staged("b", 7, 0)
        assert rig.guard.take_jobs() == []
        assert rig.log == [0, 1, 1, 1, 2, 2]

    def test_a_log_that_conflicts_with_its_end_goes(self) -> None:
        rig = Rig(1, 1, 1, voters="abcde")
        rig.tell("b", SnapshotPart(2, 7, 0, TableState(3, 2, 1), b"", True))
        rig.guard.take_jobs()
        rig.guard.chunk_staged("b", 7, 0)
        rig.guard.snapshot_installed()
        assert (rig.journal.first_index, rig.log) == (3, [2])

    def test_a_replica_that_has_come_to_lead_installs_none(self) -> None:
        """It would take the place of what the leader has given out since."""
        rig = Rig(1)
        rig.tell("b", SnapshotPart(1, 7, 0, TableState(9, 1, 1), b"", True))
        rig.guard.take_jobs()
        rig.elect()
        rig.guard.chunk_staged("b", 7, 0)
        assert rig.guard.take_jobs() == []

    def test_nor_one_that_follows_another_leader(self) -> None:
        rig = Rig(1)
        rig.tell("b", SnapshotPart(2, 7, 0, TableState(9, 2, 1), b"", True))
        rig.guard.take_jobs()
        rig.tell("c", append(3, (2, 1)))
        rig.guard.chunk_staged("b", 7, 0)
        assert rig.guard.take_jobs() == []

    def test_nobody_campaigns_while_one_is_installed(self) -> None:
        rig = Rig(1)
        rig.tell("b", SnapshotPart(2, 7, 0, TableState(9, 2, 1), b"", True))
        rig.guard.chunk_staged("b", 7, 0)
        for _ in range(20):
            assert not any(isinstance(message, PreVote) for _, message in rig.turn(0.6))
        assert rig.role() is Role.FOLLOWER
        rig.guard.snapshot_installed()
        assert any(isinstance(m, PreVote) for _ in range(3) for _, m in rig.turn(1.1))


class TestSending:
    def test_a_leader_keeps_a_window_of_chunks_and_no_more(self) -> None:
        rig = Rig(1, 1, 1, 1, committed=5, first=4).elect()
        rig.tell("b", Ack(2, 1, 2, False, True))
        rig.turn(0.06)
        state = TableState(5, 1, 1)
        reads = 0
        while jobs := rig.guard.take_jobs():
            (job,) = jobs
            assert isinstance(job, ReadChunk)
            reads += 1
            rig.guard.chunk_read("b", job.transfer, state, SnapshotChunk(b"x", False))
            rig.turn()
        assert reads == 4
        assert isinstance(job, ReadChunk)
        rig.tell("b", SnapshotAck(2, job.transfer, 2))
        assert rig.guard.take_jobs() == [ReadChunk("b", job.transfer)]
        rig.guard.set_connected("b", False)
        assert rig.guard.take_jobs() == [EndRead("b", job.transfer)]

    def test_a_link_that_comes_up_before_the_first_answer_begins_none(self) -> None:
        """Of a peer that has not answered yet nothing is known: most hold nearly all of the log."""
        rig = Rig(1, 1, 1, 1, committed=5, first=3).elect()
        rig.guard.set_connected("b", False)
        rig.guard.set_connected("b", True)
        sent = [message for to, message in rig.turn() if to == "b"]
        assert [type(message) for message in sent] == [Append]
        assert isinstance(sent[0], Append) and sent[0].prev_index == 6
        rig.tell("b", Ack(2, sent[0].round, 5, False, True))
        assert not any(isinstance(message, Heartbeat) for _, message in rig.turn(0.06))
