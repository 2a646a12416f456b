"""`globaltable groups` and `globaltable slots`: more groups, and which of them holds which slots.

Each change is one compare-and-set of the topology, as those of `member` are; the cluster brings
itself there, whatever becomes of this command, which only shows how far it is. To `list` shows it
anew, `slots wait` waits for it again.
"""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from globaltable.cli.changes import decide, wait_until
from globaltable.cli.member import AsJson, Timeout
from globaltable.cli.options import ENDPOINTS_DEFAULT, Endpoints, addresses_of
from globaltable.cli.progress import bar
from globaltable.cli.tls import tls
from globaltable.slot_ranges import format_slots

if TYPE_CHECKING:
    from globaltable.admin.topology import ClusterProgress
    from globaltable.topology import Topology
    from globaltable.v1 import admin_pb2 as pb

SLOTS_SHOWN: Final = 60
"""Characters of a group's slots in a table; --json has them all."""

_SETTINGS: Final = {"help_option_names": ["-h", "--help"]}

groups = typer.Typer(
    name="groups",
    help="The consistency groups of the cluster: grow to more of them.",
    no_args_is_help=True,
    context_settings=_SETTINGS,
)
slots = typer.Typer(
    name="slots",
    help="Which group holds which slots: list, move, deal evenly.",
    no_args_is_help=True,
    context_settings=_SETTINGS,
)

Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Until all is there; it goes on anyway.")
]

OfGeo = Annotated[
    str, typer.Option("--geo", metavar="NAME", help="Of this geo; else of tables without one.")
]


@groups.callback()
def _groups() -> None:
    """So that `grow` is a command of its own although it is the only one."""


