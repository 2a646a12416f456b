"""`globaltable member`: the nodes of the cluster, and who is to come and go.

Each change is one compare-and-set of the topology; groups follow it by themselves, whatever becomes
of this command, which only shows how far they are. To ask again, or `list`, shows it anew.
"""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from globaltable.cli.changes import decide, wait_until
from globaltable.cli.exits import ExitStatus
from globaltable.cli.options import ENDPOINTS_DEFAULT, Endpoints, addresses_of
from globaltable.cli.tls import tls

if TYPE_CHECKING:
    from globaltable.admin.topology import ClusterProgress
    from globaltable.topology import Node
    from globaltable.v1 import admin_pb2 as pb

member = typer.Typer(
    name="member",
    help="The nodes of the cluster: list, add, remove, replace; how many replicas groups have.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Option("--name", metavar="NAME", help="The node's name, never used.")]
Region = Annotated[str, typer.Option("--region", metavar="NAME", help="There is, or a new one.")]
PeerAddress = Annotated[
    str, typer.Option("--peer", metavar="HOST:PORT", help="Where the other nodes reach it.")
]
ClientAddress = Annotated[
    str, typer.Option("--client", metavar="HOST:PORT", help="Where clients do.")
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="End once the change is decided; groups follow anyway.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", help="To wait until it is done.")
]
NodeName = Annotated[str, typer.Argument(metavar="NODE", show_default=False)]


@member.command("list")
def list_members(endpoints: Endpoints = ENDPOINTS_DEFAULT, as_json: AsJson = False) -> None:
    """Print the nodes, and of each group its members, what they are to be, and what it waits for.

    Exit status 3 if no node answers, or a group has no leader.
    """
    from globaltable.admin.topology import look

    now = look(addresses_of(endpoints), tls())
    if as_json:
        print(json.dumps(record(now)))
    else:
        console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
        console.print(_nodes(now))
        console.print()
        console.print(_groups(now))
    if not all(group.leader for group in now.groups):
        raise typer.Exit(ExitStatus.UNAVAILABLE)


