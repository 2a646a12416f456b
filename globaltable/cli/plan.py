"""`globaltable plan`: the round trips there are, and who should lead which group for them.

The nodes are asked what they measure to each other, the plan is made as every node would make it
from the section that is printed, and nothing is changed.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from globaltable.cli.status import ask
from globaltable.errors import GlobalTableError, Unavailable

if TYPE_CHECKING:
    from globaltable.client import Status
    from globaltable.placement import RoundTrips
    from globaltable.server.config import Config, Placement
    from globaltable.topology import Topology

_SETTLED_S: Final = 30.0
"""After so long nothing of what was measured at first is left in the smoothed round trips."""

_DECIMALS: Final = 1
"""Of milliseconds: what varies below that is no reason for another plan."""


def plan(
    config: Annotated[
        Path,
        typer.Option("--config", "-c", metavar="FILE", help="The file that all nodes share."),
    ],
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="For each node.")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ask the running nodes for the round trips between them, and plan who leads which group.

    Prints the round trips, the leaders there are and the leaders planned, what a commit costs from
    each region with either, and the section [placement] to put into the file. Leaders move to
    where the file wants them once all nodes have been restarted with it, one after the other.

    Exit status 3 if the round trip of some pair is not known: no node has measured it, and the file
    says nothing of it.
    """
    from globaltable.server import config_file

    loaded = config_file.load(config)
    made = _make(loaded, _ask_all(loaded, timeout_s))
    if as_json:
        print(json.dumps(_record(made)))
        return
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    console.print(_round_trips(made))
    console.print()
    console.print(_leaders(made))
    console.print()
    console.print(_latencies(made))
    print()
    if made.presumed:
        pairs = ", ".join("-".join(sorted(pair)) for pair in made.presumed)
        print(f"# not measured, but taken from the file: {pairs}")
    if made.measured_for_s < _SETTLED_S:
        print(
            f"# measured for {made.measured_for_s:.0f} s only, and a start is a busy time: plan "
            f"again once all nodes have been up for {_SETTLED_S:.0f} s"
        )
    if made.disagreeing:
        regions = ", ".join(made.disagreeing)
        print(f"# nodes that prefer other leaders than the file does: {regions}")
    print(config_file.render_placement(made.placement))


class _Plan(NamedTuple):
    regions: tuple[str, ...]
    placement: "Placement"
    presumed: Sequence[frozenset[str]]
    """Pairs whose round trip is the file's, for no node has measured it."""
    present: Sequence[str]
    """The region that leads each group; empty where none is known."""
    preferred: Sequence[str]
    """The region that should, by the file."""
    planned: Sequence[str]
    before_ms: Mapping[str, float]
    """The mean over groups with a leader, by the region of the caller."""
    after_ms: Mapping[str, float]
    disagreeing: Sequence[str]
    """Nodes that read another file."""
    measured_for_s: float
    """How long the node has been up that was started last."""

    def leads(self, leaders: Sequence[str], region: str) -> int:
        return sum(leader == region for leader in leaders)


def _ask_all(loaded: "Config", timeout_s: float) -> "dict[str, Status]":
    """What each node that answers says of itself, by its name."""
    statuses: dict[str, Status] = {}
    for node in loaded.nodes:
        try:
            statuses[node.name] = ask(str(node.client), timeout_s)
        except GlobalTableError as error:
            print(f"globaltable: {node.name} at {node.client}: {error}", file=sys.stderr)
    if not statuses:
        raise Unavailable("no node answers; a plan needs what they have measured")
    return statuses


def _make(loaded: "Config", statuses: "dict[str, Status]") -> _Plan:
    from globaltable.placement import RoundTrips, planned_leaders
    from globaltable.server.config import Placement

    regions = loaded.regions
    measured = _measured(statuses)
    configured = loaded.round_trips()
    pairs: dict[frozenset[str], float] = {}
    presumed: list[frozenset[str]] = []
    for pair in map(frozenset, combinations(regions, 2)):
        if pair in measured:
            pairs[pair] = measured[pair]
        elif configured is not None:
            pairs[pair] = configured.between_ms(*pair)
            presumed.append(pair)
        else:
            raise Unavailable(
                f"the round trip between {' and '.join(sorted(pair))} is not known: no node that "
                "answers has measured it; start them, or put it into the file"
            )
    weights = loaded.placement.weights if loaded.placement is not None else {}
    placement = Placement(max(pairs.values()), pairs, weights)
    round_trips = RoundTrips(placement.round_trip_ms, pairs)
    topology = loaded.topology()
    region_of = topology.region_of
    planned = [region_of[node] for node in planned_leaders(topology, round_trips, weights)]
    present = _present(statuses, loaded.groups)
    preferred = [region_of[group.preferred] for group in topology.groups]
    return _Plan(
        regions=regions,
        placement=placement,
        presumed=presumed,
        present=present,
        preferred=preferred,
        planned=planned,
        before_ms=_expected_ms(topology, present, round_trips),
        after_ms=_expected_ms(topology, planned, round_trips),
        measured_for_s=min(status.uptime_s for status in statuses.values()),
        disagreeing=[
            name
            for name, status in statuses.items()
            if any(preferred[group.group] != group.preferred_region for group in status.groups)
        ],
    )


