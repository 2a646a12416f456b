"""Which levels each node understands, by its own word, and what prevents a higher one."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from globaltable.levels import FIRST, OF_BEFORE, Levels
from globaltable.v1 import admin_pb2 as pb

if TYPE_CHECKING:
    from globaltable.admin.topology import ClusterProgress


class NodeLevels(NamedTuple):
    """Of a node that answered."""

    understood: Levels
    noted: int
    """Its data directory may be used by no release that does not understand this one."""
    release: str
    """Empty of one of before there were levels."""


def levels_in(answers: Iterable[pb.TopologyStanding]) -> dict[str, NodeLevels]:
    return {answer.node: _levels_of(answer) for answer in answers}


def _levels_of(answer: pb.TopologyStanding) -> NodeLevels:
    said = answer.levels
    if not said.newest:
        return NodeLevels(OF_BEFORE, FIRST, "")
    return NodeLevels(Levels(said.oldest, said.newest), said.noted, answer.release)


def newest_of_any(now: "ClusterProgress") -> int:
    """The level that there is something to raise to; the present one if there is nothing."""
    known = [levels.understood.newest for levels in now.levels.values()]
    return max([now.topology.level, *known])


def hindrances(now: "ClusterProgress", level: int) -> Mapping[str, str]:
    """By node, why a level cannot be in force yet."""
    found = {}
    for name in now.topology.node_by_name:
        levels = now.levels.get(name)
        if levels is None:
            found[name] = "it does not answer"
        elif not levels.understood.understands(level):
            found[name] = f"it understands {levels.understood}"
    return found
