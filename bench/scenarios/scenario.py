"""What all scenarios have in common: the stage they play on, and how they are declared."""

import itertools
import uuid
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from globaltable.bench.findings import Findings
from globaltable.bench.histogram import Histogram
from globaltable.bench.network import Network, ping_ms
from globaltable.bench.results import Measurement
from globaltable.bench.systems import Running, Target
from globaltable.errors import GlobalTableError

PINGS_AT_A_TIME: Final = 40

T = TypeVar("T")


class CannotMeasure(GlobalTableError):
    """The scenario, or a part of it, cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The regions and what joins them, and the pings seen so far: the limit of the same run."""

    network: Network
    repeats: int
    say: Callable[[str], None]
    """Progress, for whoever waits."""
    pings: dict[str, Histogram] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    """Parts that failed, while others were measured."""
    _labels: Iterator[int] = field(default_factory=itertools.count)
    _run: str = field(default_factory=lambda: uuid.uuid4().hex[:6])

    def with_repeats(self, repeats: int) -> "Stage":
        """The same stage, with the same pings, for more or fewer repeats."""
        return replace(self, repeats=repeats)

    def over(self, network: Network) -> "Stage":
        """The same run over other links, with pings of their own."""
        return replace(self, network=network, pings={})

    def label(self, what: str) -> str:
        """Begins keys that nobody else has used."""
        return f"{self._run}:{next(self._labels)}:{what}"

    def ping(self, count: int = PINGS_AT_A_TIME) -> None:
        """A TCP echo over each pair; called beside what it is compared with, in the same run."""
        for a, b in itertools.combinations(self.network.regions, 2):
            seen = self.pings.setdefault(f"{a}-{b}", Histogram())
            for round_trip_ms in ping_ms(self.network, a, b, count):
                seen.record(round_trip_ms / 1_000)

    def ping_p50_ms(self, a: str, b: str) -> float:
        seen = self.pings.get(f"{a}-{b}") or self.pings.get(f"{b}-{a}")
        assert seen is not None, f"{a}-{b} was not pinged"
        return seen.percentile_ms(50)

    def targets(self, running: Running) -> dict[str, Target]:
        """What clients connect to, by region."""
        return {region: running.target(region) for region in self.network.regions}


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    summary: str
    """One line: what it answers."""
    measure: Callable[[Stage, Namespace], Iterator[Measurement]]
    add_options: Callable[[ArgumentParser], None]
    short: Sequence[str] = ()
    """Options for its part in `all`."""
    repeats_in_all: int | None = 2
    """None: as many as are asked for."""


def figures_of(total: Findings, settle_s: float, seconds: float) -> dict[str, float]:
    """What is said of every load: the rate amid it, and what became of the ops.

    The rate leaves out the first and the last tenth, when not everybody is under way.
    """
    middle_s = (settle_s + 0.1 * seconds, settle_s + 0.9 * seconds)
    return {
        "binds_per_s": total.rate_per_s(middle_s),
        "failed": float(total.failed),
        "missed": float(total.missed),
        "client_cpu_share": total.cpu_share,
        **{f"failed:{name}": float(count) for name, count in total.errors.items()},
        **percentiles_of(total.answered),
    }


def percentiles_of(histogram: Histogram) -> Mapping[str, float]:
    """None if nothing was answered."""
    if not histogram.count:
        return {}
    return {
        "p50_ms": histogram.percentile_ms(50),
        "p99_ms": histogram.percentile_ms(99),
        "p999_ms": histogram.percentile_ms(99.9),
    }


def comma_separated(kind: Callable[[str], T]) -> Callable[[str], list[T]]:
    """For argparse: `64,256,1024`; nothing is an empty list."""

    def parse(text: str) -> list[T]:
        return [kind(part) for part in text.split(",") if part]

    parse.__name__ = "list"
    return parse
