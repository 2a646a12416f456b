"""A create is one key, one op and one session, whatever happens: on a clock of its own, and over
real sockets."""

import asyncio

import grpc
import pytest

from globaltable import limits
from globaltable.client import Created, GlobalTable, SyncGlobalTable
from globaltable.client._attempts import FailureKind
from globaltable.client._calls import Call
from globaltable.client._minting import MINTED_CHARACTERS
from globaltable.client._placements import PATIENCE_S
from globaltable.errors import InvalidArgument, LimitExceeded, OutcomeUnknown
from globaltable.model import qualified_name
from globaltable.topology import group_of_slot, slot_of
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.asking import connect, connect_sync
from tests.client.desk import TABLE, UNAVAILABLE, Desk, applied, failure, ops, require_nothing_held
from tests.client.node_thread import NodeThread
from tests.client.scripted_node import ScriptedNode, hang, identities, refuse, say
from tests.client.topologies import GROUPS, SLOTS, everywhere


def _placement(*cheapest: int) -> pb.PlacementResponse:
    return pb.PlacementResponse(cheapest=cheapest)


def _group(key: str) -> int:
    return group_of_slot(slot_of(qualified_name(TABLE, key), SLOTS), GROUPS)


def _asked(desk: Desk) -> list[Call]:
    return [call for call in desk.poll() if call.method == "Placement"]


def _serve(desk: Desk, call: Call) -> None:
    """Every op applies, every node is there, and none says more than that."""
    if call.method == "WriteStream":
        desk.answer(call, *[applied() for _ in ops(call)])
    else:
        desk.answer_bytes(call, b"")


def _say(desk: Desk, call: Call, *cheapest: int) -> None:
    desk.answer_bytes(call, _placement(*cheapest).SerializeToString())


