"""Ops, reads and watches go where the replicas of a node know a slot to be."""

from globaltable.deal import NOTHING, Deal
from globaltable.holdings import Holding, Holdings, HoldingState
from globaltable.model import qualified_name
from globaltable.server.slot_routes import SlotRoutes
from globaltable.topology import one_node_each, slot_of, spread

SLOTS = 16
SLOT = 6
TOPOLOGY = spread("im", one_node_each("abc"), 2, 3, SLOTS)
NAME = next(
    name
    for number in range(1_000)
    if slot_of(name := qualified_name("t", f"k{number}"), SLOTS) == SLOT
)


def _released(hop: int, to: int) -> Holding:
    return Holding(HoldingState.RELEASED, hop, to, 9)


def _held(hop: int) -> Holding:
    return Holding(HoldingState.HELD, hop, 1, 9, adopted=hop)


def _routes(**moved: Holding) -> SlotRoutes:
    """Of a node with replicas of both groups, which hold this of the slot."""
    routes = SlotRoutes(TOPOLOGY)
    for name, group in (("a", 0), ("b", 1)):
        holdings = Holdings(Deal(group, 2), SLOTS)
        if name in moved:
            holdings = holdings.changed(SLOT, moved[name], 0)
        routes.learn(group, holdings)
    return routes


def test_a_slot_that_was_never_moved_is_where_it_was_dealt() -> None:
    assert _routes().group_of(NAME) == SLOT % 2 == 0
    assert SlotRoutes(TOPOLOGY).groups_of([NAME]) == [0]


def test_the_highest_hop_counts_whichever_replica_says_so() -> None:
    assert _routes(a=_released(1, 1)).group_of(NAME) == 1
    assert _routes(b=_held(1)).group_of(NAME) == 1, "the source has yet to apply its release"
    assert _routes(a=_released(1, 1), b=_held(1)).group_of(NAME) == 1
    assert _routes(a=_held(2), b=_released(2, 0)).group_of(NAME) == 0
    assert _routes(a=_released(1, 1), b=_released(2, 0)).group_of(NAME) == 0


def test_what_is_copied_or_refused_is_not_there() -> None:
    for state in (HoldingState.COPYING, HoldingState.REFUSED):
        assert _routes(b=Holding(state, 1, 0, 9)).group_of(NAME) == 0


def test_what_is_reclaimed_is_here_again() -> None:
    reclaimed = Holding(HoldingState.HELD, 1, -1, 12)
    assert _routes(a=reclaimed, b=Holding(HoldingState.REFUSED, 1, 0, 9)).group_of(NAME) == 0


def test_a_step_is_learnt_of_the_slots_that_it_changed() -> None:
    routes = _routes()
    holdings = Holdings(Deal(0, 2), SLOTS).changed(SLOT, _released(1, 1), 0)
    routes.moved(0, holdings, [SLOT])
    assert routes.group_of(NAME) == 1
    added = Holdings(NOTHING, SLOTS).changed(SLOT, _held(3), 0)
    routes.moved(1, added, [SLOT])
    assert routes.group_of(NAME) == 1
