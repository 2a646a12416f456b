"""What a report says: for each scenario that was played, tables of medians, and plots."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from globaltable.bench.histogram import Histogram
from globaltable.bench.report import create_latency as create_latency_section
from globaltable.bench.report import idle as idle_section
from globaltable.bench.report.goals import Goal, goals
from globaltable.bench.report.medians import Repeats, grouped, paired_ratios
from globaltable.bench.report.plots.failover_timeline import failover_timeline
from globaltable.bench.report.plots.latency_cdf import Curve, latency_cdf
from globaltable.bench.report.plots.load_latency import load_latency
from globaltable.bench.report.section import Section, Table
from globaltable.bench.report.written import (
    long_seconds,
    median,
    megabytes,
    ms,
    rate,
    seconds,
    share,
    spread,
    times,
)
from globaltable.bench.results import Report
from globaltable.bench.scenarios import (
    commit_latency,
    compare,
    contention,
    create_latency,
    failover,
    growth,
    idle,
    nodes,
    overload,
    reads,
    throughput,
    watchers,
)
from globaltable.bench.systems.globaltable import NAME as GLOBALTABLE


def sections(report: Report) -> list[Section]:
    """Only of what was measured."""
    made: list[Section] = []
    held = goals(report)
    if held:
        made.append(_goals(held))
    made.append(_limit(report))
    for scenario, section in _BY_SCENARIO.items():
        if report.of(scenario):
            made.append(section(report))
    made.append(_conditions(report))
    return made


def _goals(held: Sequence[Goal]) -> Section:
    rows = tuple(
        (goal.what, goal.wanted, goal.measured, "met" if goal.met else "MISSED") for goal in held
    )
    return Section(
        "Goals",
        "Medians over repeats; ratios are taken within a repeat. Only of what this run measured.",
        (Table(("", "goal", "measured", ""), rows),),
    )


def _limit(report: Report) -> Section:
    rows = tuple(
        (
            pair,
            ms(report.round_trips_ms.get(pair)),
            f"{seen.count:,}",
            ms(seen.percentile_ms(50)),
            ms(seen.percentile_ms(99)),
        )
        for pair, seen in report.pings.items()
    )
    how = {
        "namespaces": "Each region is a network namespace; an emulator holds packets back between "
        "them.",
        "injected": "All regions are on 127.0.0.1; the nodes hold back what they send each other.",
    }.get(report.network, report.network)
    return Section(
        "The limit",
        f"{how} A TCP echo of a few bytes over the same network in the same run: no write that "
        "needs another region can take less.",
        (Table(("regions", "injected", "pings", "p50", "p99"), rows),),
    )


# --- commit-latency -------------------------------------------------------------------------------


def _commit_latency(report: Report) -> Section:
    repeats = list(grouped(report.of(commit_latency.NAME)))
    return Section(
        "Commit latency",
        "One op outstanding, from each region in turn. The limit is the ping of the way that the "
        "rules of commit ask for, the median over groups, since each may be led elsewhere.",
        (_one_at_a_time(report, repeats),),
        lambda: (latency_cdf("commit-latency", _curves(repeats), _pings(report)),),
    )


def _one_at_a_time(report: Report, repeats: Sequence[Repeats]) -> Table:
    rows = []
    for several in repeats:
        for region in several.what:
            over_p50 = _over_limit(several, region, "p50")
            over_p99 = _over_limit(several, region, "p99")
            leads = several.median(f"leads:{region}")
            rows.append(
                (
                    f"{several.system}, from {region}{' (leader)' if leads else ''}",
                    ms(several.median(f"p50_ms:{region}")),
                    ms(several.median(f"p99_ms:{region}")),
                    ms(several.median(f"limit_p50_ms:{region}")),
                    times(median(over_p50)),
                    times(median(over_p99)),
                    f"{len(several.measurements)}",
                )
            )
    columns = ("one at a time", "p50", "p99", "limit", "p50 / limit", "p99 / limit", "repeats")
    return Table(columns, tuple(rows))


def _over_limit(several: Repeats, region: str, percentile: str) -> list[float]:
    own, limit = f"{percentile}_ms:{region}", f"limit_{percentile}_ms:{region}"
    return paired_ratios(several, several, own, limit)


def _curves(repeats: Sequence[Repeats]) -> list[Curve]:
    return [
        Curve(several.system, what, several.histogram(what))
        for several in repeats
        for what in several.what
    ]


def _pings(report: Report) -> Histogram:
    return Histogram.sum(report.pings.values())


# --- throughput and compare -----------------------------------------------------------------------


def _load(several: Repeats) -> str:
    case = several.case
    if case["load"] == throughput.OPEN:
        return f"{several.system}, {case['rate_per_s']:,.0f}/s begun"
    return f"{several.system}, {case['callers']:,} callers"


def _loads(repeats: Sequence[Repeats]) -> Table:
    rows = tuple(
        (
            _load(several),
            rate(several.median("binds_per_s")),
            ms(several.median("p50_ms")),
            ms(several.median("p99_ms")),
            ms(several.median("p999_ms")),
            rate(several.total("failed") + several.total("missed")),
            share(several.median("client_cpu_share")),
            f"{len(several.measurements)}",
        )
        for several in repeats
    )
    columns = ("load", "binds/s", "p50", "p99", "p99.9", "failed", "client's core", "repeats")
    return Table(columns, rows)


_LOAD_NOTE: Final = (
    "Callers await one op each; where ops are begun at a rate, latency counts from when each was "
    "due (no coordinated omission). The client's core is the share of one core that a load "
    "process used: near 100 % it would be the client that was measured."
)


def _throughput(report: Report) -> Section:
    repeats = list(grouped(report.of(throughput.NAME)))
    return Section(
        "Throughput",
        _LOAD_NOTE,
        (_loads(repeats),),
        lambda: (load_latency("throughput", repeats),),
    )


def _nodes(report: Report) -> Section:
    repeats = list(grouped(report.of(nodes.NAME)))
    rows = tuple(
        (
            f"{several.case['nodes_per_region']} a region, {several.case['callers']:,} callers",
            rate(several.median("binds_per_s")),
            seconds(several.median("node_cpu_s_per_1000_binds")),
            ms(several.median("p50_ms")),
            ms(several.median("p99_ms")),
            rate(several.total("failed") + several.total("missed")),
            f"{len(several.measurements)}",
        )
        for several in repeats
    )
    columns = ("nodes", "binds/s", "CPU per 1,000", "p50", "p99", "failed", "repeats")
    return Section(
        "Nodes",
        "As many groups as nodes. The processor time is that of all nodes together: where the "
        "cores of this machine run out, it says what more of them would do, and the rate does not.",
        (Table(columns, rows),),
    )


def _compare(report: Report) -> Section:
    measurements = report.of(compare.NAME)
    alone = list(grouped(measurements, load=commit_latency.ONE_AT_A_TIME))
    closed = list(grouped(measurements, load=throughput.CLOSED))
    return Section(
        "Beside etcd and ZooKeeper",
        "In turn in the same run, each alone and started anew for each repeat, with its fsync on. "
        + _LOAD_NOTE,
        tuple(
            table
            for table in (_one_at_a_time(report, alone), _loads(closed), _ratios(alone, closed))
            if table.rows
        ),
        lambda: (
            latency_cdf("compare-latency", _curves(alone), _pings(report)),
            load_latency("compare-throughput", [*alone, *closed]),
        ),
    )


def _ratios(alone: Sequence[Repeats], closed: Sequence[Repeats]) -> Table:
    """GlobalTable's over each other system's, within each repeat."""
    rows = []
    for own, other in _beside(alone):
        for region in own.what:
            ratios = paired_ratios(own, other, f"p50_ms:{region}")
            name = f"p50 from {region}, one at a time / {other.system}"
            rows.append((name, times(median(ratios)), spread(ratios)))
    for own, other in _beside(closed):
        ratios = paired_ratios(own, other, "binds_per_s")
        name = f"binds/s, {own.case['callers']:,} callers / {other.system}"
        rows.append((name, times(median(ratios)), spread(ratios)))
    return Table((f"{GLOBALTABLE} / other", "median", "of single repeats"), tuple(rows))


def _beside(repeats: Sequence[Repeats]) -> Iterator[tuple[Repeats, Repeats]]:
    for own in repeats:
        for other in repeats:
            if own.system == GLOBALTABLE != other.system and own.case == other.case:
                yield own, other


# --- the others -----------------------------------------------------------------------------------


def _contention(report: Report) -> Section:
    repeats = list(grouped(report.of(contention.NAME)))
    names = {
        contention.FREE: "keys of their own",
        "won": "winners",
        "lost": "losers",
    }
    rows = tuple(
        (
            f"{several.case['callers']} callers at once: {names.get(what, what)}",
            ms(several.median(f"p50_ms:{what}")),
            ms(several.median(f"p99_ms:{what}")),
            f"{several.histogram(what).count:,}",
        )
        for several in repeats
        for what in several.what
    )
    won = sum(int(several.total("winners")) for several in repeats)
    raced = sum(int(several.total("rounds")) for several in repeats)
    return Section(
        "Contention",
        f"All callers of all regions begin at the same moment, for one key: {raced:,} keys raced "
        f"for, {won:,} winners, no key with two (a run that sees two fails). Beside it the same "
        "burst on free keys.",
        (Table(("callers", "p50", "p99", "answers"), rows),),
        lambda: (latency_cdf("contention", _curves(repeats), _pings(report)),),
    )


def _failover(report: Report) -> Section:
    rows = []
    measurements = report.of(failover.NAME)
    kinds = dict.fromkeys(str(one.case["loss"]) for one in measurements)
    for kind in kinds:
        trials = [one for one in measurements if one.case["loss"] == kind]
        resumed = sorted(one.figures["resumed_s"] for one in trials)
        rows.append(
            (
                {"kill": "SIGKILL", "cut": "cut off"}.get(kind, kind),
                f"{len(trials)}",
                seconds(median(resumed)),
                seconds(resumed[-1]),
                seconds(median([one.figures["resumed_others_s"] for one in trials])),
                seconds(median([one.figures["returned_s"] for one in trials])),
                rate(sum(one.figures["failed"] for one in trials)),
                rate(sum(one.figures["failed_while_returning"] for one in trials)),
                ms(median([one.figures["longest_while_returning_ms"] for one in trials])),
            )
        )
    columns = (
        "leader lost",
        "trials",
        "writes go on, p50",
        "slowest",
        "other groups",
        "leads again",
        "failed",
        "failed, return",
        "slowest, return",
    )
    return Section(
        "Failover",
        "From the loss to a write acknowledged in each group that the lost node led (it began "
        "after the loss), from the regions that stay. Leads again: from the node's start, or the "
        "cut's end, until all leadership is where it is preferred. Failed: writes that ended in an "
        "error, in the whole trial and since the node is back. Slowest: the longest write since "
        "then, median over trials.",
        (Table(columns, tuple(rows)),),
        lambda: tuple(
            failover_timeline(kind, [one for one in measurements if one.case["loss"] == kind])
            for kind in kinds
        ),
    )


def _reads(report: Report) -> Section:
    rows = tuple(
        (
            f"{several.case['load']}: {several.case['batch']} keys a call, "
            f"{several.case['callers']} at a time",
            rate(several.median("keys_per_s")),
            ms(several.median("p50_ms")),
            ms(several.median("p99_ms")),
            share(several.median("client_cpu_share")),
        )
        for several in grouped(report.of(reads.NAME))
    )
    return Section(
        "Reads",
        "Local reads through one node, from one process.",
        (Table(("reads", "keys/s", "p50 of a call", "p99", "client's core"), rows),),
    )


def _watchers(report: Report) -> Section:
    rows = tuple(
        (
            f"{several.case['watchers']:,} idle watchers, {several.case['callers']:,} callers",
            rate(several.median("binds_per_s")),
            ms(several.median("p50_ms")),
            ms(several.median("p99_ms")),
            f"{len(several.measurements)}",
        )
        for several in grouped(report.of(watchers.NAME))
    )
    return Section(
        "Watchers",
        "The same load without and with watchers to whom nothing happens, in turn.",
        (Table(("watchers", "binds/s", "p50", "p99", "repeats"), rows),),
    )


def _overload(report: Report) -> Section:
    repeats = list(grouped(report.of(overload.NAME)))
    rows = tuple(
        (
            "callers that await: the peak"
            if several.case["times_peak"] == overload.PEAK
            else f"{several.case['times_peak']:g} x the peak begun",
            rate(several.median("binds_per_s")),
            share(several.median("goodput")),
            ms(several.median("p50_ms")),
            ms(several.median("p99_ms")),
            rate(several.total("failed") + several.total("missed")),
            f"{len(several.measurements)}",
        )
        for several in repeats
    )
    columns = ("load", "binds/s", "of the peak", "p50", "p99", "failed", "repeats")
    return Section(
        "Overload",
        "What is answered while more is begun than can be done. Failed ops were refused, or not "
        "answered in time; latency counts from when each was due.",
        (Table(columns, rows),),
    )


def _growth(report: Report) -> Section:
    repeats = list(grouped(report.of(growth.NAME)))
    columns = ("", *(f"{several.case['sessions']:,} sessions" for several in repeats))
    rows = [
        (title, *(shown(several.median(figure)) for several in repeats))
        for title, figure, shown in _GROWTH_FIGURES
        if any(several.median(figure) is not None for several in repeats)
    ]
    return Section(
        "Growth",
        "Clusters filled with so many sessions; one node is killed after the load, and one, if it "
        "was asked for, loses its data. Memory is without the page cache of the table.",
        (Table(columns if len(columns) > 2 else (*columns, ""), tuple(map(_padded, rows))),),
    )


def _padded(row: tuple[str, ...]) -> tuple[str, ...]:
    """A table of two columns is one of words."""
    return row if len(row) > 2 else (*row, "")


_GROWTH_FIGURES: Final[tuple[tuple[str, str, Callable[[float | None], str]], ...]] = (
    ("binds/s", "binds_per_s", rate),
    ("p50 under load", "p50_ms", ms),
    ("p99 under load", "p99_ms", ms),
    ("p50, one outstanding", "alone_p50_ms", ms),
    ("p99, one outstanding", "alone_p99_ms", ms),
    ("memory of a node", "memory_mb", megabytes),
    ("disk of a node", "disk_mb", megabytes),
    ("killed: serves again after", "restart_serving_s", long_seconds),
    ("killed: log replayed after", "restart_replayed_s", long_seconds),
    ("data lost: caught up after", "return_s", long_seconds),
    ("writes' p99 before", "p99_before_ms", ms),
    ("writes' p99 until then", "p99_meanwhile_ms", ms),
    ("memory at most, of that node", "receiver_mb_max", megabytes),
    ("memory at most, of the others", "sender_mb_max", megabytes),
)


def _conditions(report: Report) -> Section:
    rows = [
        ("command", report.command),
        ("begun", report.started_at),
        ("network", f"{report.network}; regions {', '.join(report.regions)}"),
        *report.machine.items(),
        *_disturbed(report),
        *(("not measured", why) for why in report.skipped),
    ]
    return Section(
        "Conditions",
        "All processes, those of the load too, share this machine.",
        (Table(("", ""), tuple(rows)),),
    )


def _disturbed(report: Report) -> list[tuple[str, str]]:
    """Whoever reads absolute figures should know that they had not the machine for themselves."""
    try:
        load, cores = float(report.machine["load average before"]), int(report.machine["cores"])
    except (KeyError, ValueError):
        return []
    if load < 0.5 * cores:
        return []
    return [("take care", f"others were at work: {load:g} of {cores} cores, before it began")]


_BY_SCENARIO: Final[dict[str, Callable[[Report], Section]]] = {
    commit_latency.NAME: _commit_latency,
    create_latency.NAME: create_latency_section.section,
    throughput.NAME: _throughput,
    nodes.NAME: _nodes,
    compare.NAME: _compare,
    contention.NAME: _contention,
    failover.NAME: _failover,
    reads.NAME: _reads,
    watchers.NAME: _watchers,
    idle.NAME: idle_section.section,
    overload.NAME: _overload,
    growth.NAME: _growth,
}
