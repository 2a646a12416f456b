"""Events in words and as bars over time, for a person who looks for what went wrong.

Responsible for the text of a report only; what is wrong is decided elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from globaltable.model import Binding
from tests.faults.history import Ending, Event, Kind

_WIDTH: Final = 40
_ROWS_MAX: Final = 24


def in_words(event: Event) -> str:
    """What was asked and what was told."""
    asked: str = event.kind.value
    if event.unit:
        asked += f" {event.unit}"
    if event.version:
        asked += f" from {event.version}"
    return f"{asked} -> {_told(event)}"


def _told(event: Event) -> str:
    if event.ending is Ending.OK:
        if event.told is None:
            return "done" if event.kind is Kind.UNBIND else "not bound"
        return ("created " if event.told.created else "") + _binding(event.told)
    if event.ending is Ending.CONFLICT and event.told is not None:
        return f"conflict, {_binding(event.told)}"
    if event.ending is Ending.UNKNOWN and event.returned is None:
        return "no end"
    return event.ending.value


def _binding(binding: Binding) -> str:
    return f"{binding.unit} at {binding.version}"


def draw(events: Iterable[Event], marks: Mapping[Event, str]) -> str:
    """One row for each event, by invocation; `marks` are put behind a row.

    A bar with an arrow has no end: the op may take effect at any later time.
    """
    rows = sorted(events, key=lambda event: event.invoked)
    left_out = len(rows) - _ROWS_MAX
    if left_out > 0:
        # What matters is marked, and what is near the end.
        keep = set(sorted(rows, key=lambda event: (event in marks, event.invoked))[left_out:])
        rows = [event for event in rows if event in keep]
    if not rows:
        return "nothing happened"
    start = rows[0].invoked
    ends = [e.returned for e in rows if e.returned is not None]
    end = max(max(ends, default=start), *(e.invoked for e in rows), start + 1)
    clients = max(len(event.client) for event in rows)
    lines = [f"times in ms after {start / 1e6:.3f}"]
    if left_out > 0:
        lines.append(f"({left_out} earlier rows left out)")
    for event in rows:
        until = f"{_ms(event.returned - start)}" if event.returned is not None else ""
        times = f"{_ms(event.invoked - start):>9} {until:>9}"
        mark = f"   {marks[event]}" if event in marks else ""
        bar = _bar(event, start, end)
        lines.append(f"{event.client:<{clients}} {times} |{bar}| {in_words(event)}{mark}")
    return "\n".join(lines)


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.3f}"


def _bar(event: Event, start: int, end: int) -> str:
    def column(time: int) -> int:
        return (time - start) * (_WIDTH - 1) // (end - start)

    first = column(event.invoked)
    if event.ending is Ending.UNKNOWN or event.returned is None:
        return " " * first + "=" * (_WIDTH - 1 - first) + ">"
    last = column(event.returned)
    return (" " * first + "=" * (last - first + 1)).ljust(_WIDTH)


def around(events: Sequence[Event], event: Event) -> list[Event]:
    """The events of a sequence that overlap one of its own, itself included."""
    until = event.returned if event.returned is not None else event.invoked
    return [
        other
        for other in events
        if other.invoked <= until
        and (other.returned is None or other.returned >= event.invoked or other is event)
    ]
