"""Nodes that die, hang and refuse, and callers who go: what the asyncio client's callers are told,
over real sockets."""

import asyncio
import time
from typing import Any

import grpc
import pytest

from globaltable import limits
from globaltable.client import ClientClosed
from globaltable.errors import DeadlineExceeded, NoQuorum, OutcomeUnknown, Overloaded
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.asking import ASKING, SLACK_S, connect
from tests.client.scripted_node import ScriptedNode, Step, hang, identities, refuse, say

NO_QUORUM = {"reason": pb.ErrorDetail.REASON_NO_QUORUM, "message": "no leader"}

# How a node may fail a call whose op has reached it.
FAILING: dict[str, Step] = {
    "it says it has no majority": refuse(grpc.StatusCode.UNAVAILABLE, **NO_QUORUM),
    "it says so of each op": say(
        pb.WriteResponse(outcomes=[pb.Outcome(status=pb.OUTCOME_STATUS_UNAVAILABLE)])
    ),
    "it does not know": say(
        pb.WriteResponse(outcomes=[pb.Outcome(status=pb.OUTCOME_STATUS_UNKNOWN)])
    ),
    "it breaks down": refuse(grpc.StatusCode.UNKNOWN),
    "it cancels the call": refuse(grpc.StatusCode.CANCELLED),
    "it is silent": hang,
}


class TestFailOver:
    async def test_from_a_dead_address_to_a_live_one(self, near: ScriptedNode, dead: str) -> None:
        async with connect(dead, near) as client:
            assert (await client.bind("k", "A")).created

    @pytest.mark.parametrize("how", FAILING)
    async def test_a_retry_goes_to_another_node_under_the_same_identity(
        self, near: ScriptedNode, far: ScriptedNode, how: str
    ) -> None:
        near.then("Write", FAILING[how])
        async with connect(near, far, attempt_timeout=0.2) as client:
            binding = await client.bind("k", "A")
        assert binding.created
        (first,), (second,) = near.asked["Write"], far.asked["Write"]
        assert identities([first]) == identities([second]) and first == second

    async def test_a_node_that_dies_under_a_call_is_left_for_another(
        self, near: ScriptedNode, far: ScriptedNode
    ) -> None:
        near.hold("Write")
        async with connect(near, far) as client:
            binding = asyncio.ensure_future(client.bind("k", "A"))
            await near.until_asked("Write")
            await near.stop()
            assert (await binding).created
            assert (await client.bind("l", "A")).created
        assert identities(near.asked["Write"]) == identities(far.asked["Write"][:1])

    async def test_of_one_request_only_what_failed_is_sent_again(
        self, near: ScriptedNode, far: ScriptedNode
    ) -> None:
        made = pb.Outcome(status=pb.OUTCOME_STATUS_APPLIED, binding=pb.Binding(unit="A", version=1))
        lost = pb.Outcome(status=pb.OUTCOME_STATUS_UNAVAILABLE)
        near.then("Write", say(pb.WriteResponse(outcomes=[made, lost, made])))
        async with connect(near, far) as client:
            await asyncio.gather(*(client.bind(key, "A") for key in "abc"))
        first, again = near.asked["Write"] + far.asked["Write"]
        assert [op.key for op in first.ops] == ["a", "b", "c"]
        assert list(again.ops) == [first.ops[1]]

    async def test_two_clients_share_no_identity(self, near: ScriptedNode) -> None:
        for _ in range(2):
            async with connect(near) as client:
                await asyncio.gather(*(client.bind("k", "A") for _ in range(10)))
        assert len(set(identities(near.asked["Write"]))) == 20


class TestDeadlines:
    @pytest.mark.parametrize(
        ("method", "told"),
        [
            ("bind", OutcomeUnknown),
            ("move", OutcomeUnknown),
            ("unbind", OutcomeUnknown),
            ("get", DeadlineExceeded),
            ("get_many", DeadlineExceeded),
            ("scan", DeadlineExceeded),
        ],
    )
    async def test_of_a_silent_node_only_who_writes_is_told_it_may_have_happened(
        self, near: ScriptedNode, method: str, told: type, short_grace: float
    ) -> None:
        for name in ("Write", "Read", "Scan"):
            near.always(name, hang)
        async with connect(near) as client:
            began_at = time.monotonic()
            with pytest.raises(DeadlineExceeded) as passed:
                await ASKING[method](client, timeout=0.1)
            assert 0.1 <= time.monotonic() - began_at < 0.1 + short_grace + SLACK_S
        assert type(passed.value) is told

    async def test_a_call_has_its_own_and_none_is_none(self, near: ScriptedNode) -> None:
        released = near.hold("Write", 2)
        async with connect(near, timeout=0.1) as client:
            patient = asyncio.ensure_future(client.bind("patient", "A", timeout=None))
            with pytest.raises(OutcomeUnknown):
                await client.bind("hasty", "A", timeout=0.05)
            released.set()
            assert (await patient).created

    async def test_known_not_to_have_happened_is_told_so(self, near: ScriptedNode) -> None:
        near.always("Write", refuse(grpc.StatusCode.UNAVAILABLE, **NO_QUORUM))
        async with connect(near) as client:
            began_at = time.monotonic()
            with pytest.raises(NoQuorum, match=r"bind of 'k': .* no leader"):
                await client.bind("k", "A", timeout=0.1)
            assert time.monotonic() - began_at < 0.1 + SLACK_S


