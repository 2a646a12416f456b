"""The routing service's messages, made of a router's values and taken apart into them."""

from typing import Final

from globaltable.errors import (
    DeadlineExceeded,
    GlobalTableError,
    NotBound,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from globaltable.routing.client.route_book import SOURCE_OF
from globaltable.routing.config import Layer
from globaltable.routing.context import Context
from globaltable.routing.fleet import Fleet, Unit, UnitState
from globaltable.routing.resolution import NoHome, NoUnit, Resolution, RouteChange
from globaltable.routing.route import Route
from globaltable.routing.route_cache import CachedRoute
from globaltable.v1 import routing_pb2 as pb

SOURCES: Final = {source: number for number, source in SOURCE_OF.items()}
LAYERS: Final = {Layer.L0: pb.LAYER_L0, Layer.L1: pb.LAYER_L1, Layer.L2: pb.LAYER_L2}
STATES: Final = {
    UnitState.SERVING: pb.UNIT_STATE_SERVING,
    UnitState.DRAINED: pb.UNIT_STATE_DRAINED,
    UnitState.UNHEALTHY: pb.UNIT_STATE_UNHEALTHY,
}


def context_of(query: pb.RouteQuery) -> Context:
    """What a query says of who asks."""
    return Context(query.region, query.creator, dict(query.attributes))


def result(outcome: Resolution | GlobalTableError, fleet: Fleet) -> pb.RouteResult:
    """An answer, or why there is none."""
    if isinstance(outcome, GlobalTableError):
        return pb.RouteResult(failure=failure_of(outcome), message=str(outcome))
    return pb.RouteResult(
        route=route_message(outcome.route, outcome.header, fleet),
        source=SOURCES[outcome.source],
        layer=LAYERS[outcome.layer],
    )


def route_message(route: Route, header: bytes | None, fleet: Fleet) -> pb.Route:
    """A route, with the address of its unit."""
    dimension, key, unit, version, expires_at_s = route
    known = fleet.units.get(unit)
    return pb.Route(
        dimension=dimension,
        key=key,
        unit=unit,
        version=version,
        expires_at_s=expires_at_s,
        header=header or b"",
        address=known.address if known is not None else "",
    )


def failure_of(error: GlobalTableError) -> pb.RouteFailure:
    """What the caller can do about it."""
    match error:
        case NoHome():
            return pb.ROUTE_FAILURE_NO_HOME
        case NotBound():
            return pb.ROUTE_FAILURE_NOT_BOUND
        case NoUnit():
            return pb.ROUTE_FAILURE_NO_UNIT
        case Rejected():
            return pb.ROUTE_FAILURE_INVALID_ARGUMENT
        case OutcomeUnknown():
            return pb.ROUTE_FAILURE_UNKNOWN
        case Unavailable() | DeadlineExceeded():
            return pb.ROUTE_FAILURE_UNAVAILABLE
        case _:
            return pb.ROUTE_FAILURE_INTERNAL


def update(change: RouteChange, made: CachedRoute | None, fleet: Fleet) -> pb.RouteUpdate:
    """A change, and the route it has made; none if the key is bound no more."""
    if made is None:
        gone = pb.Route(dimension=change.dimension, key=change.key, version=change.version)
        return pb.RouteUpdate(route=gone)
    return pb.RouteUpdate(route=route_message(made.route, made.header, fleet))


def unit_status(unit: Unit, state: UnitState) -> pb.UnitStatus:
    """A unit, and how it fares."""
    return pb.UnitStatus(
        name=unit.name,
        region=unit.region,
        address=unit.address,
        capacity=unit.capacity,
        tags=sorted(unit.tags),
        state=STATES[state],
    )
