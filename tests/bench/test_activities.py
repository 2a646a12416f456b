"""What load processes count: from when, how many, and who won."""

import asyncio
import time

import pytest

from globaltable.bench.activities import open_loop, registry
from globaltable.bench.activities.closed_loop import ClosedLoop
from globaltable.bench.activities.mints import MINTED, Mints
from globaltable.bench.activities.open_loop import OpenLoop
from globaltable.bench.activities.rounds import Rounds
from globaltable.bench.activities.traced import Traced
from globaltable.bench.findings import FAILED, LOST, WON, Findings, Trace
from tests.bench.clients import MintingTable, TableInMemory, minting, started


def counted_above(findings: Findings, what: str, latency_ms: float) -> int:
    """How many ops took longer, to the histogram's three digits."""
    histogram = findings.latencies[what]
    below = max((step.share for step in histogram.steps() if step.value_ms < latency_ms), default=0)
    return round(histogram.count * (1 - below))


async def test_an_open_loop_counts_from_when_an_op_was_due_though_the_client_has_stalled() -> None:
    """The process itself stands still for 0.3 s: what was due meanwhile has waited that long."""
    client = TableInMemory()
    stalled = False

    async def stall_once() -> None:
        nonlocal stalled
        if not stalled:
            stalled = True
            time.sleep(0.3)  # noqa: ASYNC251 - it is the loop that stands still

    client.delay = stall_once
    clock, findings = started()
    load = OpenLoop(rate_per_s=1_000, seconds=0.4, settle_s=0.0)
    await load.run(client, "k", clock, findings)
    assert findings.answers == findings.latencies[WON].count == 400
    # Those due in the first 0.2 s of the stall waited at least 0.1 s of it.
    assert counted_above(findings, WON, 99.0) >= 199


async def test_an_open_loop_begins_ops_though_none_is_answered() -> None:
    client = TableInMemory()
    clock, findings = started()

    async def until_half_a_second() -> None:
        await clock.sleep_until(0.5)

    client.delay = until_half_a_second
    await OpenLoop(rate_per_s=500, seconds=0.2, settle_s=0.0).run(client, "k", clock, findings)
    assert client.under_way_max == findings.latencies[WON].count == 100
    assert counted_above(findings, WON, 299.0) == 100


async def test_an_open_loop_counts_what_it_never_came_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "OUTSTANDING_MAX", 1)
    client = TableInMemory()
    clock, findings = started()

    async def late() -> None:
        await clock.sleep_until(0.3)

    client.delay = late
    load = OpenLoop(rate_per_s=100, seconds=0.1, settle_s=0.0, drain_s=0.0)
    await load.run(client, "k", clock, findings)
    assert findings.missed >= 9
    assert findings.missed + findings.answers == 10
    assert findings.latencies[FAILED].count == findings.missed


async def test_an_open_loop_tells_of_ops_that_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "PATIENCE_S", 0.05)
    never = asyncio.Event()

    async def for_ever() -> None:
        await never.wait()

    clock, findings = started()
    load = OpenLoop(rate_per_s=100, seconds=0.1, settle_s=0.0)
    await load.run(TableInMemory(for_ever), "k", clock, findings)
    assert findings.errors == {"NeverEnded": 10}
    assert findings.answers == 0


async def test_an_open_loop_does_not_count_while_it_settles() -> None:
    clock, findings = started()
    client = TableInMemory()
    load = OpenLoop(rate_per_s=1_000, seconds=0.05, settle_s=0.1)
    await load.run(client, "k", clock, findings)
    assert len(client.keys) == 150
    assert findings.answers == 50


async def test_a_closed_loop_has_as_many_under_way_as_callers() -> None:
    client = TableInMemory()
    clock, findings = started()
    load = ClosedLoop(callers=7, seconds=60.0, ops_max=5)
    await load.run(client, "k", clock, findings)
    assert client.under_way_max == 7
    assert findings.answers == len(client.keys) == 35


async def test_a_closed_loop_ends_when_it_is_stopped() -> None:
    client = TableInMemory()
    clock, findings = started()
    asyncio.get_running_loop().call_later(0.05, clock.stop.set)
    await ClosedLoop(callers=2, seconds=600.0).run(client, "k", clock, findings)
    assert findings.answers > 0


