"""What scenarios make of what they saw."""

import math

import pytest

from globaltable.bench.findings import Findings, Trace
from globaltable.bench.injected import Injected
from globaltable.bench.round_trips import RoundTrips
from globaltable.bench.scenarios import create_latency, failover
from globaltable.bench.scenarios.contention import NotOneWinner, require_one_winner
from globaltable.bench.scenarios.scenario import CannotMeasure, Stage

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


# --- create-latency -------------------------------------------------------------------------------

UNEQUAL = Injected("abc", create_latency.round_trips_of("abc", [5.0, 25.0, 28.0]))


def test_links_are_said_in_words() -> None:
    alike = Injected("abc", RoundTrips(2.5))
    assert (create_latency.links_of(alike), create_latency.in_words(alike)) == ("alike", "2.5 ms")
    assert create_latency.links_of(UNEQUAL) == "unequal"
    assert create_latency.in_words(UNEQUAL) == "a-b 5, a-c 25, b-c 28 ms"


def test_unequal_links_need_a_round_trip_for_each_pair() -> None:
    with pytest.raises(CannotMeasure, match="3 round trips for the 10 pairs of 5 regions"):
        create_latency.round_trips_of("abcde", [5.0, 25.0, 28.0])
    with pytest.raises(CannotMeasure, match=r"--unequal-ms has a round trip of -5\.0 ms"):
        create_latency.round_trips_of("abc", [-5.0, 25.0, 28.0])


@pytest.mark.parametrize(
    ("region", "soonest"),
    [("a", {0, 1, 3}), ("b", {0, 1, 3}), ("c", {0, 2, 3})],
)
def test_the_soonest_groups_are_led_at_either_end_of_the_shortest_link(
    region: str, soonest: set[int]
) -> None:
    """From c, one led in a is as near as one led in c: both take a-c, 25 ms."""
    leaders = {0: "a", 1: "b", 2: "c", 3: "a"}
    assert create_latency.soonest_groups(region, leaders, UNEQUAL) == soonest


def test_where_one_region_leads_everything_all_groups_are_soonest() -> None:
    leaders = dict.fromkeys(range(3), "a")
    for region in "abc":
        assert create_latency.soonest_groups(region, leaders, UNEQUAL) == {0, 1, 2}


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.slow
def test_new_sessions_are_measured_from_each_region_of_real_nodes() -> None:
    """Leaders are dealt out in turn, so that minted keys and given ones differ."""
    network = Injected("abc", create_latency.round_trips_of("abc", [3.0, 15.0, 18.0]))
    stage = Stage(network, 1, lambda _: None)
    with create_latency.SYSTEMS["in turn"].start(network) as running:
        one = create_latency.measure_creates(stage, running, "in turn", 0, ops=6)
        assert set(running.leaders("a").values()) == set("abc")
    assert one.case["round_trips"] == "a-b 3, a-c 15, b-c 18 ms"
    for region, nearest_ms in (("a", 3.0), ("b", 3.0), ("c", 15.0)):
        for kind in ("minted", "given"):
            own = one.latencies[f"{kind}, {region}"]
            assert own.count == 6
            # Nothing is faster than what is injected, to the histogram's three digits.
            assert own.percentile_ms(0) >= 0.999 * nearest_ms
            assert one.figures[f"p50_ms:{kind}:{region}"] == own.percentile_ms(50)
        assert one.figures[f"floor_ms:{region}"] >= 0.999 * nearest_ms
        assert one.figures[f"failed:{region}"] == 0
        assert 0 <= one.figures[f"soonest_share:{region}"] <= 1
