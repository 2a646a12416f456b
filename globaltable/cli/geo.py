"""`globaltable geo`: which regions hold the rows of which tables."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from globaltable.cli.member import AsJson, NoWait, Timeout, carry_out
from globaltable.cli.options import ENDPOINTS_DEFAULT, Endpoints, addresses_of
from globaltable.cli.tls import tls

geo = typer.Typer(
    name="geo",
    help="Geos, each of which keeps tables to some regions: list them, or change their regions.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@geo.command("list")
def list_geos(endpoints: Endpoints = ENDPOINTS_DEFAULT, as_json: AsJson = False) -> None:
    """Print each geo's tables and regions, its groups, and the regions that hold rows of it now.

    Those of groups that are on their way may be more than it should be in: until they are there.
    """
    from globaltable.admin.topology import look

    now = look(addresses_of(endpoints), tls())
    region_of = now.topology.region_of
    records: list[dict[str, Any]] = []
    everywhere = tuple(dict.fromkeys(node.region for node in now.topology.nodes))
    geos = [(one.name, one.tables, one.regions) for one in now.topology.geos]
    for name, tables, regions in (("", ("all others",), everywhere), *geos):
        own = [group for group in now.groups if group.wanted.geo == name]
        holding = {region_of.get(n, n) for g in own for n in (*g.voters, *g.learners)}
        records.append(
            {
                "geo": name,
                "tables": list(tables),
                "regions": list(regions),
                "groups": [group.wanted.number for group in own],
                "held_in": sorted(holding),
                "waits_for": {g.wanted.number: g.waits_for for g in own if g.waits_for},
            }
        )
    if as_json:
        for record in records:
            print(json.dumps(record))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("GEO", "TABLES", "REGIONS", "GROUPS", "HELD IN", "STATE"):
        table.add_column(title)
    for one in records:
        under_way = len(one["waits_for"])
        table.add_row(
            one["geo"] or "(default)",
            ", ".join(one["tables"]),
            ", ".join(one["regions"]),
            ", ".join(map(str, one["groups"])),
            ", ".join(one["held_in"]),
            f"{under_way} groups on their way" if under_way else "as wanted",
        )
    Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False).print(table)


@geo.command()
def regions(
    name: Annotated[str, typer.Argument(metavar="GEO", show_default=False)],
    among: Annotated[
        str,
        typer.Argument(
            metavar="REGION,...",
            help="All the regions it may be in from now on.",
            show_default=False,
        ),
    ],
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Timeout = 600.0,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Have a geo in other regions: its replicas move there, while it serves.

    Waits until all have. Until then, regions that it leaves hold its rows still.
    """
    from globaltable.v1 import admin_pb2 as pb

    names = [region.strip() for region in among.split(",") if region.strip()]
    request = pb.ChangeTopologyRequest(geo_regions=pb.GeoRegions(name=name, regions=names))
    carry_out(request, endpoints, timeout_s, no_wait, as_json)