@groups.command()
def grow(
    to: Annotated[int, typer.Option("--to", metavar="N", help="Groups there are to be.")],
    empty: Annotated[
        bool, typer.Option("--empty", help="Only add them: they hold no slots until some move.")
    ] = False,
    geo: OfGeo = "",
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Timeout = 3_600.0,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Add groups while the cluster serves, and move slots until all groups hold equally many.

    No binding changes by it, no client need be restarted, and no group goes: to have fewer of them
    hold anything again, move the slots back (`globaltable slots undo`).
    """
    from globaltable.v1 import admin_pb2 as pb

    if not 0 < to < 2**16:
        raise typer.BadParameter(f"{to}: give the number of groups there are to be")
    asked = pb.Growth(groups=to, geo=geo, empty=empty)
    request = pb.ChangeTopologyRequest(grow=asked)
    _carry_out(request, endpoints, timeout_s, wait, as_json)


@slots.command("list")
def list_slots(endpoints: Endpoints = ENDPOINTS_DEFAULT, as_json: AsJson = False) -> None:
    """Print how many slots each group holds, and how many it is to hold, and which those are."""
    from globaltable.admin.topology import look

    now = look(addresses_of(endpoints), tls())
    if as_json:
        print(json.dumps(record(now)))
        return
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    console.print(_table(now))
    under_way = now.slots.under_way
    if under_way:
        console.print(f"\nslots on their way: {len(under_way)}")


@slots.command()
def move(
    which: Annotated[
        str, typer.Argument(metavar="SLOTS", help="As in 7,16-31,8-4088/8.", show_default=False)
    ],
    to: Annotated[int, typer.Option("--to", metavar="GROUP", help="Who is to hold them.")],
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Timeout = 3_600.0,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Move slots to a group, with all bindings in them, while both serve."""
    from globaltable.v1 import admin_pb2 as pb

    if not 0 <= to < 2**16:
        raise typer.BadParameter(f"{to}: give the number of a group")
    asked = pb.MoveSlots(slots=which, to=to)
    _carry_out(pb.ChangeTopologyRequest(move_slots=asked), endpoints, timeout_s, wait, as_json)


@slots.command()
def deal(
    geo: OfGeo = "",
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Timeout = 3_600.0,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Move slots until all groups hold equally many, as few slots as can be."""
    from globaltable.v1 import admin_pb2 as pb

    request = pb.ChangeTopologyRequest(deal_slots=pb.DealSlots(geo=geo))
    _carry_out(request, endpoints, timeout_s, wait, as_json)


@slots.command()
def undo(
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Timeout = 3_600.0,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Move slots back to where they were to be before the last `grow`, `move` or `deal`.

    What is on its way turns round, what has arrived goes back. To ask again does it once more.
    """
    from globaltable.v1 import admin_pb2 as pb

    request = pb.ChangeTopologyRequest(undo_slots=pb.UndoSlots())
    _carry_out(request, endpoints, timeout_s, wait, as_json)


@slots.command("wait")
def wait_for_slots(
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Timeout = 3_600.0,
    as_json: AsJson = False,
) -> None:
    """Show how far the last change is, until every slot is where it is to be."""
    _wait(addresses_of(endpoints), 0, timeout_s, as_json)


# --- changes, and how far they are ----------------------------------------------------------------


def _carry_out(
    request: "pb.ChangeTopologyRequest", endpoints: str, timeout_s: float, wait: bool, as_json: bool
) -> None:
    from globaltable.slot_change import assigned_anew

    topology, addresses = decide(request, endpoints, timeout_s)
    if not as_json:
        print(f"decided: version {topology.version} of the topology, {_summary(topology)}")
        sys.stdout.flush()
    if wait:
        _wait(addresses, topology.version, timeout_s, as_json, moving=len(assigned_anew(topology)))
    elif as_json:
        print(json.dumps({"version": topology.version, "done": False}))


def _summary(topology: "Topology") -> str:
    counts = [len(topology.assigned_to(group.number)) for group in topology.groups]
    least, most = min(counts), max(counts)
    each = str(most) if least == most else f"{least} to {most}"
    return f"{len(counts)} groups, which are to hold {each} slots each"


def _wait(
    addresses: list[str], version: int, timeout_s: float, as_json: bool, moving: int = 0
) -> None:
    """Until a version, or what has come after it, is done; so many slots are `moving` at least."""
    began = time.monotonic()
    with bar("slots") as progress:

        def is_done(now: "ClusterProgress") -> bool:
            nonlocal moving
            left = len(now.slots.under_way)
            moving = max(moving, left)
            progress(moving - left, moving)
            return now.is_settled and not left

        now = wait_until(
            is_done,
            addresses,
            version,
            began=began,
            timeout_s=timeout_s,
            shown_by=(
                "globaltable slots list shows how far it is, and globaltable member list what "
                "groups wait for"
            ),
        )
    took_s = time.monotonic() - began
    if as_json:
        done = {"version": now.topology.version, "done": True, "seconds": round(took_s, 2)}
        print(json.dumps({**done, "groups": len(now.groups), "slots_moved": moving}))
    else:
        print(
            f"done after {took_s:.1f} s: {len(now.groups)} groups, and every slot is where it is "
            "to be"
        )


def record(now: "ClusterProgress") -> dict[str, Any]:
    return {
        "version": now.topology.version,
        "slots": now.topology.slots,
        "under_way": len(now.slots.under_way),
        "groups": [
            {
                "group": number,
                "geo": now.topology.groups[number].geo,
                "leader": now.groups[number].leader,
                "holds": len(held),
                "to_hold": len(wanted),
                "slots": format_slots(held),
                "slots_to_hold": format_slots(wanted),
            }
            for number, (held, wanted) in enumerate(_by_group(now))
        ],
    }


def _by_group(now: "ClusterProgress") -> list[tuple[list[int], list[int]]]:
    """The slots that each holds, and those that it is to hold."""
    found: list[tuple[list[int], list[int]]] = [([], []) for _ in now.groups]
    for geo, holders in now.slots.holders.items():
        ends = zip(holders, now.topology.assignment(geo), strict=True)
        for slot, (held_by, wanted) in enumerate(ends):
            if held_by < len(found):
                found[held_by][0].append(slot)
            found[wanted][1].append(slot)
    return found


def _table(now: "ClusterProgress") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title, right in (
        ("GROUP", False),
        ("LEADER", False),
        ("HOLDS", True),
        ("TO HOLD", True),
        ("COMING", True),
        ("GOING", True),
        ("SLOTS", False),
    ):
        table.add_column(title, justify="right" if right else "left")
    for number, (held, wanted) in enumerate(_by_group(now)):
        text = format_slots(held)
        if len(text) > SLOTS_SHOWN:
            text = text[: text.rindex(",", 0, SLOTS_SHOWN)] + ",…" if "," in text else text
        coming, going = len({*wanted} - {*held}), len({*held} - {*wanted})
        leader = now.groups[number].leader or "none"
        counts = (len(held), len(wanted), coming, going)
        table.add_row(str(number), leader, *map(str, counts), text)
    return table
