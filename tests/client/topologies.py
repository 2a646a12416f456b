"""Topologies as nodes tell them."""

from collections.abc import Mapping, Sequence

from globaltable.v1 import globaltable_pb2 as pb

SLOTS = 4_096
GROUPS = 8


def told(
    nodes: Mapping[str, str],
    holders: Sequence[Sequence[str]],
    *,
    by: str = "",
    version: int = 1,
    slots: int = SLOTS,
) -> pb.TopologyResponse:
    """`nodes` are addresses by name, a region's nodes being named a-1, a-2; `holders` the nodes of
    each group, by its number."""
    names = list(nodes)
    return pb.TopologyResponse(
        version=version,
        node=by,
        slots=slots,
        owners=range(len(holders)),
        nodes=[
            pb.TopologyNode(name=name, region=name.partition("-")[0], address=address)
            for name, address in nodes.items()
        ],
        groups=[pb.TopologyGroup(holders=[names.index(n) for n in held]) for held in holders],
    )


def everywhere(*addresses: str) -> pb.TopologyResponse:
    """A node in each region, and all of them hold all groups."""
    nodes = {f"{chr(ord('a') + number)}": address for number, address in enumerate(addresses)}
    return told(nodes, [list(nodes)] * GROUPS)
