"""Raft figure 2, AppendEntries: what a follower keeps, deletes, appends and acknowledges."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from globaltable.raft.journal import InvariantViolated, Journal
from globaltable.raft.quorum import follower_commit, majority
from globaltable.raft.reconcile import Accept, Reject, reconcile
from globaltable.store.log import HardState, LogImage
from tests.raft.rig import ROOT, entries


def _journal(terms: list[int], committed: int = 1, first: int = 1) -> Journal:
    log = (ROOT, *entries(*terms))
    image = LogImage(log[first - 1 :], HardState(99, None))
    return Journal(0, image, committed, log[committed - 1].term)


CASES = {
    # own terms from index 2 | prev (index, term), new terms | keep through, appended, covered
    "heartbeat at the end": ([1, 1], (3, 1), [], (3, 0, 3)),
    "heartbeat behind the end": ([1, 1], (2, 1), [], (3, 0, 2)),
    "one more": ([1, 1], (3, 1), [1], (3, 1, 4)),
    "all held already": ([1, 1], (1, 0), [1], (3, 0, 2)),
    "held and more": ([1, 1], (1, 0), [1, 1, 1], (3, 1, 4)),
    "a conflict at once": ([1, 1], (1, 0), [2], (1, 1, 2)),
    "a conflict further on": ([1, 1, 1], (1, 0), [1, 2], (2, 1, 3)),
    "nothing held": ([], (1, 0), [1, 2], (1, 2, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_accepted(name: str) -> None:
    own, (prev_index, prev_term), new, (keep_through, appended, covered) = CASES[name]
    message = entries(*new, after=prev_index)
    plan = reconcile(_journal(own), prev_index, prev_term, message)
    assert plan == Accept(keep_through, message[len(message) - appended :], covered)


@pytest.mark.parametrize(
    ("own", "prev", "next_index"),
    [
        ([1, 1], (4, 1), 4),
        ([1, 1], (9, 1), 4),
        ([1, 2, 2], (4, 3), 3),
        ([1, 2, 2], (3, 1), 3),
        ([], (2, 1), 2),
    ],
)
def test_rejected(own: list[int], prev: tuple[int, int], next_index: int) -> None:
    assert reconcile(_journal(own), *prev, ()) == Reject(next_index)


class TestBehindTheFirstEntry:
    """What was compacted is committed, hence held by the leader: it matches."""

    def test_a_message_that_ends_there(self) -> None:
        journal = _journal([1, 1, 1], committed=4, first=4)
        assert reconcile(journal, 1, 0, entries(1)) == Accept(4, (), 2)

    def test_a_message_that_reaches_beyond(self) -> None:
        journal = _journal([1, 1, 1], committed=4, first=4)
        plan = reconcile(journal, 1, 0, entries(1, 1, 1, 1))
        assert plan == Accept(4, entries(1, after=4), 5)

    def test_a_message_that_contradicts_it(self) -> None:
        journal = _journal([1, 1, 1], committed=4, first=4)
        with pytest.raises(InvariantViolated):
            reconcile(journal, 1, 0, entries(1, 1, 2, 2))


@pytest.mark.parametrize(("prev", "new"), [((2, 9), []), ((1, 0), [9])])
def test_a_contradiction_of_what_is_committed_is_fatal(
    prev: tuple[int, int], new: list[int]
) -> None:
    journal = _journal([1, 1], committed=3)
    with pytest.raises(InvariantViolated, match="is committed there"):
        reconcile(journal, *prev, entries(*new, after=prev[0]))


_TERMS = st.lists(st.integers(1, 3), max_size=8).map(sorted)


@given(own=_TERMS, leader=_TERMS, start=st.integers(0, 8), count=st.integers(0, 8))
def test_as_a_naive_follower_does(
    own: list[int], leader: list[int], start: int, count: int
) -> None:
    """Entry by entry, as figure 2 says, on logs that match wherever Raft says they do."""
    assume(start <= len(leader))
    common = 0
    while common < min(len(own), len(leader)) and own[common] == leader[common]:
        common += 1
    # Log Matching: beyond the common prefix no place holds the same term in both.
    assume(all(own[i] != leader[i] for i in range(common, min(len(own), len(leader)))))
    message = entries(*leader, after=1)[start : start + count]
    prev_index = 1 + start
    prev_term = leader[start - 1] if start else 0
    journal = _journal(own)
    plan = reconcile(journal, prev_index, prev_term, message)

    naive = list(journal)
    held = prev_index <= len(naive) and naive[prev_index - 1].term == prev_term
    if not held:
        assert isinstance(plan, Reject)
        assert 1 < plan.next_index <= min(prev_index, journal.last_index + 1)
        return
    for entry in message:
        if entry.index <= len(naive) and naive[entry.index - 1].term != entry.term:
            del naive[entry.index - 1 :]
        if entry.index > len(naive):
            naive.append(entry)
    assert isinstance(plan, Accept)
    assert [*list(journal)[: plan.keep_through], *plan.entries] == naive
    assert plan.covered == prev_index + len(message)


@pytest.mark.parametrize(("voters", "least"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_majority(voters: int, least: int) -> None:
    assert majority(voters) == least
    assert 2 * least > voters


@pytest.mark.parametrize(
    ("voters", "matched", "held_by_others", "through"),
    [
        (3, 7, (7,), 7),
        (3, 7, (5,), 5),
        (3, 5, (7,), 5),
        (3, 7, (0,), 0),
        (3, 7, (), 0),
        (3, 0, (7,), 0),
        (5, 7, (7,), 0),
        (5, 7, (7, 7), 7),
        (5, 7, (5, 7), 5),
        (5, 7, (3, 9, 5, 1), 5),
        (5, 4, (9, 9, 9, 9), 4),
        (5, 0, (9, 9, 9, 9), 0),
        (7, 7, (7, 7), 0),
        (7, 7, (7, 6, 5), 5),
    ],
)
def test_follower_commit(
    voters: int, matched: int, held_by_others: tuple[int, ...], through: int
) -> None:
    assert follower_commit(voters, matched, held_by_others) == through


@given(
    st.sampled_from((3, 5, 7)),
    st.integers(0, 9),
    st.lists(st.integers(0, 9), max_size=6),
)
def test_follower_commit_is_the_most_that_a_majority_holds(
    voters: int, matched: int, held_by_others: list[int]
) -> None:
    """Counted out: itself, and of the others at most as many as there are."""
    others = held_by_others[: voters - 1]
    through = follower_commit(voters, matched, others)
    by_counting = [
        index
        for index in range(1, matched + 1)
        if 1 + sum(held >= index for held in others) >= majority(voters)
    ]
    assert through == max(by_counting, default=0)
