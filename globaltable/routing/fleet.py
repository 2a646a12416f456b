"""The units there are, and which of them may be given something new.

Responsible for what is known of units at one moment, as a value. How it is learnt is not its
matter: that a unit is drained is an operator's word, that it is not healthy a prober's.

Invariant: state decides only where *new* sessions go and whom clients connect to. What a unit owns
stays its own, for its data is there, however it fares.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Self

from globaltable.errors import ConfigError

FAR_MS: Final = 1_000.0
"""The round trip to a region of which none is known: behind all that are."""


class UnitState(enum.Enum):
    """Whether a unit may be given something new."""

    SERVING = "serving"
    DRAINED = "drained"
    """Nothing new, by an operator's word."""
    UNHEALTHY = "unhealthy"
    """Nothing new, for it does not answer."""


class Unit(NamedTuple):
    """One unit, as it is configured."""

    name: str
    region: str
    capacity: float = 1.0
    """Its share of new sessions, beside the other units' capacities."""
    address: str = ""
    tags: frozenset[str] = frozenset()


class Selection(NamedTuple):
    """Some of the units: those that any of the three names. With nothing named, all."""

    units: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    @property
    def is_everything(self) -> bool:
        return not (self.units or self.regions or self.tags)

    def includes(self, unit: Unit) -> bool:
        return (
            self.is_everything
            or unit.name in self.units
            or unit.region in self.regions
            or not self.tags.isdisjoint(unit.tags)
        )


EVERYTHING: Final = Selection()


@dataclass(frozen=True)
class Distances:
    """Round trips between regions, in milliseconds; a region is 0 from itself."""

    pairs_ms: Mapping[frozenset[str], float] = field(default_factory=dict)
    round_trip_ms: float = FAR_MS
    """Of the pairs that are not named."""

    def between_ms(self, a: str, b: str) -> float:
        return 0.0 if a == b else self.pairs_ms.get(frozenset((a, b)), self.round_trip_ms)


@dataclass(frozen=True)
class Fleet:
    """All units, and how each stands. `with_state` makes the next moment's from this one."""

    units: Mapping[str, Unit]
    distances: Distances = field(default_factory=Distances)
    drained: frozenset[str] = frozenset()
    unhealthy: frozenset[str] = frozenset()

    @classmethod
    def of(cls, units: Iterable[Unit], distances: Distances | None = None) -> Self:
        """A fleet in which all serve."""
        return cls({unit.name: unit for unit in units}, distances or Distances())

    def state(self, name: str) -> UnitState:
        """How a unit stands; drained goes before unhealthy, for it holds longer."""
        if name in self.drained:
            return UnitState.DRAINED
        return UnitState.UNHEALTHY if name in self.unhealthy else UnitState.SERVING

    def with_drained(self, names: Iterable[str]) -> "Fleet":
        return replace(self, drained=frozenset(names) & self.units.keys())

    def with_unhealthy(self, names: Iterable[str]) -> "Fleet":
        """If none would be left that is healthy, it is whoever probes that is cut off, and all
        stay as good as each other."""
        unhealthy = frozenset(names) & self.units.keys()
        if unhealthy == self.units.keys():
            unhealthy = frozenset()
        return replace(self, unhealthy=unhealthy)

    def without(self, selection: Selection) -> "Fleet":
        """The fleet less those units. An empty selection takes none away."""
        if selection.is_everything:
            return self
        left = {name: unit for name, unit in self.units.items() if not selection.includes(unit)}
        return replace(self, units=left)

    def may_take(self, name: str) -> bool:
        """Whether a unit exists and may be given something new."""
        return name in self.units and self.state(name) is UnitState.SERVING

    def available(self, selection: Selection = EVERYTHING) -> Iterator[Unit]:
        """The units among those selected that may be given something new."""
        for name, unit in self.units.items():
            if self.may_take(name) and selection.includes(unit):
                yield unit

    def nearest(self, region: str, selection: Selection = EVERYTHING) -> list[Unit]:
        """Of the available units those at the least round trip from `region`, all equally far."""
        distance_ms = self.distances.between_ms
        units = list(self.available(selection))
        least = min((distance_ms(region, unit.region) for unit in units), default=0.0)
        return [unit for unit in units if distance_ms(region, unit.region) == least]

    def require(self, setting: str, name: str) -> None:
        """Refuse the name of a unit that there is not."""
        if name not in self.units:
            raise ConfigError(
                f"{setting} = {name!r} is no unit; those there are: {', '.join(sorted(self.units))}"
            )