class TestClose:
    async def test_each_that_is_under_way_is_told_what_is_true_of_it(
        self, near: ScriptedNode
    ) -> None:
        near.always("Write", hang)
        near.always("Read", hang)
        client = await connect(near)
        sent = asyncio.ensure_future(client.bind("k", "A"))
        read = asyncio.ensure_future(client.get("k"))
        await near.until_asked("Write")
        await near.until_asked("Read")
        unsent = asyncio.ensure_future(client.bind("unsent", "A"))
        await asyncio.sleep(0)
        await client.close()
        told = await asyncio.gather(sent, read, unsent, return_exceptions=True)
        assert [type(error) for error in told] == [OutcomeUnknown, ClientClosed, ClientClosed]
        assert len(near.asked["Write"]) == 1

    async def test_nothing_of_it_goes_on(self, near: ScriptedNode) -> None:
        near.always("Write", hang)
        client = await connect(near)
        sent = asyncio.ensure_future(client.bind("k", "A", timeout=None))
        await near.until_asked("Write")
        await client.close()
        with pytest.raises(OutcomeUnknown):
            await sent
        assert not [task for task in asyncio.all_tasks() if "GlobalTable" in repr(task.get_coro())]

    async def test_a_scan_amid_its_pages_is_told(self, near: ScriptedNode) -> None:
        entry = pb.ScanEntry(key="k", binding=pb.Binding(unit="A", version=1))
        near.then("Scan", say(pb.ScanResponse(entries=[entry], next_page_token=b"1")))
        async with connect(near) as client:
            scan = client.scan()
            await anext(scan)
        with pytest.raises(ClientClosed):
            await anext(scan)


class TestCancellation:
    async def test_one_caller_who_goes_takes_nobody_along(self, near: ScriptedNode) -> None:
        released = near.hold("Write")
        async with connect(near) as client:
            callers = [asyncio.ensure_future(client.bind(key, "A")) for key in "abc"]
            await near.until_asked("Write")
            callers[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await callers[1]
            released.set()
            assert [(await callers[n]).created for n in (0, 2)] == [True, True]

    async def test_what_was_not_sent_yet_is_not_sent(
        self, near: ScriptedNode, few_calls: int
    ) -> None:
        released = near.hold("Write", few_calls)
        async with connect(near) as client:
            early = []
            for number in range(few_calls):
                early.append(asyncio.ensure_future(client.bind("early", "A")))
                await near.until_asked("Write", number + 1)
            gone, stays = (asyncio.ensure_future(client.bind(key, "A")) for key in ("gone", "k"))
            await client.get("k")
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            released.set()
            await asyncio.gather(stays, *early)
        assert [op.key for op in near.asked["Write"][-1].ops] == ["k"]

    async def test_what_failed_meanwhile_is_not_sent_again(
        self, near: ScriptedNode, far: ScriptedNode
    ) -> None:
        released = asyncio.Event()

        async def fail_when_released(request: Any, context: Any) -> None:
            await released.wait()
            await context.abort(grpc.StatusCode.UNKNOWN)

        near.then("Write", fail_when_released)
        async with connect(near, far) as client:
            gone, stays = (asyncio.ensure_future(client.bind(key, "A")) for key in ("gone", "k"))
            await near.until_asked("Write")
            gone.cancel()
            released.set()
            await stays
        assert [op.key for request in far.asked["Write"] for op in request.ops] == ["k"]

    async def test_one_who_asked_for_many_keys_leaves_no_room_taken(
        self, near: ScriptedNode
    ) -> None:
        near.always("Read", hang)
        async with connect(near, pending_max=4) as client:
            keys = [str(number) for number in range(limits.READ_KEYS_MAX)]
            asking = asyncio.ensure_future(client.get_many(keys))
            await near.until_asked("Read")
            with pytest.raises(Overloaded):
                await client.bind("k", "A")
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await client.bind("k", "A")
