"""`globaltable plan`: the round trips there are, and who should lead which group for them.

Of a running cluster, by its own topology: nodes are asked what they measure to each other and who
leads, and with `--apply` the leaders planned are set. Or of the file that founds one: then the plan
is made as every node would make it from the section [placement] that is printed.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from globaltable.cli.options import ENDPOINTS_DEFAULT, Endpoints, addresses_of
from globaltable.cli.status import ask
from globaltable.cli.tls import tls
from globaltable.errors import ConfigError, GlobalTableError, Unavailable

if TYPE_CHECKING:
    from globaltable.admin.plan import GeoPlan, Pair, Plan
    from globaltable.admin.topology import ClusterProgress
    from globaltable.client import Status
    from globaltable.server.config import Config, Placement

_SETTLED_S: Final = 30.0
"""After so long nothing of what was measured at first is left in the smoothed round trips."""
_PING_INTERVAL_S: Final = 1.0

_DECIMALS: Final = 1
"""Of milliseconds: what varies below that is no reason for another plan."""


def plan(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="Plan for this file, which all nodes share; without: for the running cluster.",
        ),
    ] = None,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weight",
            metavar="REGION=SHARE",
            help="Of the writes, how many enter there; give each region's, or none: all alike.",
        ),
    ] = None,
    leaders: Annotated[
        list[str] | None,
        typer.Option(
            "--leader",
            metavar="[GEO=]REGION",
            help="Have this region lead what it has a replica of, whatever that costs.",
        ),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Set the leaders planned, and wait until they lead.")
    ] = False,
    timeout_s: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help="For each node; with --apply, until the leaders planned lead.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    r"""Plan who leads which group, by the round trips that the nodes measure between them.

    Prints the round trips, the leaders there are and the leaders planned, what a commit costs from
    each region with either, and with every other region leading. Nothing is changed but with
    --apply. With --config it prints the section \[placement] to put into the file of a cluster that
    has never been changed by command: leaders move once all its nodes were restarted with it.

    Exit status 3 if the round trip of some pair is not known: no node has measured it, and there is
    no file that says anything of it.
    """
    if config is not None:
        if apply:
            raise typer.BadParameter("--apply is for a running cluster: leave --config out")
        of_file = _of_file(config, timeout_s or 2.0, weights or [], leaders or [])
        _show(of_file.plan, of_file.notes, as_json, of_file.more, by="BY THE FILE")
        if not as_json:
            from globaltable.server.config_file import render_placement

            print(render_placement(of_file.placement))
        return
    made, notes = _of_cluster(addresses_of(endpoints), weights or [], leaders or [])
    _show(made, notes, as_json, {}, by="PREFERRED")
    if apply:
        _apply(made, endpoints, timeout_s or 60.0, as_json)
    elif not as_json and made.leaders != made.set_leaders:
        print("# globaltable plan --apply sets the leaders planned")


def _apply(made: "Plan", endpoints: str, timeout_s: float, as_json: bool) -> None:
    from globaltable.cli.member import carry_out
    from globaltable.v1 import admin_pb2 as pb

    if made.leaders == made.set_leaders:
        if not as_json:
            print("# the leaders planned are those that are set already")
        return
    request = pb.ChangeTopologyRequest(leaders=pb.Leaders(nodes=made.leaders))
    carry_out(request, endpoints, timeout_s, False, as_json, until_led=True)


# --- of the running cluster -----------------------------------------------------------------------


def _of_cluster(
    addresses: list[str], weights: Sequence[str], leaders: Sequence[str]
) -> "tuple[Plan, list[str]]":
    from globaltable.admin.plan import make_plan
    from globaltable.admin.topology import look

    now = look(addresses, tls())
    topology = now.topology
    regions = {node.region for node in topology.nodes}
    measured_ms, settled = _measured_between(now)
    made = make_plan(
        topology,
        measured_ms,
        None,
        [topology.region_of.get(group.leader, "") for group in now.groups],
        _weights(weights, regions),
        _leader_regions(leaders, {geo.name: geo.regions for geo in topology.geos}, regions),
    )
    notes = [f"does not answer: {', '.join(now.silent)}"] if now.silent else []
    if not settled:
        notes.append(_too_early("some round trips were"))
    if not now.is_settled:
        notes.append("members are on their way (globaltable member list): plan again when done")
    return made, notes


def _measured_between(now: "ClusterProgress") -> "tuple[dict[Pair, float], bool]":
    """By pair of regions, in milliseconds; and whether all were measured for long enough."""
    region_of = now.topology.region_of
    seen: dict[Pair, list[float]] = {}
    settled = True
    for (one, other), round_trip in now.round_trips.items():
        if one in now.topology.node_by_name and region_of[one] != region_of.get(other):
            pair = frozenset((region_of[one], region_of[other]))
            seen.setdefault(pair, []).append(round_trip.round_trip_s)
            settled &= round_trip.samples * _PING_INTERVAL_S >= _SETTLED_S
    return _least_ms(seen), settled


def _least_ms(seen: "Mapping[Pair, Sequence[float]]") -> "dict[Pair, float]":
    """The less of what the two ends have measured, for what else they measure, beside the link, is
    how busy they are."""
    return {pair: round(1_000 * min(values), _DECIMALS) for pair, values in seen.items()}


def _too_early(what: str) -> str:
    return (
        f"{what} measured for less than {_SETTLED_S:.0f} s, and a start is a busy time: plan again "
        "later"
    )


def _weights(given: Sequence[str], regions: set[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for one in given:
        region, _, share = one.rpartition("=")
        try:
            weights[region] = float(share)
        except ValueError:
            weights[region] = -1.0
        if region not in regions or not 0 <= weights[region] <= 1e9:
            raise typer.BadParameter(
                f"--weight {one}: give REGION=SHARE, of {', '.join(sorted(regions))}, and from 0 "
                "to 1e9"
            )
    if weights and (missing := sorted(regions - weights.keys())):
        raise typer.BadParameter(f"--weight: give that of {missing[0]} too, or none")
    return weights


def _leader_regions(
    given: Sequence[str], geos: Mapping[str, Sequence[str]], regions: set[str]
) -> dict[str, str]:
    leaders: dict[str, str] = {}
    for one in given:
        geo, _, region = one.rpartition("=")
        if (geo and geo not in geos) or region not in geos.get(geo, regions):
            raise typer.BadParameter(
                f"--leader {one}: give REGION or GEO=REGION; regions are "
                f"{', '.join(sorted(regions))}, and geos {', '.join(geos) or 'none'}"
            )
        leaders[geo] = region
    return leaders


# --- of a file ------------------------------------------------------------------------------------


class _OfFile(NamedTuple):
    plan: "Plan"
    placement: "Placement"
    disagreeing: Sequence[str]
    """Nodes that read another file."""
    notes: Sequence[str]

    @property
    def more(self) -> dict[str, Any]:
        return {"disagreeing": list(self.disagreeing)}


def _of_file(
    config: Path, timeout_s: float, weights: Sequence[str], leaders: Sequence[str]
) -> _OfFile:
    from globaltable.server import config_file

    loaded = config_file.load(config)
    regions = set(loaded.regions)
    given = _weights(weights, regions)
    geos = {one.geo.name: one.geo.regions for one in loaded.geos}
    wanted = {**loaded.leader_regions(), **_leader_regions(leaders, geos, regions)}
    return _make(loaded, _ask_all(loaded, timeout_s), given, wanted)


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


def _make(
    loaded: "Config",
    statuses: "dict[str, Status]",
    weights: Mapping[str, float] | None = None,
    leader_regions: Mapping[str, str] | None = None,
) -> _OfFile:
    from globaltable.admin.plan import make_plan
    from globaltable.server.config import Placement

    if not weights:
        weights = loaded.placement.weights if loaded.placement is not None else {}
    if leader_regions is None:
        leader_regions = loaded.leader_regions()
    topology = loaded.topology()
    if any(group.group >= len(topology.groups) for s in statuses.values() for group in s.groups):
        raise ConfigError("the running cluster has other groups than the file: leave --config out")
    made = make_plan(
        topology,
        _measured(statuses),
        loaded.round_trips(),
        _present(statuses, len(topology.groups)),
        weights,
        leader_regions,
    )
    disagreeing = [
        name
        for name, status in statuses.items()
        if any(made.preferred[group.group] != group.preferred_region for group in status.groups)
    ]
    notes = []
    if made.presumed:
        pairs = ", ".join("-".join(sorted(pair)) for pair in made.presumed)
        notes.append(f"not measured, but taken from the file: {pairs}")
    if min(status.uptime_s for status in statuses.values()) < _SETTLED_S:
        notes.append(_too_early("some nodes have"))
    if disagreeing:
        notes.append(
            f"nodes that prefer other leaders than the file does: {', '.join(disagreeing)}"
        )
    placement = Placement(max(made.pairs_ms.values()), made.pairs_ms, weights)
    return _OfFile(made, placement, disagreeing, notes)


def _measured(statuses: "dict[str, Status]") -> "dict[Pair, float]":
    """By pair, in milliseconds."""
    seen: dict[Pair, list[float]] = {}
    for status in statuses.values():
        for peer in status.peers:
            if peer.round_trip_s > 0 and peer.region != status.region:
                pair = frozenset((status.region, peer.region))
                seen.setdefault(pair, []).append(peer.round_trip_s)
    return _least_ms(seen)


def _present(statuses: "dict[str, Status]", groups: int) -> list[str]:
    """Who leads each group, by the latest term that any node knows of."""
    latest: dict[int, tuple[int, str]] = {}
    for status in statuses.values():
        for group in status.groups:
            if group.leader_region:
                known = (group.term, group.leader_region)
                latest[group.group] = max(known, latest.get(group.group, known))
    return [latest[number][1] if number in latest else "" for number in range(groups)]


# --- what is printed -----------------------------------------------------------------------------


def _show(
    made: "Plan", notes: Sequence[str], as_json: bool, more: Mapping[str, Any], *, by: str
) -> None:
    if as_json:
        print(json.dumps({**_record(made), **more}))
        return
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    tables = [_round_trips(made), _leaders(made, by)]
    for geo in made.geos:
        tables += [_latencies(made, geo), _placements(geo)]
    for table in tables:
        console.print(table)
        console.print()
    for note in notes:
        print(f"# {note}")


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in titles:
        table.add_column(title)
    return table


def _ms(value: float) -> str:
    return f"{value:.1f} ms" if value == value else "?"


def _round_trips(made: "Plan") -> Table:
    table = _table("ROUND TRIP", *made.regions)
    for one in made.regions:
        cells = []
        for other in made.regions:
            pair = frozenset((one, other))
            doubt = " ?" if pair in made.presumed else ""
            cells.append("" if one == other else _ms(made.pairs_ms[pair]) + doubt)
        table.add_row(one, *cells)
    return table


def _leaders(made: "Plan", by: str) -> Table:
    table = _table("GROUP", "LED BY", by, "PLANNED")
    rows = zip(made.present, made.preferred, made.planned, strict=True)
    for number, (present, preferred, planned) in enumerate(rows):
        change = "" if present == planned else "  <-"
        table.add_row(str(number), present or "nobody", preferred, planned + change)
    return table


def _latencies(made: "Plan", geo: "GeoPlan") -> Table:
    where = f"FROM REGION ({geo.geo})" if geo.geo else "FROM REGION"
    table = _table(where, "COMMIT NOW", "PLANNED", "LEADS NOW", "PLANNED")
    for region, before_ms in geo.before_ms.items():
        table.add_row(
            region,
            _ms(before_ms),
            _ms(geo.after_ms[region]),
            str(sum(made.present[group] == region for group in geo.groups)),
            str(sum(made.planned[group] == region for group in geo.groups)),
        )
    return table


def _placements(geo: "GeoPlan") -> Table:
    table = _table("ALL LED FROM", *(f"FROM {region}" for region in geo.before_ms), "MEAN")
    for one in geo.placements:
        cells = [_ms(one.commit_ms[region]) for region in geo.before_ms]
        table.add_row(one.region, *cells, _ms(one.mean_ms))
    return table


def _record(made: "Plan") -> dict[str, Any]:
    def plain(latencies: Mapping[str, float]) -> dict[str, float | None]:
        return {
            region: round(ms, _DECIMALS) if ms == ms else None for region, ms in latencies.items()
        }

    def of(geo: "GeoPlan") -> dict[str, Any]:
        return {
            "commit_ms": plain(geo.before_ms),
            "planned_commit_ms": plain(geo.after_ms),
            "placements": [
                {
                    "leader": one.region,
                    "commit_ms": plain(one.commit_ms),
                    "mean_ms": round(one.mean_ms, _DECIMALS),
                }
                for one in geo.placements
            ],
        }

    default, *geos = made.geos
    return {
        "round_trips_ms": {"-".join(sorted(pair)): ms for pair, ms in made.pairs_ms.items()},
        "not_measured": ["-".join(sorted(pair)) for pair in made.presumed],
        "present_leaders": list(made.present),
        "preferred_leaders": list(made.preferred),
        "planned_leaders": list(made.planned),
        **of(default),
        "geos": {geo.geo: of(geo) for geo in geos},
    }
