"""The log in memory, and that replaying what it hands out gives the same log on a disk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.errors import Corrupt
from globaltable.raft.journal import NO_OP, InvariantViolated, Journal
from globaltable.store.log import Entry, HardState, LogImage, LogWrite
from globaltable.store.table import ROOT_STATE
from tests.raft.rig import ROOT, entries
from tests.simulation.disk import Platter, SimLog


def _journal(*terms: int, committed: int = 1) -> Journal:
    log = (ROOT, *entries(*terms))
    return Journal(0, LogImage(log, HardState(5, None)), committed, log[committed - 1].term)


def test_nothing_changed_is_nothing_to_write() -> None:
    assert _journal(1, 1).take_write() is None


def test_entries_are_written_once() -> None:
    journal = _journal(1)
    (entry,) = entries(1, after=2)
    journal.add(*entry)
    assert journal.take_write() == LogWrite(0, None, None, (entry,), None)
    assert journal.take_write() is None


def test_what_is_deleted_and_appended_again_is_one_write() -> None:
    journal = _journal(1, 1, 1)
    journal.deleteEntriesFrom(2)
    (entry,) = entries(2, after=2)
    journal.add(*entry)
    assert journal.take_write() == LogWrite(0, None, 3, (entry,), None)


def test_an_entry_that_never_reached_the_disk_is_not_deleted_there() -> None:
    journal = _journal(1)
    journal.add(*entries(1, after=2)[0])
    journal.deleteEntriesFrom(2)
    journal.add(*entries(2, after=2)[0])
    assert journal.take_write() == LogWrite(0, None, None, entries(2, after=2), None)


def test_term_and_vote_are_written_if_they_change() -> None:
    journal = _journal(1)
    journal.setCurrentTerm(5, None)
    assert journal.take_write() is None
    journal.setCurrentTerm(6, "b")
    assert journal.take_write() == LogWrite(0, None, None, (), HardState(6, "b"))


def test_compaction_drops_from_the_front() -> None:
    journal = _journal(1, 1, 1, committed=4)
    journal.compact_to(3)
    assert journal.take_write() == LogWrite(0, 3, None, (), None)
    assert (journal.first_index, journal.last_index) == (3, 4)


def test_a_reset_voids_what_is_on_disk() -> None:
    journal = _journal(1, 1)
    journal.reset(9, 4)
    assert journal.take_write() == LogWrite(0, 9, 0, (Entry(NO_OP, 9, 4),), None)
    assert journal.commit_index == 9


@pytest.mark.parametrize(
    ("breach", "match"),
    [
        (lambda journal: journal.deleteEntriesFrom(1), "committed"),
        (lambda journal: journal.setRaftCommitIndex(2), "fall"),
        (lambda journal: journal.setCurrentTerm(4, None), "term fell"),
        (lambda journal: journal.add(NO_OP, 9, 5), "appended after"),
    ],
)
def test_what_raft_rules_out_is_fatal(breach: object, match: str) -> None:
    journal = _journal(1, 1, committed=3)
    with pytest.raises(InvariantViolated, match=match):
        breach(journal)  # type: ignore[operator]


class TestTheBase:
    """The log as found at start, against the table as found at start."""

    def test_a_new_group_begins_at_the_root(self) -> None:
        journal = Journal(0, LogImage(), 1, 0)
        assert (journal.first_index, journal.last_index, journal.commit_index) == (1, 1, 1)

    def test_a_log_that_holds_the_tables_end_stays(self) -> None:
        assert _journal(1, 1, 1, committed=3).last_index == 4

    def test_a_table_ahead_of_the_log_voids_it(self) -> None:
        """A crash between the install of a snapshot and the log's write."""
        journal = Journal(0, LogImage((ROOT, *entries(1, 1))), 9, 4)
        assert (journal.first_index, journal.last_index, journal.last_term) == (9, 9, 4)
        write = journal.take_write()
        assert write is not None and (write.first, write.truncate_from) == (9, 0)

    def test_a_tail_that_conflicts_with_the_table_is_void(self) -> None:
        journal = Journal(0, LogImage((ROOT, *entries(1, 1, 1))), 3, 2)
        assert (journal.first_index, journal.last_index, journal.last_term) == (3, 3, 2)

    def test_a_gap_between_table_and_log_is_fatal(self) -> None:
        with pytest.raises(Corrupt, match="entries between are missing"):
            Journal(0, LogImage(entries(1, 1, after=5)), 3, 1)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 1)),
        st.tuples(st.just("delete"), st.integers(0, 6)),
        st.tuples(st.just("commit"), st.integers(0, 6)),
        st.tuples(st.just("compact"), st.integers(0, 6)),
        st.tuples(st.just("reset"), st.integers(1, 5)),
        st.tuples(st.just("vote"), st.integers(0, 2)),
        st.tuples(st.just("write"), st.just(0)),
    ),
    max_size=40,
)


@given(_STEPS)
def test_replayed_writes_give_the_log_in_memory(steps: list[tuple[str, int]]) -> None:
    journal = Journal(0, LogImage(), 1, 0)
    disk = SimLog(Platter())
    term = 1
    for step, amount in [*steps, ("write", 0)]:
        uncommitted = journal.last_index - journal.commit_index
        match step:
            case "add":
                term += amount
                journal.add(*entries(term, after=journal.last_index)[0])
            case "delete" if uncommitted:
                keep = journal.commit_index + amount % uncommitted
                journal.deleteEntriesFrom(keep + 1 - journal.first_index)
            case "commit":
                index = journal.commit_index + amount % (uncommitted + 1)
                journal.setRaftCommitIndex(index)
            case "compact":
                room = journal.commit_index - journal.first_index + 1
                journal.compact_to(journal.first_index + amount % room)
            case "reset":
                journal.reset(journal.last_index + amount, term)
            case "vote":
                journal.setCurrentTerm(journal.getCurrentTerm() + amount, "abc"[amount])
            case "write":
                write = journal.take_write()
                if write is not None:
                    disk.commit([write])
                image = disk.load(0)
                assert image.entries == tuple(journal)
                assert image.hard_state.term == journal.getCurrentTerm()
                assert image.hard_state.voted_for == journal.getVotedForNodeId()
    assert journal.size_bytes == sum(len(entry.command) for entry in journal)


def test_a_table_without_a_log_has_lost_it() -> None:
    """And with it its vote: to begin anew with an empty log would be to vote a second time."""
    with pytest.raises(Corrupt, match="the table is at 7 but there is no log"):
        Journal(0, LogImage(), 7, 2)
    Journal(0, LogImage(), ROOT_STATE.applied, ROOT_STATE.applied_term)
