"""Deliberate faults that the loss of a region must bring to light: each takes one rule away."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from globaltable.client._exchange import Exchange
from globaltable.leadership import Leadership
from globaltable.raft.elections import Elections
from globaltable.server.watches import Change, Watcher, Watches
from globaltable.topology import SLOTS_DEFAULT, Group, Node, Topology
from tests.simulation.mutants import durability, telling
from tests.simulation.mutants.mutant import Mutant
from tests.simulation.regions import world
from tests.simulation.regions.plan import SMALL, Loss, Plan, draw


class RegionMutant(NamedTuple):
    mutant: Mutant
    plan: Plan
    """The run in which it is noticed."""
    says: str
    """What is violated then."""


def _regardless_of_regions(
    cluster: str, nodes: Sequence[Node], groups: int, replicas: int, slots: int = SLOTS_DEFAULT
) -> Topology:
    """Neighbours hold a group: nodes are listed region by region."""
    names = [node.name for node in nodes]
    dealt = tuple(
        Group(number, tuple(names[(number + n) % len(names)] for n in range(replicas)))
        for number in range(groups)
    )
    return Topology(cluster, tuple(nodes), dealt, slots)


def _stay_where_it_is(self: Leadership, now: float) -> None:
    """Leadership is not handed back."""


def _give_no_way(self: Elections, rival: str) -> None:
    """Of several who are granted a pre-vote all campaign."""


def _learn_nothing(self: Exchange, node: int, data: bytes, now: float) -> None:
    """As a client that was told nothing of where groups are."""


def _offer_every_group(self: Watches, watcher: Watcher, change: Change) -> None:
    """As it was before the simulation of regions found it to end the node."""
    if watcher.live and change.revision > watcher.position[change.group]:
        watcher.offer(change)


_POWER: Final = SMALL._replace(seed=2, replicas=3, lost=("c",))
_LINKS: Final = SMALL._replace(seed=5, replicas=3, lost=("d",), loss=Loss.LINKS)


def _mutant(rule: str, *patches: tuple[Any, str, Any]) -> Mutant:
    return Mutant(rule, lambda: patches, 1)


MUTANTS: Final[dict[str, RegionMutant]] = {
    "replicas that share a region": RegionMutant(
        _mutant(
            "a group's replicas are in distinct regions",
            (world, "spread", _regardless_of_regions),
            (Topology, "__post_init__", lambda self: None),
        ),
        _POWER,
        "not led without c",
    ),
    "leadership that is not given back": RegionMutant(
        _mutant(
            "a preferred leader that has returned leads again",
            (Leadership, "_return_to_preferred", _stay_where_it_is),
        ),
        _LINKS,
        "led where they should not be",
    ),
    "rivals that give no way": RegionMutant(
        _mutant(
            "of several who would campaign one goes first",
            (Elections, "_give_way", _give_no_way),
        ),
        draw(9, SMALL),
        "though a majority was there",
    ),
    "a client that learns nothing": RegionMutant(
        _mutant("an op goes to a node that holds its group", (Exchange, "_learn", _learn_nothing)),
        _POWER,
        "though a majority was there",
    ),
    "a watch told of groups it does not name": RegionMutant(
        _mutant("a watch is of the groups it names", (Watches, "_offer", _offer_every_group)),
        _POWER,
        "KeyError",
    ),
    "a row not flushed": RegionMutant(durability.MUTANTS["a row not flushed"], _POWER, "led to"),
    "no memory of ops": RegionMutant(telling.MUTANTS["no memory of ops"], _LINKS, "led to"),
    "nothing persisted": RegionMutant(
        durability.MUTANTS["nothing persisted"], _POWER, "there is no log"
    ),
    "outcome by place": RegionMutant(telling.MUTANTS["outcome by place"], _POWER, "the log says"),
}
