"""What scenarios make of what they saw."""

import math

import pytest

from globaltable.bench.findings import Findings, Trace
from globaltable.bench.scenarios import failover
from globaltable.bench.scenarios.contention import NotOneWinner, require_one_winner

LOST_S = 100.0
TRACES = [
    Trace("1", 99.80, 99.85, True),
    Trace("1", 99.95, 100.60, True),  # begun before the loss: says nothing of after it
    Trace("1", 100.61, 100.90, True),
    Trace("1", 100.91, 101.00, True),
    Trace("2", 100.01, 105.01, False),
    Trace("2", 105.02, 105.10, True),
    Trace("3", 100.02, 100.03, True),
]


def test_writes_go_on_when_the_slowest_lane_has_one_acknowledged() -> None:
    assert failover.resumed_s(TRACES, frozenset("1"), LOST_S) == pytest.approx(0.9)
    assert failover.resumed_s(TRACES, frozenset("12"), LOST_S) == pytest.approx(5.1)
    assert failover.resumed_s(TRACES, frozenset("4"), LOST_S) == math.inf


def test_a_timeline_is_of_acknowledged_writes_around_the_loss() -> None:
    timeline = dict(failover.around(TRACES, LOST_S))
    assert timeline[-0.2] == pytest.approx(10.0)
    assert timeline[0.0] == pytest.approx(10.0)
    assert timeline[3.0] == 0.0
    assert sum(timeline.values()) * 0.1 == pytest.approx(6)


def test_failures_are_told_apart_by_when_they_ended() -> None:
    times = failover.Times(LOST_S, joined_s=103.0, returned_s=107.0)
    figures = failover.figures(Findings(traces=TRACES), times, frozenset("12"))
    assert figures["failed"] == figures["failed_while_returning"] == 1
    assert figures["returned_s"] == 4.0
    assert figures["led_groups"] == 2
    assert figures["resumed_others_s"] == pytest.approx(0.03)


def test_a_key_with_two_winners_ends_the_run() -> None:
    require_one_winner(Findings(won=["k:0", "k:1"]), 2)
    with pytest.raises(NotOneWinner, match="several winners"):
        require_one_winner(Findings(won=["k:0", "k:0", "k:1"]), 2)


def test_a_key_with_no_winner_does_too_unless_a_caller_was_not_told() -> None:
    with pytest.raises(NotOneWinner, match="nobody"):
        require_one_winner(Findings(won=["k:0"]), 2)
    unsure = Findings(won=["k:0"])
    unsure.errors["OutcomeUnknown"] += 1
    require_one_winner(unsure, 2)