class TestOnAClockOfItsOwn:
    def test_it_waits_for_the_nodes_word_and_takes_it(self) -> None:
        desk = Desk(0.01, 0.05, 0.05)
        number = desk.create()
        (asked,) = desk.poll()
        assert (asked.method, asked.node) == ("Placement", 0)
        _say(desk, asked, 3)
        call = desk.call()
        (op,) = ops(call)
        assert (op.kind, op.unit, _group(op.key)) == (pb.OP_KIND_BIND, "A", 3)
        desk.answer(call, applied())
        assert desk.told[number].created
        require_nothing_held(desk.exchange)

    def test_creates_behind_it_wait_for_no_word_and_share_a_call(self) -> None:
        desk = Desk(0.01, 0.05, 0.05)
        desk.create()
        _say(desk, desk.poll()[0], 3)
        desk.answer(desk.call(), applied())
        for _ in range(5):
            desk.create(prefix="cid:")
        call = desk.call()
        keys = [op.key for op in ops(call)]
        assert len(set(keys)) == 5
        assert {_group(key) for key in keys} == {3}
        assert all(key.startswith("cid:") for key in keys)

    def test_many_that_wait_ask_once(self) -> None:
        desk = Desk(0.01, 0.05, 0.05)
        for _ in range(5):
            desk.create()
        (asked,) = desk.poll()
        assert desk.poll() == []
        _say(desk, asked, 1)
        assert len(ops(desk.call())) == 5

    def test_without_a_word_in_time_it_goes_anywhere(self) -> None:
        desk = Desk(0.01, 0.05, 0.05)
        desk.create()
        assert len(desk.poll()) == 1
        asked_at = desk.now
        desk.wait()
        assert desk.now == pytest.approx(asked_at + PATIENCE_S)
        (op,) = ops(desk.call())
        assert len(op.key) == MINTED_CHARACTERS
        desk.create()
        assert len(ops(desk.call())) == 1, "one has waited for all"

    def test_a_node_that_cannot_say_is_not_waited_for(self) -> None:
        desk = Desk(0.01, 0.05, 0.05)
        desk.create()
        (asked,) = desk.poll()
        desk.fail(asked, failure(FailureKind.FINAL, InvalidArgument("no such method")))
        assert len(ops(desk.call())) == 1
        assert desk.exchange.nodes.is_up(0), "that is held against nobody"

    def test_a_retry_elsewhere_carries_the_same_key_and_identity(self) -> None:
        desk = Desk(0.01, 0.05, 0.05)
        number = desk.create()
        _say(desk, desk.poll()[0], 3)
        first = desk.call()
        desk.fail(first, failure(FailureKind.UNKNOWN))
        second = desk.call()
        assert second.node != first.node
        assert ops(second) == ops(first)
        desk.answer(second, applied())
        assert desk.told[number].created

    def test_another_node_is_asked_for_its_own_word(self) -> None:
        desk = Desk(0.01, 0.05, 0.05)
        desk.create()
        _say(desk, desk.poll()[0], 3)
        desk.fail(desk.call(), failure(FailureKind.UNREACHED))
        desk.answer(desk.call(), applied())
        desk.create()
        (asked,) = _asked(desk)
        assert asked.node == 1
        _say(desk, asked, 6)
        assert _group(ops(desk.call())[0].key) == 6

    def test_after_a_failure_it_is_asked_anew_and_its_old_word_serves_meanwhile(self) -> None:
        desk = Desk(0.01, 0.05, 0.05)
        desk.create()
        _say(desk, desk.poll()[0], 3)
        call = desk.call()
        desk.now += 1.5
        desk.answer(call, UNAVAILABLE)
        assert not desk.exchange.nodes.is_up(0)
        desk.until(lambda: desk.exchange.nodes.is_up(0), lambda call: _serve(desk, call))
        desk.create()
        calls = {call.method: call for call in desk.poll()}
        assert calls["Placement"].node == calls["WriteStream"].node == 0
        assert [_group(op.key) for op in ops(calls["WriteStream"])] == [3]

    def test_a_group_without_a_leader_is_enough_of_a_failure(self) -> None:
        """The node answers others as before, and stays the first to be asked."""
        desk = Desk(0.01, 0.05, 0.05)
        desk.create()
        _say(desk, desk.poll()[0], 3)
        desk.create()
        call = desk.call()
        desk.now += 1.5
        desk.answer(call, UNAVAILABLE, applied())
        assert desk.exchange.nodes.is_up(0)
        desk.create()
        assert [asked.node for asked in _asked(desk)] == [0]

    def test_one_that_is_given_up_before_it_is_minted_is_never_sent(self) -> None:
        desk = Desk(0.01, 0.05, 0.05)
        number = desk.create()
        (asked,) = desk.poll()
        desk.abandon(number)
        _say(desk, asked, 3)
        assert desk.poll() == []
        require_nothing_held(desk.exchange)

    def test_a_deadline_passes_while_it_waits(self) -> None:
        desk = Desk(0.01, 0.05, 0.05)
        number = desk.create(timeout=0.01)
        desk.poll()
        desk.until(lambda: number in desk.told, lambda call: None)
        assert "create of a key with prefix ''" in str(desk.told[number])
        require_nothing_held(desk.exchange)

    def test_an_unknown_outcome_names_the_key(self) -> None:
        desk = Desk(0.01, 0.05, 0.05)
        number = desk.create()
        _say(desk, desk.poll()[0], 3)
        (op,) = ops(desk.call())
        desk.close()
        assert isinstance(desk.told[number], OutcomeUnknown)
        assert op.key in str(desk.told[number])

    @pytest.mark.parametrize(
        ("unit", "prefix", "error"),
        [
            ("", "", InvalidArgument),
            ("A", "p" * (limits.KEY_BYTES_MAX - MINTED_CHARACTERS + 1), LimitExceeded),
            ("A", "\ud800", InvalidArgument),
            ("A", 7, InvalidArgument),
        ],
    )
    def test_what_is_wrong_is_refused_at_once(
        self, unit: str, prefix: str, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            Desk().create(unit, prefix)


class TestOverSockets:
    async def test_a_key_and_its_binding(self, near: ScriptedNode) -> None:
        near.always("Topology", say(everywhere(near.address)))
        near.always("Placement", say(_placement(5)))
        async with connect(near) as client:
            made = await asyncio.gather(*(client.create("A", prefix="cid:") for _ in range(20)))
        assert len({key for key, _ in made}) == 20
        assert {_group(key) for key, _ in made} == {5}
        assert all(type(one) is Created and one.binding.created for one in made)
        assert len(near.asked["Placement"]) == 1

    async def test_a_node_that_does_not_know_the_question(self, near: ScriptedNode) -> None:
        near.always("Placement", refuse(grpc.StatusCode.UNIMPLEMENTED))
        async with connect(near) as client:
            assert (await client.create("A")).binding.unit == "A"

    async def test_a_node_that_does_not_answer_it(self, near: ScriptedNode) -> None:
        near.always("Placement", hang)
        async with connect(near) as client:
            assert (await client.create("A")).binding.unit == "A"

    async def test_a_retry_makes_no_second_session(
        self, near: ScriptedNode, far: ScriptedNode
    ) -> None:
        near.then("Write", refuse(grpc.StatusCode.UNKNOWN))
        async with connect(near, far) as client:
            key, _ = await client.create("A")
        asked = [*near.asked["Write"], *far.asked["Write"]]
        assert [op.key for request in asked for op in request.ops] == [key] * 2
        assert len(set(identities(asked))) == 1

    def test_from_threads(self, nodes: NodeThread) -> None:
        nodes.near.always("Topology", say(everywhere(nodes.near.address)))
        nodes.near.always("Placement", say(_placement(2)))
        with connect_sync(nodes.near) as client:
            made = [client.create("A") for _ in range(20)]
        assert {_group(key) for key, _ in made} == {2}
        assert all(type(one) is Created and one.binding.created for one in made)


def test_the_twins_say_the_same() -> None:
    assert GlobalTable.create.__doc__ == SyncGlobalTable.create.__doc__
