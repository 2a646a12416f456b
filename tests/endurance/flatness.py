"""Whether what a node holds stays what it was, once it has found its size.

Responsible for the rule: of a process that lived through the whole run, the median of the last
quarter may be above that of the second quarter by a tenth and a little. The first quarter is left
out, for caches fill in it; medians, for a fault makes queues longer for a while.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tests.endurance.samples import Held, Sample

GROWTH_MAX: Final = 1.10
SAMPLES_MIN: Final = 8


class Resource(NamedTuple):
    """One of the things that are to stay flat."""

    name: str
    of: Callable[[Held], int]
    slack: int
    """Growth that says nothing, however small the whole is."""


RESOURCES: Final = (
    Resource("memory", lambda held: held.rss_bytes, 4 << 20),
    Resource("descriptors", lambda held: held.descriptors, 8),
    Resource("disk", lambda held: held.disk_bytes, 8 << 20),
)


class Growth(NamedTuple):
    """Of one resource at one node."""

    node: str
    resource: str
    early: float
    late: float
    is_flat: bool

    @property
    def ratio(self) -> float:
        return self.late / self.early if self.early else 1.0


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """Of each node whose process lived through the whole run, and of the disk of all.

    A process that is killed begins with little memory again, so that its growth is not to be told
    from that; its disk stays. Nothing if there are too few samples to say.
    """
    if len(samples) < SAMPLES_MIN:
        return []
    quarter = len(samples) // 4
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    found = []
    for node in samples[0].held:
        lived = samples[0].lives[node] == samples[-1].lives[node]
        for resource in RESOURCES:
            if lived or resource.name == "disk":
                early = _median(second, node, resource)
                late = _median(last, node, resource)
                is_flat = late <= early * GROWTH_MAX + resource.slack
                found.append(Growth(node, resource.name, early, late, is_flat))
    return found


def _median(samples: Sequence[Sample], node: str, resource: Resource) -> float:
    return statistics.median(
        resource.of(sample.held[node]) for sample in samples if node in sample.held
    )
