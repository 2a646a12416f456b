"""How far the regions of a bench are from each other, as a value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

ROUND_TRIP_MS_MAX: Final = 60_000.0


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """The round trip that is added between two regions: one for all, or some pairs' own."""

    default_ms: float
    pairs: Mapping[frozenset[str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for pair in self.pairs:
            if len(pair) != 2:
                raise ValueError(f"a round trip is between two regions, not {sorted(pair)}")
        for value_ms in (self.default_ms, *self.pairs.values()):
            if not 0 <= value_ms <= ROUND_TRIP_MS_MAX:
                raise ValueError(
                    f"a round trip of {value_ms} ms: must be from 0 to {ROUND_TRIP_MS_MAX:.0f} ms"
                )

    def between(self, a: str, b: str) -> float:
        """In ms; 0 within a region."""
        return 0.0 if a == b else self.pairs.get(frozenset((a, b)), self.default_ms)

    def check(self, regions: Iterable[str]) -> None:
        """Raise ValueError if a pair names a region that there is not."""
        known = {frozenset(pair) for pair in combinations(regions, 2)}
        for pair in self.pairs.keys() - known:
            raise ValueError(f"a round trip between {sorted(pair)}: there are no such two regions")
