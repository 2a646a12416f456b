"""What a node does now, told from two looks at what it has done since it was started."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Done(Protocol):
    """What a node has done since it was started (`WorkStatus`)."""

    @property
    def ops(self) -> int: ...
    @property
    def overloaded(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def keys_read(self) -> int: ...
    @property
    def commit_bounds_s(self) -> Sequence[float]: ...
    @property
    def commit_counts(self) -> Sequence[int]: ...


class Told(Protocol):
    """What a node says of itself: the client library's value, or the message that it came as."""

    @property
    def uptime_s(self) -> float: ...
    @property
    def work(self) -> Done: ...


class NodePace(NamedTuple):
    """Between two looks; each a second, and latencies in seconds, None if no batch ended."""

    ops: float
    overloaded: float
    failed: float
    keys_read: float
    commit_p50_s: float | None
    commit_p99_s: float | None


def pace(before: Told, now: Told) -> NodePace | None:
    """None if the node was started between the looks, or no time has passed."""
    seconds = now.uptime_s - before.uptime_s
    old, new = before.work, now.work
    if seconds <= 0 or new.ops < old.ops or new.commit_bounds_s != old.commit_bounds_s:
        return None
    counts = [
        late - early for early, late in zip(old.commit_counts, new.commit_counts, strict=True)
    ]
    return NodePace(
        ops=(new.ops - old.ops) / seconds,
        overloaded=(new.overloaded - old.overloaded) / seconds,
        failed=(new.failed - old.failed) / seconds,
        keys_read=(new.keys_read - old.keys_read) / seconds,
        commit_p50_s=quantile(0.5, new.commit_bounds_s, counts),
        commit_p99_s=quantile(0.99, new.commit_bounds_s, counts),
    )


def quantile(share: float, bounds_s: Sequence[float], counts: Sequence[int]) -> float | None:
    """Between the bounds of its bucket in proportion, as Prometheus does it; of what is above the
    last bound, that bound. None if there is nothing."""
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    below = 0
    for place, count in enumerate(counts[:-1]):
        if count and below + count >= wanted:
            lower = bounds_s[place - 1] if place else 0.0
            return lower + (bounds_s[place] - lower) * (wanted - below) / count
        below += count
    return bounds_s[-1]
