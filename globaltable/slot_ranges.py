"""Slots as an operator writes them: `7`, `16-31`, `8-4088/8` (every eighth), with commas between.

Responsible for both ways. What is written is short for what deals and moves make of slots: runs
with one step.

Invariant: what `format_slots` writes, `parse_slots` reads as the same.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from globaltable.errors import InvalidArgument

_RANGE: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5})(?:/([0-9]{1,5}))?)?", re.ASCII)


def format_slots(slots: Iterable[int]) -> str:
    """Of slots that ascend."""
    return ",".join(map(_format_run, _runs(list(slots))))


def _runs(slots: Sequence[int]) -> list[range]:
    """Runs with one step, each as long as it can be; of two slots only if they are neighbours."""
    runs = []
    at = 0
    while at < len(slots):
        end = at + 1
        if end < len(slots):
            step = slots[end] - slots[at]
            while end < len(slots) and slots[end] - slots[end - 1] == step:
                end += 1
            if end - at == 2 and step > 1:
                end -= 1
        runs.append(range(slots[at], slots[end - 1] + 1, step if end - at > 1 else 1))
        at = end
    return runs


def _format_run(run: range) -> str:
    if len(run) == 1:
        return str(run[0])
    return f"{run[0]}-{run[-1]}" + (f"/{run.step}" if run.step > 1 else "")


def parse_slots(text: str, slots: int) -> list[int]:
    """Ascending, of so many as there are. Raises `InvalidArgument`."""
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise InvalidArgument(
                f"{part.strip()[:40]!r} names no slots; write 7, 16-31, or 8-4088/8 for every "
                "eighth, with commas between"
            )
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        step = int(match[3]) if match[3] else 1
        if not first <= last < slots or step < 1:
            raise InvalidArgument(
                f"{part.strip()!r}: slots are 0 to {slots - 1}, the lower first, and a step is 1 "
                "or more"
            )
        run = range(first, last + 1, step)
        if not found.isdisjoint(run):
            raise InvalidArgument(f"{part.strip()!r} names a slot a second time")
        found.update(run)
    return sorted(found)
