"""How commit latency went at each node over the last minutes: samples in a ring, by node.

A sample is of the batches that ended between two looks at a node's histogram. Pure; time comes as
an argument.

Invariant: at most `SAMPLES_MAX` are kept of a node, and none of a node that is no more.
"""

from collections import deque
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from globaltable.pace import quantile

SAMPLES_MAX: Final = 150
"""Five minutes, at one every two seconds."""
GAP_S: Final = 10.0
"""Looks that are farther apart are no neighbours: what ended between them is not told apart."""


class Sample(NamedTuple):
    """Seconds; None if nothing ended."""

    at_s: float
    p50_s: float | None
    p99_s: float | None
    batches: int


class _Look(NamedTuple):
    at_s: float
    counts: tuple[int, ...]


class Course:
    def __init__(self) -> None:
        self._last: dict[str, _Look] = {}
        self._samples: dict[str, deque[Sample]] = {}

    def look(
        self, node: str, at_s: float, bounds_s: Sequence[float], counts: Sequence[int]
    ) -> None:
        """What a node has counted since it was started, by bucket (`Histogram`)."""
        now = _Look(at_s, tuple(counts))
        before = self._last.get(node)
        self._last[node] = now
        if before is None or len(before.counts) != len(now.counts) or not counts:
            return
        ended = [new - old for old, new in zip(before.counts, now.counts, strict=True)]
        if at_s - before.at_s > GAP_S or min(ended) < 0:
            # It was not looked at meanwhile, or was started anew.
            return
        sample = Sample(
            at_s, quantile(0.5, bounds_s, ended), quantile(0.99, bounds_s, ended), sum(ended)
        )
        self._samples.setdefault(node, deque(maxlen=SAMPLES_MAX)).append(sample)

    def keep(self, nodes: Collection[str]) -> None:
        """Forget all others."""
        for known in (self._last, self._samples):
            for node in known.keys() - set(nodes):
                del known[node]

    def of(self, node: str) -> Sequence[Sample]:
        """The oldest first."""
        return tuple(self._samples.get(node, ()))

    def latest(self, node: str, at_s: float) -> Sample | None:
        """The one taken at that look."""
        samples = self._samples.get(node)
        return samples[-1] if samples and samples[-1].at_s == at_s else None
