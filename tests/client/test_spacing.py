"""Write requests follow each other no closer than answers come, and none waits for long."""

import asyncio

import pytest
import uvloop

from globaltable.client import GlobalTable
from globaltable.client._spacing import SPACING_S, UNDER_WAY_MAX, Spacing
from tests.client.desk import TABLE, Desk, applied, ops
from tests.client.scripted_node import ScriptedNode


def _full() -> Spacing:
    spacing = Spacing()
    for number in range(UNDER_WAY_MAX):
        assert spacing.free_at(0) <= 1.0
        spacing.sent(0, number, 1.0 + number / 1_000)
    return spacing


def test_while_so_many_have_no_answer_the_next_waits_for_one() -> None:
    spacing = _full()
    assert spacing.free_at(0) == 1.0 + SPACING_S
    spacing.answered(0, 2)
    assert spacing.free_at(0) == float("-inf")


def test_it_is_the_last_few_that_count_for_earlier_ones_may_be_held_up() -> None:
    spacing = _full()
    spacing.sent(0, 100, 2.0)
    assert spacing.free_at(0) == 1.001 + SPACING_S


def test_each_node_has_its_own_and_an_end_without_a_beginning_is_nothing() -> None:
    spacing = _full()
    assert spacing.free_at(1) == float("-inf")
    spacing.answered(1, 7)
    spacing.answered(0, 999)
    assert spacing.free_at(0) == 1.0 + SPACING_S


def _desk_with_requests_under_way() -> Desk:
    desk = Desk(0.001, 0.001, 0.001)
    for number in range(UNDER_WAY_MAX):
        desk.bind(f"early {number}")
        desk.call()
    for number in range(50):
        desk.bind(f"late {number}")
    assert desk.calls() == []
    return desk


def test_what_waits_is_one_request_once_one_is_answered_in_part() -> None:
    desk = Desk(0.001, 0.001, 0.001)
    desk.bind("held up")
    desk.bind("decided")
    first = desk.call()
    for number in range(UNDER_WAY_MAX - 1):
        desk.bind(f"early {number}")
        desk.call()
    for number in range(50):
        desk.bind(f"late {number}")
    assert desk.calls() == []
    desk.answer_some(first, {1: applied()})
    assert len(ops(desk.call())) == 50


def test_no_answer_is_waited_for_longer_than_the_bound() -> None:
    desk = _desk_with_requests_under_way()
    due = desk.exchange.next_due()
    assert due is not None and desk.now < due <= desk.now + SPACING_S
    desk.now = due
    assert len(ops(desk.call())) == 50


def test_a_time_that_is_as_good_as_now_is_no_trouble_for_any_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """uvloop gives a bare handle for it, which cannot say when it is due."""

    async def pump_twice() -> None:
        node = ScriptedNode()
        await node.start()
        async with GlobalTable.connect([node.address], table=TABLE) as client:
            loop = asyncio.get_running_loop()
            monkeypatch.setattr(client._shell.opened(), "next_due", loop.time)
            client._shell._pump()
            client._shell._pump()
            monkeypatch.undo()
            assert (await client.bind("k", "A")).created
        await node.stop()

    uvloop.run(pump_twice())
