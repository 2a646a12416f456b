"""One message, accepted by a unit or refused by a typed error: what all integrations share.

Responsible for the order that `Unit` asks for: decide, enter, make durable, confirm, and only then
acknowledge; and for the names under which a decision travels.

Invariant: what runs within `admitted` runs under a permit, and if it raises, or the unit may not
acknowledge it, whoever sent the message is told an error.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote, unquote

from globaltable.errors import InvalidArgument, NotBound, Rejected, Unavailable
from globaltable.routing.client.unit import Decision
from globaltable.routing.fence import Moving, NotConfirmed, Permit, Verdict
from globaltable.routing.route import Route

ROUTE: Final = "x-globaltable-route"
"""The header: as text in HTTP, as bytes under `ROUTE_BIN` in gRPC."""
ROUTE_BIN: Final = "x-globaltable-route-bin"
VERDICT: Final = "x-globaltable-verdict"
UNIT: Final = "x-globaltable-unit"
"""Percent-encoded, for metadata and HTTP headers are ASCII, and names of units need not be."""
VERSION: Final = "x-globaltable-version"
EXPIRES: Final = "x-globaltable-expires-at"
RETRY_AFTER: Final = "x-globaltable-retry-after-ms"
FORWARDED: Final = "x-globaltable-forwarded"
"""Of what one unit sends another: it is not forwarded again, so nothing goes round in circles."""
UNCONFIRMED: Final = "unconfirmed"
"""The verdict on a message that may be durable, and must not be acknowledged."""

_DIGITS_MAX: Final = 20


class Gate(Protocol):
    """What decides: `globaltable.routing.client.unit.Unit`."""

    async def decide(self, dimension: str, key: str, header: bytes = b"") -> Decision: ...

    def enter(self, decision: Decision) -> Permit: ...

    def confirm(self, permit: Permit) -> None: ...


class LivesElsewhere(Rejected):
    """The key lives in another unit, `route.unit`. Nothing happened here."""

    def __init__(self, decision: Decision) -> None:
        assert decision.route is not None, decision
        self.decision: Final = decision
        self.route: Final = decision.route
        super().__init__(f"{decision.key!r} lives in unit {self.route.unit!r}; send it there")


class ComeAgain(Unavailable):
    """The unit cannot tell now. Nothing happened; send it again after `retry_after_s`."""

    def __init__(self, decision: Decision) -> None:
        self.decision: Final = decision
        self.retry_after_s: Final = decision.retry_after_s
        super().__init__(
            f"{decision.key!r} is not served now ({decision.verdict.value}); "
            f"try again after {decision.retry_after_s:g} s"
        )


class Admitted(NamedTuple):
    """A message under way."""

    decision: Decision
    permit: Permit


_current: Final[ContextVar[Admitted]] = ContextVar("globaltable_admitted")


def current() -> Admitted:
    """The message that this code runs for; `current().permit.version` is what its data may be
    stamped with. Raises InvalidArgument where there is none."""
    try:
        return _current.get()
    except LookupError:
        raise InvalidArgument("no message has been admitted here: is the method routed?") from None


async def decided(gate: Gate, dimension: str, key: str, header: bytes = b"") -> Decision:
    """The decision of a message that this unit serves. Raises LivesElsewhere, ComeAgain, NotBound,
    and InvalidArgument for a name that cannot be."""
    decision = await gate.decide(dimension, key, header)
    match decision.verdict:
        case Verdict.SERVE:
            return decision
        case Verdict.MOVED | Verdict.FORWARD:
            raise LivesElsewhere(decision)
        case Verdict.NOT_BOUND:
            raise NotBound(key)
        case _:
            raise ComeAgain(decision)


@asynccontextmanager
async def admitted(
    gate: Gate, dimension: str, key: str, header: bytes = b""
) -> AsyncIterator[Admitted]:
    """Run the body under a permit, and confirm it: acknowledge after the `async with`.

    Raises what `decided` does, Moving, and NotConfirmed if the body must not be acknowledged.
    """
    decision = await decided(gate, dimension, key, header)
    with gate.enter(decision) as permit:
        message = Admitted(decision, permit)
        token = _current.set(message)
        try:
            yield message
        finally:
            _current.reset(token)
        gate.confirm(permit)


def carried(decision: Decision) -> dict[str, str]:
    """What a decision tells besides its header, as text. Who asked has the names already."""
    told = {VERDICT: decision.verdict.value}
    if decision.route is not None:
        told[UNIT] = quote(decision.route.unit)
        told[VERSION] = str(decision.route.version)
        told[EXPIRES] = str(decision.route.expires_at_s)
    if decision.retry_after_s:
        told[RETRY_AFTER] = str(max(1, round(decision.retry_after_s * 1_000)))
    return told


def carried_error(error: Exception) -> dict[str, str]:
    """The same of an error of `admitted`."""
    match error:
        case LivesElsewhere() | ComeAgain():
            return carried(error.decision)
        case Moving():
            milliseconds = str(max(1, round(error.retry_after_s * 1_000)))
            return {VERDICT: Verdict.MOVING.value, RETRY_AFTER: milliseconds}
        case NotConfirmed():
            return {VERDICT: UNCONFIRMED}
        case NotBound():
            return {VERDICT: Verdict.NOT_BOUND.value}
        case _:
            return {}


def route_of(dimension: str, key: str, told: Mapping[str, str]) -> Route | None:
    """The route that came with an answer; None if there was none, or none that can be read."""
    unit, version, expires = told.get(UNIT), told.get(VERSION, ""), told.get(EXPIRES, "")
    if not unit or not _is_number(version) or not _is_number(expires):
        return None
    return Route(dimension, key, unquote(unit), int(version), int(expires))


def retry_after_s_of(told: Mapping[str, str]) -> float:
    """When to come again, in seconds; 0.0 if that was not told."""
    text = told.get(RETRY_AFTER, "")
    return int(text) / 1_000 if _is_number(text) else 0.0


def _is_number(text: str) -> bool:
    return len(text) <= _DIGITS_MAX and text.isascii() and text.isdigit()
