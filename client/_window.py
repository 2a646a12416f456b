"""How many ops a client has under way at one node: as many as the node answers in time.

What a node cannot do yet waits in the client, where it costs nothing and is let go when its caller
gives up. At the node it would be worked on all the same, and once its attempt had timed out be sent
to the next node too, so that all would work for nobody: goodput falls to nothing, and stays there
(Bronson et al., "Metastable Failures in Distributed Systems", HotOS 2021).

Responsible for that number, by node. It is not limited until outcomes come late, or are refused
because a queue is full. Then it becomes what the node has lately done in `AIM_S` (Little's law),
and grows again by as many as are answered in time. Only outcomes count: a group that has lost its
majority brings none, and one that has lost its leader for a moment brings few. For the same reason
what has had no answer for `LATE_S` takes no room any more: the other groups go on.

A node that refuses time after time, and does nothing in between, is asked less and less often.

Knows nothing of tickets and clocks.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from globaltable import limits

OPS_MAX: Final = limits.WRITE_OPS_MAX
"""At a round trip of 0.2 s still 20,000 a second."""
OPS_MIN: Final = 32
"""Enough for some thousand a second of a node that answers at once."""
LATE_S: Final = 0.5
AIM_S: Final = 0.25
PAUSE_S_MAX: Final = 1.0
_DOUBLINGS_MAX: Final = 8
_SMOOTHING: Final = 0.2


@dataclass(slots=True)
class _AtNode:
    ops_max: int = OPS_MAX
    under_way: int = 0
    """All that is unanswered, however long."""
    counted: int = 0
    """Of that, what takes room."""
    counted_of: OrderedDict[int, tuple[float, int]] = field(default_factory=OrderedDict)
    """By request: when it was sent, and how many of its ops take room."""
    cut_at: float = float("-inf")
    refusals: int = 0
    """Since the last outcome; of requests that left together, one."""
    paused_until: float = float("-inf")
    answered_in_s: float = 0.0
    """What an outcome took lately."""


class Window:
    """Of each node. Numbers of requests are never used again."""

    def __init__(self) -> None:
        self._at: dict[int, _AtNode] = {}

    def room(self, node: int, now: float) -> int:
        """How many ops may be sent to the node now."""
        at = self._at.get(node)
        if at is None:
            return OPS_MAX
        while at.counted_of:
            number, (sent_at, ops) = next(iter(at.counted_of.items()))
            if now - sent_at < LATE_S:
                break
            del at.counted_of[number]
            at.counted -= ops
        return max(0, at.ops_max - at.counted)

    def free_at(self, node: int, now: float) -> float:
        """When there is room, if no answer comes before."""
        at = self._at.get(node)
        if at is None:
            return float("-inf")
        if self.room(node, now) > 0:
            return at.paused_until
        sent_at, _ = next(iter(at.counted_of.values()))
        return max(at.paused_until, sent_at + LATE_S)

    def expected_s(self, node: int) -> float:
        """How long an outcome will take of a node that has been late; 0 if it has not, or if there
        is nothing under way that would tell."""
        at = self._at.get(node)
        if at is None or at.ops_max == OPS_MAX or not at.counted:
            return 0.0
        return at.answered_in_s

    def sent(self, node: int, number: int, ops: int, now: float) -> None:
        """A request left."""
        at = self._at.setdefault(node, _AtNode())
        at.under_way += ops
        at.counted += ops
        at.counted_of[number] = (now, ops)

    def gone(self, node: int, number: int, ops: int) -> None:
        """So many ops of a request are under way no longer, whatever became of them."""
        at = self._at[node]
        assert 0 < ops <= at.under_way, (ops, at.under_way)
        at.under_way -= ops
        entry = at.counted_of.get(number)
        if entry is None:
            return
        sent_at, counted = entry
        at.counted -= ops
        if counted == ops:
            del at.counted_of[number]
        else:
            at.counted_of[number] = (sent_at, counted - ops)

    def outcomes(self, node: int, ops: int, sent_at: float, now: float) -> None:
        """So many ops that were sent at a time have got their outcomes, and are `gone`."""
        at = self._at[node]
        at.refusals = 0
        took_s = now - sent_at
        at.answered_in_s += _SMOOTHING * (took_s - at.answered_in_s)
        if took_s > LATE_S:
            self._cut(at, int((at.under_way + ops) * AIM_S / took_s), sent_at, now)
        elif took_s <= AIM_S:
            at.ops_max = min(OPS_MAX, at.ops_max + ops)

    def refused(
        self, node: int, ops: int, sent_at: float, now: float, retry_delay_s: float
    ) -> None:
        """So many ops were refused because a queue is full, and are `gone`."""
        at = self._at[node]
        if not self._cut(at, (at.under_way + ops) // 2, sent_at, now):
            return
        at.refusals += 1
        if at.refusals > 1:
            pause_s = retry_delay_s * 2.0 ** min(at.refusals - 2, _DOUBLINGS_MAX)
            at.paused_until = now + min(pause_s, PAUSE_S_MAX)

    def _cut(self, at: _AtNode, ops_max: int, sent_at: float, now: float) -> bool:
        """What was sent before the last cut says nothing of what came of it: then False."""
        if sent_at < at.cut_at:
            return False
        at.ops_max = max(OPS_MIN, min(ops_max, at.ops_max))
        at.cut_at = now
        return True