def _measured(statuses: "dict[str, Status]") -> dict[frozenset[str], float]:
    """By pair, in milliseconds: the less of what its two ends have measured, for what else they
    measure, beside the link, is how busy they are."""
    seen: dict[frozenset[str], list[float]] = {}
    for status in statuses.values():
        for peer in status.peers:
            if peer.round_trip_s > 0 and peer.region != status.region:
                pair = frozenset((status.region, peer.region))
                seen.setdefault(pair, []).append(peer.round_trip_s)
    return {pair: round(1_000 * min(values), _DECIMALS) for pair, values in seen.items()}


def _present(statuses: "dict[str, Status]", groups: int) -> list[str]:
    """Who leads each group, by the latest term that any node knows of."""
    latest: dict[int, tuple[int, str]] = {}
    for status in statuses.values():
        for group in status.groups:
            if group.leader_region:
                known = (group.term, group.leader_region)
                latest[group.group] = max(known, latest.get(group.group, known))
    return [latest[number][1] if number in latest else "" for number in range(groups)]


def _expected_ms(
    topology: "Topology", leaders: Sequence[str], round_trips: "RoundTrips"
) -> dict[str, float]:
    """The mean over the groups with a leader, for callers in each region."""
    from globaltable.placement import costs_from_s

    regions = list(dict.fromkeys(topology.region_of.values()))
    led = []
    for group, leader in zip(topology.groups, leaders, strict=True):
        held_in = [topology.region_of[node] for node in group.replicas]
        # A replica that moves may lead where the file has none yet: nothing is expected of that.
        if leader in held_in:
            led.append(costs_from_s(regions, held_in, leader, round_trips.between_s))
    return {
        region: 1_000 * sum(costs[region] for costs in led) / len(led) if led else float("nan")
        for region in regions
    }


# --- what is printed -----------------------------------------------------------------------------


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in titles:
        table.add_column(title)
    return table


def _ms(value: float) -> str:
    return f"{value:.1f} ms" if value == value else "?"


def _round_trips(made: _Plan) -> Table:
    table = _table("ROUND TRIP", *made.regions)
    for one in made.regions:
        cells = []
        for other in made.regions:
            pair = frozenset((one, other))
            doubt = " ?" if pair in made.presumed else ""
            cells.append("" if one == other else _ms(made.placement.pairs[pair]) + doubt)
        table.add_row(one, *cells)
    return table


def _leaders(made: _Plan) -> Table:
    table = _table("GROUP", "LED BY", "BY THE FILE", "PLANNED")
    rows = zip(made.present, made.preferred, made.planned, strict=True)
    for number, (present, preferred, planned) in enumerate(rows):
        change = "" if present == planned else "  <-"
        table.add_row(str(number), present or "nobody", preferred, planned + change)
    return table


def _latencies(made: _Plan) -> Table:
    table = _table("FROM REGION", "COMMIT NOW", "PLANNED", "LEADS NOW", "PLANNED")
    for region in made.regions:
        table.add_row(
            region,
            _ms(made.before_ms[region]),
            _ms(made.after_ms[region]),
            str(made.leads(made.present, region)),
            str(made.leads(made.planned, region)),
        )
    return table


def _record(made: _Plan) -> dict[str, Any]:
    def plain(latencies: Mapping[str, float]) -> dict[str, float | None]:
        return {
            region: round(ms, _DECIMALS) if ms == ms else None for region, ms in latencies.items()
        }

    return {
        "round_trips_ms": {"-".join(sorted(pair)): ms for pair, ms in made.placement.pairs.items()},
        "not_measured": ["-".join(sorted(pair)) for pair in made.presumed],
        "present_leaders": list(made.present),
        "preferred_leaders": list(made.preferred),
        "planned_leaders": list(made.planned),
        "commit_ms": plain(made.before_ms),
        "planned_commit_ms": plain(made.after_ms),
        "disagreeing": list(made.disagreeing),
    }
