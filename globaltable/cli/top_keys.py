"""Which keys `globaltable top` knows, and what they make of what it shows: a value and a function.

Nothing here knows a terminal: bytes become keys (`keys_in`), and a key makes of one state the next
(`pressed`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

FILTER_CHARACTERS_MAX: Final = 64


class Shown(Enum):
    ALL = "nodes and groups"
    NODES = "nodes"
    REGIONS = "regions"
    GROUPS = "groups"


HELP: Final = (
    ("q, Control-C", "end"),
    ("space, p", "pause, and go on"),
    ("a, n, r, g", "show nodes and groups; nodes; regions; groups"),
    ("left, right", "order by the column before, or after"),
    ("i", "the other way round"),
    ("o", "in the order as it comes: groups that are not well first"),
    ("up, down, page up, page down, home, end", "scroll"),
    ("/", "show only rows with a text: Enter keeps it, Escape shows all again"),
    ("h, ?", "this, and back"),
)
_VIEWS: Final = {"a": Shown.ALL, "n": Shown.NODES, "r": Shown.REGIONS, "g": Shown.GROUPS}
_SEQUENCES: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1bOC": "right",
    "\x1bOD": "left",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\x1bOH": "home",
    "\x1bOF": "end",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x1b": "escape",
}
_KEY: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Z]|.", re.DOTALL)


def keys_in(typed: bytes) -> list[str]:
    """Names of keys, or the characters that were typed. What a terminal sends for other keys is
    left out."""
    text = typed.decode(errors="ignore")
    found = [_SEQUENCES.get(part, part) for part in _KEY.findall(text)]
    return [key for key in found if key.isprintable()]


@dataclass(frozen=True, slots=True)
class State:
    """Of what is shown. `order` and `falling` are by view, and of the groups where it is ALL."""

    shown: Shown = Shown.ALL
    paused: bool = False
    helping: bool = False
    typing: bool = False
    """A filter is being typed: keys are its characters."""
    filter: str = ""
    first: int = 0
    """The first row that is shown, of those that scroll."""
    order: Mapping[Shown, int] = field(default_factory=dict)
    """The column that rows are ordered by; as they come if there is none."""
    falling: Mapping[Shown, bool] = field(default_factory=dict)
    over: bool = False


def pressed(state: State, key: str, *, columns: int, rows: int, fitting: int) -> State:
    """After a key. There are so many `columns` and `rows`, of which so many fit the screen."""
    if state.typing:
        return _typed(state, key)
    if state.helping:
        return replace(state, helping=False, over=key == "q")
    match key:
        case "q":
            return replace(state, over=True)
        case "h" | "?":
            return replace(state, helping=True)
        case " " | "p":
            return replace(state, paused=not state.paused)
        case "/":
            return replace(state, typing=True, filter="", first=0)
        case "escape":
            return replace(state, filter="", first=0)
        case "a" | "n" | "r" | "g":
            return replace(state, shown=_VIEWS[key], first=0)
        case "left" | "right":
            return _ordered(state, 1 if key == "right" else -1, columns)
        case "i" if state.shown in state.order:
            falling = not state.falling.get(state.shown, False)
            return replace(state, falling={**state.falling, state.shown: falling}, first=0)
        case "o":
            order = {shown: at for shown, at in state.order.items() if shown is not state.shown}
            return replace(state, order=order, first=0)
    return _scrolled(state, key, max(0, rows - fitting), fitting)


def _ordered(state: State, by: int, columns: int) -> State:
    present = state.order.get(state.shown)
    column = (0 if by > 0 else columns - 1) if present is None else (present + by) % columns
    return replace(state, order={**state.order, state.shown: column}, first=0)


def _scrolled(state: State, key: str, last: int, fitting: int) -> State:
    present = min(state.first, last)
    firsts = {
        "up": present - 1,
        "down": present + 1,
        "page up": present - fitting,
        "page down": present + fitting,
        "home": 0,
        "end": last,
    }
    if key not in firsts:
        return state
    return replace(state, first=max(0, min(firsts[key], last)))


def _typed(state: State, key: str) -> State:
    match key:
        case "enter":
            return replace(state, typing=False)
        case "escape":
            return replace(state, typing=False, filter="")
        case "backspace":
            return replace(state, filter=state.filter[:-1])
        case _ if len(key) == 1 and len(state.filter) < FILTER_CHARACTERS_MAX:
            return replace(state, filter=state.filter + key)
    return state
