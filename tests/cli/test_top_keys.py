"""What a key makes of what is shown; sheets are ordered and filtered by what they say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.cli.sheets import Cell, Sheet
from globaltable.cli.top_keys import FILTER_CHARACTERS_MAX, Shown, State, keys_in, pressed


def _after(*keys: str, rows: int = 20, fitting: int = 5, columns: int = 3) -> State:
    state = State()
    for key in keys:
        state = pressed(state, key, columns=columns, rows=rows, fitting=fitting)
    return state


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOB", ["up", "down"]),
        (b"\x1b[5~\x1b[6~", ["page up", "page down"]),
        (b"\x1b", ["escape"]),
        (b"/b\r", ["/", "b", "enter"]),
        (b"\x1b[1;5P", []),
        (b"\x00\x1a", []),
        ("ü".encode(), ["ü"]),
        (b"\xff", []),
    ],
)
def test_bytes_become_keys(typed: bytes, keys: list[str]) -> None:
    assert [key for key in keys_in(typed) if not key.startswith("\x1b")] == keys


def test_a_view_is_chosen_and_begins_above() -> None:
    assert _after("down", "n") == State(shown=Shown.NODES)
    assert _after("g", "r", "a").shown is Shown.ALL


def test_it_scrolls_within_what_there_is() -> None:
    assert _after("up").first == 0
    assert _after("down", "down").first == 2
    assert _after("page down", "page down").first == 10
    assert _after("end", "down").first == 15
    assert _after("end", "page up").first == 10
    assert _after("end", "home").first == 0
    assert _after("down", rows=3).first == 0


def test_columns_are_gone_through_in_turn_and_each_view_keeps_its_own() -> None:
    assert _after("right").order == {Shown.ALL: 0}
    assert _after("left").order == {Shown.ALL: 2}
    assert _after("right", "left").order == {Shown.ALL: 2}
    state = _after("right", "i", "n", "right", "right")
    assert (state.order, state.falling) == ({Shown.ALL: 0, Shown.NODES: 1}, {Shown.ALL: True})
    assert _after("right", "o").order == {}
    assert _after("i").falling == {}


def test_while_a_filter_is_typed_keys_are_its_characters() -> None:
    state = _after("/", "q", "h", "backspace")
    assert (state.filter, state.typing, state.over) == ("q", True, False)
    assert _after("/", "q", "enter", "q").over
    assert _after("/", "q", "enter", "escape").filter == ""
    assert _after("/", "q", "escape") == State()
    assert len(_after("/", *"x" * 999).filter) == FILTER_CHARACTERS_MAX


def test_help_goes_at_any_key() -> None:
    assert _after("h").helping
    assert _after("?", "n") == State()
    assert _after("h", "q").over


@given(st.lists(st.sampled_from([*"qh?p/anrgio x", "up", "end", "page down", "left", "escape"])))
def test_whatever_is_pressed_what_is_shown_can_be(keys: list[str]) -> None:
    state = _after(*keys, rows=7, fitting=5, columns=4)
    assert 0 <= state.first <= 2
    assert all(0 <= column < 4 for column in state.order.values())


SHEET = Sheet(
    ("NAME", "WAITS"),
    [[Cell("b", "b"), Cell("9 s", 9.0)], [Cell("a", "a"), Cell("2 min", 120.0)]],
)


def test_rows_are_ordered_by_what_is_meant_and_not_by_how_it_is_written() -> None:
    assert [row[0].plain for row in SHEET.ordered(1, falling=False).rows] == ["b", "a"]
    assert [row[0].plain for row in SHEET.ordered(1, falling=True).rows] == ["a", "b"]
    assert [row[0].plain for row in SHEET.ordered(0, falling=False).rows] == ["a", "b"]


def test_a_filter_keeps_rows_that_hold_its_text_anywhere() -> None:
    assert [row[0].plain for row in SHEET.containing("MIN").rows] == ["a"]
    assert SHEET.containing("nowhere").rows == []
