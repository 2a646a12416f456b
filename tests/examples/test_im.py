"""The instant-messaging example: three real units, moves and a kill under live writes, and every
message read back."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from examples.im.checking import Acknowledged, Findings, check
from examples.im.demo import Size, run
from examples.im.report import print_report
from examples.im.storage import Gone, Row, Storage


@pytest.mark.slow
@pytest.mark.cluster
def test_each_message_is_in_exactly_one_unit_in_order_and_none_is_lost_or_doubled() -> None:
    console = Console(record=True, width=120)
    figures = run(Size(chats=9, writers=1, messages=200), console)
    print_report(console, figures)
    told = console.export_text()
    assert figures.findings == Findings([], [], [], [], []), told
    assert not figures.disagreed, told
    assert figures.messages >= 200 and figures.pushed == sum(figures.held.values()), told
    assert figures.held["B"] == figures.pushed, "all chats were moved to B at last"
    assert all(meanwhile > 0 for _, _, meanwhile in figures.moves), told
    assert "none lost or doubled: kept" in told


GOOD = {
    "A": {"x": [Row(1, "m1", "", "A"), Row(2, "m2", "", "A")]},
    "B": {"y": [Row(1, "n", "", "B")]},
}


def _found(
    units: dict[str, dict[str, list[Row]]], pushed: dict[str, list[tuple[int, str]]] | None = None
) -> Findings:
    acknowledged = [Acknowledged("x", "m1", 1), Acknowledged("x", "m2", 2)]
    seen = pushed or {"x": [(1, "m1"), (2, "m2")], "y": [(1, "n")]}
    return check(acknowledged, units, {"x": "A", "y": "B"}, seen)


def test_the_check_finds_nothing_where_all_is_well() -> None:
    assert _found(GOOD).hold


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda units: units["A"]["x"].pop(), "lost"),
        (lambda units: units["A"]["x"].append(Row(3, "m1", "", "A")), "doubled"),
        (lambda units: units["B"].update(x=[Row(1, "m1", "", "A")]), "doubled"),
        (lambda units: units["A"]["x"].append(Row(4, "m4", "", "A")), "out_of_order"),
        (lambda units: units["A"].update(y=units["B"].pop("y")), "misplaced"),
        (lambda units: units["A"]["x"].append(Row(3, "m3", "", "A")), "pushed_wrong"),
    ],
)
def test_the_check_finds_what_is_wrong(
    change: Callable[[dict[str, dict[str, list[Row]]]], object], found: str
) -> None:
    units = {
        unit: {chat: list(rows) for chat, rows in chats.items()} for unit, chats in GOOD.items()
    }
    change(units)
    assert getattr(_found(units), found)


async def test_a_message_that_comes_twice_is_stored_once(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "a.db", "A")
    assert [await storage.add("x", one, "", 1) for one in ("m1", "m2", "m1")] == [1, 2, 1]
    assert [row.number for row in await storage.read("x")] == [1, 2]
    storage.close()


async def test_a_copy_that_has_come_back_is_not_removed_by_what_was_read_before(
    tmp_path: Path,
) -> None:
    """The unit reads that a chat left at version 2, and then it returns: that read is old."""
    storage = Storage(tmp_path / "a.db", "A")
    await storage.add("x", "m1", "", 1)
    await storage.take_in("x", 2, [Row(1, "m1", "", "A"), Row(2, "m2", "", "B")])
    await storage.remove_left({"x": 2})
    assert len(await storage.read("x")) == 2
    await storage.remove_left({"x": 4})
    assert await storage.read("x") == []
    storage.close()


async def test_what_was_left_behind_is_given_to_nobody(tmp_path: Path) -> None:
    """A second mover that comes late must not be told that the chat is empty."""
    storage = Storage(tmp_path / "a.db", "A")
    await storage.add("x", "m1", "", 1)
    assert len(await storage.export("x", 1)) == 1
    await storage.remove_left({"x": 2})
    with pytest.raises(Gone):
        await storage.export("x", 1)
    storage.close()
