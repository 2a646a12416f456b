"""Regions without a network of their own: whoever is measured injects the latency itself."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from globaltable.bench.round_trips import RoundTrips


class Injected:
    """A `Network` in name: everything is on 127.0.0.1, and nothing lies between."""

    kind: ClassVar[Literal["injected"]] = "injected"

    def __init__(self, regions: Sequence[str], round_trips: RoundTrips) -> None:
        round_trips.check(regions)
        self.regions = tuple(regions)
        self.hosts: Mapping[str, str] = {}
        self.wrappers: Mapping[str, Sequence[str]] = {}
        self._round_trips = round_trips

    def round_trip_ms(self, a: str, b: str) -> float:
        return self._round_trips.between(a, b)

    def cut(self, a: str, b: str) -> None:
        raise NotImplementedError(
            f"{a} and {b} cannot be cut from each other: the network is 'injected'; cuts need the"
            " kind 'namespaces'"
        )

    heal = cut
