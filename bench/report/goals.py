"""What the product promises itself, each held against what a run measured.

A goal appears only if the run measured what it is about; it is judged by the median over repeats,
and a ratio is taken within a repeat, where both sides saw the same minutes.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from globaltable.bench.report import create_latency
from globaltable.bench.report.medians import Repeats, grouped, paired_ratios
from globaltable.bench.results import Report
from globaltable.bench.scenarios import (
    backup,
    commit_latency,
    compare,
    contention,
    failover,
    growth,
    overload,
    reads,
    throughput,
    watchers,
)
from globaltable.bench.systems.globaltable import NAME as GLOBALTABLE


@dataclass(frozen=True, slots=True)
class Goal:
    what: str
    wanted: str
    measured: str
    met: bool


def goals(report: Report) -> list[Goal]:
    return [
        *_commit_latency(report),
        *_create_latency(report),
        *_throughput(report),
        *_compare(report),
        *_contention(report),
        *_failover(report),
        *_reads(report),
        *_watchers(report),
        *_overload(report),
        *_growth(report),
        *_backup(report),
    ]


def _at_most(what: str, limit: float, value: float, unit: str, digits: int = 2) -> Goal:
    shown = f"{value:,.{digits}f}{unit}"
    return Goal(what, f"at most {limit:g}{unit}", shown, value <= limit)


def _at_least(what: str, limit: float, value: float, unit: str, digits: int = 2) -> Goal:
    return Goal(what, f"at least {limit:,g}{unit}", f"{value:,.{digits}f}{unit}", value >= limit)


def _commit_latency(report: Report) -> Iterator[Goal]:
    equal = len(set(report.round_trips_ms.values())) == 1
    for several in grouped(report.of(commit_latency.NAME)):
        for percentile, limit in (("p50", 1.15 if equal else 1.2), ("p99", 1.4)):
            if percentile == "p99" and not equal:
                continue
            worst = max(
                (statistics.median(ratios), region)
                for region in several.what
                if (ratios := _over_limit(several, region, percentile))
            )
            what = f"commit {percentile}, one op outstanding, over the limit; worst is region"
            yield _at_most(f"{what} {worst[1]}", limit, worst[0], " ×")


def _over_limit(several: Repeats, region: str, percentile: str) -> list[float]:
    return paired_ratios(
        several, several, f"{percentile}_ms:{region}", f"limit_{percentile}_ms:{region}"
    )


def _create_latency(report: Report) -> Iterator[Goal]:
    for several in create_latency.repeats_of(report):
        ratios = create_latency.over_floor(several, report.regions)
        if ratios:
            worst, region = max((ratio, region) for region, ratio in ratios.items())
            what = f"create p50, one outstanding, over the floor, {create_latency.of(several)}"
            limit = create_latency.ratio_max(several)
            yield _at_most(f"{what}; worst is region {region}", limit, worst, " ×")


def _throughput(report: Report) -> Iterator[Goal]:
    for several in grouped(report.of(throughput.NAME), load=throughput.OPEN, rate_per_s=20_000.0):
        what = "p99 at 20,000 binds/s begun (open loop)"
        p99_ms = several.median("p99_ms")
        unanswered = int(several.total("failed") + several.total("missed"))
        if p99_ms is None or unanswered:
            yield Goal(what, "at most 20 ms", f"{unanswered:,} failed", False)
        else:
            yield _at_most(what, 20.0, p99_ms, " ms", 1)


def _compare(report: Report) -> Iterator[Goal]:
    measurements = report.of(compare.NAME)
    by_load: dict[tuple[str, object], Repeats] = {
        (several.system, several.case["callers"]): several for several in grouped(measurements)
    }
    own, etcd = by_load.get((GLOBALTABLE, 1)), by_load.get(("etcd", 1))
    if own is not None and etcd is not None:
        yield from _beside_etcd(own, etcd)
    for callers, wanted in ((256, 4.0), (1_024, 12.0)):
        ratios = paired_ratios(
            by_load.get((GLOBALTABLE, callers)), by_load.get(("etcd", callers)), "binds_per_s"
        )
        if ratios:
            what = f"binds/s at {callers:,} callers / etcd's"
            yield _at_least(what, wanted, statistics.median(ratios), " ×")


def _beside_etcd(own: Repeats, etcd: Repeats) -> Iterator[Goal]:
    """Which region leads may change from repeat to repeat, so each is asked."""
    leading: list[float] = []
    elsewhere: dict[str, list[float]] = {}
    at = {one.repeat: one for one in etcd.measurements}
    for one in own.measurements:
        other = at.get(one.repeat)
        if other is None:
            continue
        for region in one.latencies:
            ratio = one.figures[f"p50_ms:{region}"] / other.figures[f"p50_ms:{region}"]
            if other.figures.get(f"leads:{region}"):
                leading.append(ratio)
            else:
                elsewhere.setdefault(region, []).append(ratio)
    if elsewhere:
        worst, region = max((statistics.median(r), region) for region, r in elsewhere.items())
        what = f"p50 / etcd's, regions that do not lead etcd; worst is {region}"
        yield _at_most(what, 0.6, worst, " ×")
    if leading:
        yield _at_most("p50 / etcd's, its leader's region", 1.0, statistics.median(leading), " ×")


def _contention(report: Report) -> Iterator[Goal]:
    for several in grouped(report.of(contention.NAME)):
        ratios = paired_ratios(several, several, f"p99_ms:{'lost'}", f"p99_ms:{contention.FREE}")
        if ratios:
            what = f"{several.case['callers']} callers, one key: p99 of losers / free keys"
            yield _at_most(what, 1.1, statistics.median(ratios), " ×")


def _failover(report: Report) -> Iterator[Goal]:
    measurements = report.of(failover.NAME)
    for kind in dict.fromkeys(str(one.case["loss"]) for one in measurements):
        trials = [one for one in measurements if one.case["loss"] == kind]
        resumed = statistics.median(one.figures["resumed_s"] for one in trials)
        what = f"writes go on after a {kind}, p50 of {len(trials)} trials"
        yield _at_most(what, 1.2, resumed, " s")
        failed = sum(one.figures["failed_while_returning"] for one in trials)
        yield _at_most(f"writes failed while leadership returns, {kind}", 0, failed, "", 0)


def _reads(report: Report) -> Iterator[Goal]:
    for several in grouped(report.of(reads.NAME)):
        if several.case["load"] == reads.BATCHED:
            rate = several.median("keys_per_s")
            if rate is not None:
                yield _at_least("local get, batched", 40_000, rate, " keys/s", 0)
        else:
            p99_ms = several.median("p99_ms")
            if p99_ms is not None:
                yield _at_most("local get, p99 of a single one", 2.0, p99_ms, " ms")


def _watchers(report: Report) -> Iterator[Goal]:
    repeats: Sequence[Repeats] = list(grouped(report.of(watchers.NAME)))
    without = next((one for one in repeats if not one.case["watchers"]), None)
    for several in repeats:
        if several.case["watchers"]:
            ratios = paired_ratios(several, without, "binds_per_s")
            if ratios:
                cost = 100 * (1 - statistics.median(ratios))
                what = f"binds/s lost to {several.case['watchers']:,} idle watchers"
                yield _at_most(what, 5, cost, " %", 1)


def _overload(report: Report) -> Iterator[Goal]:
    for several in grouped(report.of(overload.NAME)):
        times, goodput = several.case["times_peak"], several.median("goodput")
        if times != overload.PEAK and goodput is not None:
            what = f"goodput at {times:g} x the peak begun, of the peak"
            yield _at_least(what, 0.8, goodput, " ×")


def _growth(report: Report) -> Iterator[Goal]:
    repeats = sorted(grouped(report.of(growth.NAME)), key=lambda one: one.case["sessions"])
    if not repeats:
        return
    smallest, largest = repeats[0], repeats[-1]
    sessions = f"{largest.case['sessions']:,} sessions"
    if largest is not smallest:
        compared = f"{sessions} against {smallest.case['sessions']:,}"
        slower = paired_ratios(largest, smallest, "alone_p50_ms")
        if slower:
            what = f"{compared}: p50, one outstanding"
            yield _at_most(what, 1.2, statistics.median(slower), " ×")
        fewer = paired_ratios(smallest, largest, "binds_per_s")
        if fewer:
            what = f"{compared}: binds/s, fewer by"
            yield _at_most(what, 1.2, statistics.median(fewer), " ×")
    for what, figure, limit, unit in (
        ("memory of a node", "memory_mb", 400, " MB"),
        ("a killed node serves, its log replayed", "restart_replayed_s", 5, " s"),
    ):
        value = largest.median(figure)
        if value is not None:
            yield _at_most(f"{sessions}: {what}", limit, value, unit, 1)
    held_up = paired_ratios(largest, largest, "p99_meanwhile_ms", "p99_before_ms")
    if held_up:
        what = f"{sessions}: writes' p99 while a node is caught up / before"
        yield _at_most(what, 2, statistics.median(held_up), " ×")


def _backup(report: Report) -> Iterator[Goal]:
    for several in grouped(report.of(backup.NAME)):
        ratios = paired_ratios(several, several, "p99_meanwhile_ms", "p99_before_ms")
        what = f"{several.case['sessions']:,} sessions: p99 of binds while backups are taken"
        yield _at_most(what, 1.5, statistics.median(ratios), " ×")