async def test_an_op_that_fails_is_counted_by_its_error_and_not_as_an_answer() -> None:
    async def refuse() -> None:
        raise ConnectionResetError

    clock, findings = started()
    load = ClosedLoop(callers=1, seconds=60.0, ops_max=3)
    await load.run(TableInMemory(refuse), "k", clock, findings)
    assert findings.errors == {"ConnectionResetError": 3}
    assert findings.failed == findings.latencies[FAILED].count == 3
    assert findings.answers == findings.answered.count == 0


async def test_in_a_round_all_processes_race_for_one_key() -> None:
    client = TableInMemory()
    clock, one = started()
    other = Findings()
    load = Rounds("race", callers=4, rounds=6, interval_s=0.01, contended=True)
    await asyncio.gather(load.run(client, "a", clock, one), load.run(client, "b", clock, other))
    total = Findings.total([one, other])
    assert sorted(total.won) == [f"race:{round_}" for round_ in range(6)]
    assert total.latencies[WON].count == 6
    assert total.latencies[LOST].count == 2 * 4 * 6 - 6


async def test_in_a_free_round_everybody_wins() -> None:
    clock, findings = started()
    load = Rounds("race", callers=4, rounds=3, interval_s=0.01, contended=False)
    await load.run(TableInMemory(), "a", clock, findings)
    assert len(set(findings.won)) == findings.latencies[WON].count == 12


async def test_a_trace_holds_every_op_of_every_lane() -> None:
    clock, findings = started()
    load = Traced({"1": ["a", "b"], "2": ["c"]})
    await load.run(TableInMemory(), "k", clock, findings)
    assert sorted(trace.lane for trace in findings.traces) == ["1", "1", "2"]
    assert all(clock.start_s <= t.began_s <= t.ended_s and t.done for t in findings.traces)


async def test_keys_are_minted_and_given_in_turn_and_the_minted_ones_told() -> None:
    table = MintingTable()
    clock, findings = started()
    await Mints(ops=4).run(minting(table), "k", clock, findings)
    assert table.asked == ["create", "bind"] * 4
    assert findings.won == table.minted and len(set(table.minted)) == 4
    assert all(key.startswith("k:") for key in table.minted)
    assert findings.latencies[MINTED].count == findings.latencies[WON].count == 4
    assert findings.answers == 8 and not findings.failed


async def test_a_create_that_fails_is_counted_and_the_next_begun() -> None:
    table = MintingTable(fails=ConnectionResetError())
    clock, findings = started()
    await Mints(ops=3).run(minting(table), "k", clock, findings)
    assert findings.errors == {"ConnectionResetError": 3}
    assert findings.latencies[FAILED].count == findings.latencies[WON].count == 3
    assert MINTED not in findings.latencies and not findings.won


async def test_a_minted_key_that_is_bound_already_is_a_failure() -> None:
    clock, findings = started()
    await Mints(ops=1).run(minting(MintingTable(created=False)), "k", clock, findings)
    assert findings.errors == {"AssertionError": 1}


async def test_what_warms_up_is_not_counted() -> None:
    table = MintingTable()
    await Mints(ops=1, warm_up_ops=2).prepare(minting(table), "k")
    assert sorted(table.asked) == ["bind", "bind", "create", "create"]
    assert all(":warm:" in key for key in table.minted)


def test_activities_cross_as_json() -> None:
    for activity in (
        ClosedLoop(3, 1.0),
        OpenLoop(5.0, 1.0),
        Rounds("r", 2, 3, 0.1, True),
        Traced({"1": ["a"]}),
        Mints(7),
    ):
        assert registry.from_json(registry.to_json(activity)) == activity


def test_findings_cross_as_json_and_add_up() -> None:
    found = Findings(took_s=1.0, cpu_s=0.5, missed=2, won=["k"])
    found.record(WON, 0.010, 0.20)
    found.record(WON, 0.011, 0.21, count=3)
    found.record(FAILED, 5.0, 0.9)
    found.errors["OutcomeUnknown"] += 1
    found.traces.append(Trace("1", 0.1, 0.2, True))
    again = Findings.from_json(found.to_json())
    assert again == found
    both = Findings.total([found, again])
    assert (both.answers, both.missed, both.failed, both.processes) == (8, 4, 2, 2)
    assert both.rate_per_s((0.2, 0.3)) == pytest.approx(80.0)
    assert both.cpu_share == pytest.approx(0.5)
    assert both.timeline(0.1) == [(0.0, 0.0), (0.1, 0.0), (0.2, 80.0)]
