"""What a unit has made of route headers, for Prometheus: how many it believed, and why not others.

A collector that is asked at each scrape, so messages pay nothing for it:
`REGISTRY.register(RouteHeaders.of(hosted.unit))`. Series are bounded: a reason for each of
`Refusal`, and one more.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from globaltable.errors import InvalidArgument
from globaltable.routing.client.unit import Unit
from globaltable.routing.header import HeaderVerifier, Refusal
from globaltable.routing.verified import VerifiedHeaders

OF_ANOTHER_KEY: Final = "of another key"
"""Beside the reasons of `Refusal`: a good header, that came with a message of another key."""


class Counting(Protocol):
    """`Unit`."""

    headers_misplaced: int


class RouteHeaders(Collector):
    """Of one unit, or of a verifier that is used without one."""

    def __init__(self, verifier: HeaderVerifier, unit: Counting | None = None) -> None:
        self._verifier = verifier
        self._unit = unit

    @classmethod
    def of(cls, unit: Unit) -> "RouteHeaders":
        """What this unit checks headers by. Raises `InvalidArgument` if that does not count."""
        checking = unit.verifier
        if isinstance(checking, VerifiedHeaders):
            checking = checking.verifier
        if not isinstance(checking, HeaderVerifier):
            raise InvalidArgument(f"unit {unit.name!r} checks headers by {checking!r}, not counted")
        return cls(checking, unit)

    def describe(self) -> Iterable[CounterMetricFamily]:
        """The same names, without numbers."""
        return (_checked(), _refused())

    def collect(self) -> Iterable[CounterMetricFamily]:
        checked, refused = _checked(), _refused()
        checked.add_metric((), self._verifier.accepted)
        for reason in Refusal:
            refused.add_metric((reason.value,), self._verifier.refused[reason])
        if self._unit is not None:
            refused.add_metric((OF_ANOTHER_KEY,), self._unit.headers_misplaced)
        return (checked, refused)


def _checked() -> CounterMetricFamily:
    return CounterMetricFamily(
        "globaltable_route_headers_accepted",
        "Route headers checked and found good; one that is remembered is not checked again.",
    )


def _refused() -> CounterMetricFamily:
    return CounterMetricFamily(
        "globaltable_route_headers_refused",
        "Route headers refused, by reason; their messages go on as if they had none.",
        labels=("reason",),
    )
