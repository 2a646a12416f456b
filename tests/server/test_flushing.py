"""A few groups at a time, the fullest first; and none is left out for good."""

import random
from typing import cast

from globaltable.group import Replica
from globaltable.server.flushing import FlushSchedule

ROWS = 100
INTERVAL_S = 10.0


class _Table:
    def __init__(self, dirty_rows: int) -> None:
        self.dirty_rows = dirty_rows


class _Held:
    """As much of a replica as the schedule asks for."""

    def __init__(self, dirty_rows: int, wants_flush: bool = False) -> None:
        self.table = _Table(dirty_rows)
        self.wants_flush = wants_flush


def _due(schedule: FlushSchedule, now: float, *held: _Held) -> list[int]:
    return schedule.due(now, {n: cast(Replica, one) for n, one in enumerate(held)})


def _schedule() -> FlushSchedule:
    return FlushSchedule(ROWS, INTERVAL_S, random.Random(1))


def test_a_group_that_has_enough_is_flushed_and_no_other() -> None:
    assert _due(_schedule(), 0.0, _Held(ROWS // 2 - 1), _Held(ROWS), _Held(0)) == [1]


def test_the_fullest_goes_first_and_the_next_only_if_there_is_room() -> None:
    schedule = _schedule()
    assert _due(schedule, 0.0, _Held(ROWS), _Held(3 * ROWS), _Held(ROWS)) == [1]
    small = [_Held(ROWS // 4) for _ in range(6)]
    assert _due(schedule, 0.0, *small) == []
    assert len(_due(schedule, 2 * INTERVAL_S, *small)) == 4


def test_what_is_little_is_due_once_the_interval_has_passed() -> None:
    schedule = _schedule()
    few = (_Held(1), _Held(2))
    assert _due(schedule, 0.0, *few) == []
    assert _due(schedule, INTERVAL_S, *few) == [1, 0]
    schedule.begun(INTERVAL_S, [1, 0])
    assert _due(schedule, INTERVAL_S + INTERVAL_S / 2 - 0.1, *few) == []
    assert _due(schedule, 2 * INTERVAL_S, *few) == [1, 0]


def test_a_log_that_waits_to_be_cut_is_not_made_to_wait_longer() -> None:
    assert _due(_schedule(), 0.0, _Held(0, wants_flush=True), _Held(1)) == [0]


def test_every_group_gets_its_turn_under_a_load_that_fills_them_all() -> None:
    schedule = _schedule()
    held = [_Held(0) for _ in range(8)]
    flushed = set()
    for tick in range(200):
        for one in held:
            one.table.dirty_rows += 7
        due = _due(schedule, tick * 0.01, *held)
        schedule.begun(tick * 0.01, due)
        flushed |= set(due)
        for number in due:
            held[number].table.dirty_rows = 0
    assert flushed == set(range(8))
    assert max(one.table.dirty_rows for one in held) < 2 * ROWS