@member.command()
def add(
    name: Name,
    region: Region,
    peer: PeerAddress,
    client: ClientAddress,
    learner: Annotated[
        bool, typer.Option("--learner", help="Of a region that only reads: no vote.")
    ] = False,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Timeout = 600.0,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Add a node, and move replicas to it until all nodes hold equally many.

    Start it with `globaltable node --join`, before or after. Waits until every group is there.
    """
    from globaltable.v1 import admin_pb2 as pb

    node = pb.MemberNode(name=name, region=region, peer=peer, client=client, learner=learner)
    carry_out(pb.ChangeTopologyRequest(add=node), endpoints, timeout_s, no_wait, as_json)


@member.command()
def remove(
    node: NodeName,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Timeout = 600.0,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Remove a node, up or down: others take its replicas, and then it stops by itself."""
    from globaltable.v1 import admin_pb2 as pb

    carry_out(pb.ChangeTopologyRequest(remove=node), endpoints, timeout_s, no_wait, as_json)


@member.command()
def replace(
    node: NodeName,
    name: Name,
    region: Region,
    peer: PeerAddress,
    client: ClientAddress,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Timeout = 600.0,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Have another node take all replicas of one, which then stops: in its region or a new one."""
    from globaltable.v1 import admin_pb2 as pb

    new = pb.MemberNode(name=name, region=region, peer=peer, client=client)
    request = pb.ChangeTopologyRequest(replace=pb.ReplaceNode(name=node, node=new))
    carry_out(request, endpoints, timeout_s, no_wait, as_json)


@member.command()
def replicas(
    count: Annotated[int, typer.Argument(metavar="3|5", show_default=False)],
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Timeout = 600.0,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Have every group grow to 5 replicas, or shrink to 3."""
    from globaltable.v1 import admin_pb2 as pb

    if not 0 < count < 100:
        raise typer.BadParameter(f"{count}: give 3 or 5")
    carry_out(pb.ChangeTopologyRequest(replicas=count), endpoints, timeout_s, no_wait, as_json)


# --- changes, and how far they are ----------------------------------------------------------------


def carry_out(
    request: "pb.ChangeTopologyRequest",
    endpoints: str,
    timeout_s: float,
    no_wait: bool,
    as_json: bool,
    *,
    until_led: bool = False,
) -> None:
    """Ask for a change, and show how far it is until it is done; `until_led`: until each group is
    led by whom it should be."""
    began = time.monotonic()
    topology, addresses = decide(request, endpoints, timeout_s)
    if not as_json:
        print(f"decided: version {topology.version} of the topology")
    if no_wait:
        if as_json:
            print(json.dumps({"version": topology.version, "done": False}))
        return
    told: dict[int, str] = {}

    def is_done(now: "ClusterProgress") -> bool:
        to_hand_over = now.led_by_others() if until_led else now.led_by_drained()
        _tell_news(now, told, as_json, to_hand_over)
        return now.is_settled and not to_hand_over

    now = wait_until(
        is_done,
        addresses,
        topology.version,
        began=began,
        timeout_s=timeout_s,
        shown_by="globaltable member list shows what it waits for",
    )
    took_s = time.monotonic() - began
    if as_json:
        print(json.dumps({"version": topology.version, "done": True, "seconds": round(took_s, 2)}))
    else:
        print(f"done after {took_s:.1f} s: {len(now.groups)} groups are as wanted")


def _tell_news(
    now: "ClusterProgress", told: dict[int, str], as_json: bool, to_hand_over: list[int]
) -> None:
    """A line for each group whose standing is another than was told last."""
    nodes = now.topology.node_by_name
    for group in now.groups:
        number = group.wanted.number
        waits_for = group.waits_for
        if not waits_for and number in to_hand_over:
            drained = group.leader in nodes and nodes[group.leader].drained
            leader = group.leader + (", which is drained," if drained else "")
            waits_for = f"{leader} to hand over to {now.topology.preferred(group.wanted)}"
        line = f"{_members(group.voters, group.learners)}: " + (waits_for or "as wanted")
        if told.get(number, "") == line or (not waits_for and number not in told):
            continue
        told[number] = line
        if as_json:
            print(json.dumps({"group": number, **_standing(group), "waits_for": waits_for}))
        else:
            wanted = _members(group.wanted.replicas, group.wanted.learners)
            print(f"group {number}: {line}" + (f" -> {wanted}" if group.waits_for else ""))
        sys.stdout.flush()


def _members(voters: tuple[str, ...], learners: tuple[str, ...]) -> str:
    return ", ".join([*sorted(voters), *(f"({name})" for name in sorted(learners))])


def _standing(group: Any) -> dict[str, Any]:
    return {
        "leader": group.leader,
        "voters": sorted(group.voters),
        "learners": sorted(group.learners),
        "wanted_voters": sorted(group.wanted.replicas),
        "wanted_learners": sorted(group.wanted.learners),
    }


def record(now: "ClusterProgress") -> dict[str, Any]:
    return {
        "version": now.topology.version,
        "nodes": [
            {
                "name": node.name,
                "region": node.region,
                "peer": node.peer,
                "client": node.client,
                "learner": node.learner,
                "drained": node.drained,
                "answers": node.name not in now.silent,
            }
            for node in now.topology.nodes
        ],
        "leaving": [node.name for node in now.leaving],
        "groups": [
            {
                "group": g.wanted.number,
                "geo": g.wanted.geo,
                **_standing(g),
                "waits_for": now.waits_for(g),
            }
            for g in now.groups
        ],
    }


def _nodes(now: "ClusterProgress") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("NODE", "REGION", "PEER", "CLIENT", "REPLICAS", "LEADS", "STATE"):
        table.add_column(title)
    for node in now.topology.nodes:
        held = sum(node.name in (*g.voters, *g.learners) for g in now.groups)
        leads = sum(g.leader == node.name for g in now.groups)
        state = state_of(node, now)
        table.add_row(node.name, node.region, node.peer, node.client, str(held), str(leads), state)
    for node in now.leaving:
        held = sum(node.name in (*g.voters, *g.learners) for g in now.groups)
        leads = sum(g.leader == node.name for g in now.groups)
        row = (node.name, node.region, node.peer, node.client, str(held), str(leads), "leaving")
        table.add_row(*row)
    return table


def state_of(node: "Node", now: "ClusterProgress") -> str:
    states = ["reads only"] if node.learner else []
    states += ["drained"] if node.drained else []
    states += ["does not answer"] if node.name in now.silent else []
    return ", ".join(states) or "up"


def _groups(now: "ClusterProgress") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    geos = ("GEO",) if now.topology.geos else ()
    for title in ("GROUP", *geos, "LEADER", "MEMBERS", "WANTED", "WAITS FOR"):
        table.add_column(title)
    for group in now.groups:
        wanted = _members(group.wanted.replicas, group.wanted.learners)
        members = _members(group.voters, group.learners)
        table.add_row(
            str(group.wanted.number),
            *((group.wanted.geo or "(default)",) if geos else ()),
            group.leader or "none",
            members,
            wanted if wanted != members else "the same",
            now.waits_for(group) or "nothing",
        )
    return table
