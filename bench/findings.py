"""What one worker process saw: counted as it happens, sent to the parent as JSON.

Responsible for the figures of one process. Every op that was begun is in exactly one histogram: by
what came of it (`won`, `lost`, `failed`), or by what was asked (`get`).

`Findings.total` adds up the processes that worked side by side.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

from globaltable.bench.histogram import Histogram

BIN_S: Final = 0.05
"""Of the timeline."""
WON: Final = "won"
LOST: Final = "lost"
FAILED: Final = "failed"


class Trace(NamedTuple):
    """One op, written down: for what happens around a failure. Seconds of CLOCK_MONOTONIC."""

    lane: str
    began_s: float
    ended_s: float
    done: bool


@dataclass(slots=True)
class Findings:
    """What one process, or several together, found."""

    latencies: dict[str, Histogram] = field(default_factory=dict)
    answers: int = 0
    """Of every kind but failures; several for a batch."""
    took_s: float = 0.0
    """From the start to the last answer."""
    bins: Counter[int] = field(default_factory=Counter)
    """Answers by `BIN_S` since the start."""
    errors: Counter[str] = field(default_factory=Counter)
    won: list[str] = field(default_factory=list)
    """Keys this process won, where it is asked which: several race for them, or they are minted."""
    traces: list[Trace] = field(default_factory=list)
    cpu_s: float = 0.0
    """Processor time of the process while it worked."""
    missed: int = 0
    """Ops whose time came and that were never begun: the load was far too high."""
    processes: int = 1

    def record(self, what: str, latency_s: float, at_s: float, count: int = 1) -> None:
        """An op ended `at_s` seconds after the start; a batch counts as many answers."""
        histogram = self.latencies.get(what)
        if histogram is None:
            histogram = self.latencies[what] = Histogram()
        histogram.record(latency_s)
        if what != FAILED:
            self.answers += count
            self.bins[int(at_s / BIN_S)] += count
            self.took_s = max(self.took_s, at_s)

    @property
    def cpu_share(self) -> float:
        """Of one core, for each process: near 1, the client is what was measured."""
        return self.cpu_s / self.took_s / self.processes if self.took_s else 0.0

    @property
    def answered(self) -> Histogram:
        """The latencies of all ops that were answered."""
        return Histogram.sum(h for what, h in self.latencies.items() if what != FAILED)

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    def rate_per_s(self, window_s: tuple[float, float]) -> float:
        """Answers a second between two moments after the start, in whole bins."""
        first, last = (round(at_s / BIN_S) for at_s in window_s)
        assert first < last, window_s
        return sum(self.bins[number] for number in range(first, last)) / ((last - first) * BIN_S)

    def timeline(self, bin_s: float = BIN_S) -> list[tuple[float, float]]:
        """Answers a second, by the beginning of each bin; bins without an answer are 0."""
        width = max(1, round(bin_s / BIN_S))
        if not self.bins:
            return []
        wide: Counter[int] = Counter()
        for number, count in self.bins.items():
            wide[number // width] += count
        seconds = width * BIN_S
        return [(number * seconds, wide[number] / seconds) for number in range(max(wide) + 1)]

    @classmethod
    def total(cls, parts: Sequence["Findings"]) -> Self:
        """All of them as one. They began together."""
        assert parts, "nobody worked"
        total = cls(processes=sum(part.processes for part in parts))
        for what in {what for part in parts for what in part.latencies}:
            has = [part.latencies[what] for part in parts if what in part.latencies]
            total.latencies[what] = Histogram.sum(has)
        for part in parts:
            total.answers += part.answers
            total.took_s = max(total.took_s, part.took_s)
            total.bins += part.bins
            total.errors += part.errors
            total.won += part.won
            total.traces += part.traces
            total.cpu_s += part.cpu_s
            total.missed += part.missed
        return total

    def to_json(self) -> dict[str, Any]:
        return {
            "latencies": {what: one.encode() for what, one in self.latencies.items()},
            "answers": self.answers,
            "took_s": self.took_s,
            "bins": sorted(self.bins.items()),
            "errors": dict(self.errors),
            "won": self.won,
            "traces": self.traces,
            "cpu_s": self.cpu_s,
            "missed": self.missed,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        return cls(
            latencies={w: Histogram.decode(t) for w, t in document["latencies"].items()},
            answers=document["answers"],
            took_s=document["took_s"],
            bins=Counter(dict(document["bins"])),
            errors=Counter(document["errors"]),
            won=document["won"],
            traces=[Trace(*trace) for trace in document["traces"]],
            cpu_s=document["cpu_s"],
            missed=document["missed"],
        )
