"""Many deadlines behind one timer: never early, at most a bucket late, nothing left behind."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.client._deadlines import BUCKET_S, Deadlines

_ULP_S = 1e-9


class _Entry:
    bucket = 0


class TestOne:
    def test_it_is_due_at_its_time_and_once(self) -> None:
        deadlines: Deadlines[_Entry] = Deadlines()
        entry = _Entry()
        deadlines.add(entry, 5.0)
        assert len(deadlines) == 1
        assert deadlines.next_due() == pytest.approx(5.0)
        assert deadlines.take_due(4.99) == []
        assert deadlines.take_due(5.0 + BUCKET_S) == [entry]
        assert len(deadlines) == 0 and deadlines.next_due() is None
        assert deadlines.take_due(math.inf) == []

    def test_one_that_ended_is_never_due_and_asks_for_no_look(self) -> None:
        deadlines: Deadlines[_Entry] = Deadlines()
        entry = _Entry()
        deadlines.add(entry, 5.0)
        deadlines.remove(entry)
        assert len(deadlines) == 0 and deadlines.next_due() is None
        assert deadlines.take_due(100.0) == []

    def test_one_without_a_deadline_is_live_and_never_due(self) -> None:
        deadlines: Deadlines[_Entry] = Deadlines()
        entry = _Entry()
        deadlines.add(entry, math.inf)
        assert len(deadlines) == 1 and deadlines.next_due() is None
        assert deadlines.take_due(1e9) == []
        assert deadlines.take_all() == [entry]
        deadlines.add(entry, math.inf)
        deadlines.remove(entry)
        assert len(deadlines) == 0

    def test_it_may_be_added_again_when_it_was_due(self) -> None:
        """As an op under way is, for the grace."""
        deadlines: Deadlines[_Entry] = Deadlines()
        entry = _Entry()
        deadlines.add(entry, 1.0)
        deadlines.take_due(1.1)
        deadlines.add(entry, 1.2)
        assert deadlines.take_due(1.1) == []
        assert deadlines.take_due(1.3) == [entry]

    def test_one_whose_time_has_passed_already_is_due_at_once(self) -> None:
        deadlines: Deadlines[_Entry] = Deadlines()
        deadlines.take_due(50.0)
        entry = _Entry()
        deadlines.add(entry, 10.0)
        assert deadlines.take_due(50.0) == [entry]


def test_all_that_are_live_can_be_taken() -> None:
    deadlines: Deadlines[_Entry] = Deadlines()
    entries = [_Entry() for _ in range(4)]
    for entry, when in zip(entries, (1.0, 1.0, 2.0, math.inf), strict=True):
        deadlines.add(entry, when)
    deadlines.remove(entries[0])
    assert set(deadlines.take_all()) == set(entries[1:])
    assert len(deadlines) == 0 and deadlines.take_all() == [] and deadlines.next_due() is None


_TIMES = st.floats(0, 1e5, allow_nan=False) | st.just(math.inf)


@given(st.lists(st.tuples(_TIMES, st.booleans()), max_size=30), st.lists(_TIMES, max_size=10))
def test_never_early_and_at_most_a_bucket_late(
    added: list[tuple[float, bool]], looks: list[float]
) -> None:
    deadlines: Deadlines[_Entry] = Deadlines()
    due_at: dict[_Entry, float] = {}
    for when, ends in added:
        entry = _Entry()
        deadlines.add(entry, when)
        if ends:
            deadlines.remove(entry)
        else:
            due_at[entry] = when
    for now in sorted(look for look in looks if look != math.inf):
        due = set(deadlines.take_due(now))
        for entry in due:
            assert due_at.pop(entry) <= now + _ULP_S
        assert all(when > now - BUCKET_S - _ULP_S for when in due_at.values())
        assert len(deadlines) == len(due_at)
        soonest = min(due_at.values(), default=math.inf)
        looks_at = deadlines.next_due()
        if soonest == math.inf:
            assert looks_at is None
        else:
            assert looks_at is not None
            assert soonest - _ULP_S <= looks_at <= soonest + BUCKET_S + _ULP_S
    assert set(deadlines.take_all()) == set(due_at)
