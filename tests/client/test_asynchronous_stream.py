"""The asyncio client's write streams over real sockets: one for each node, for as long as it lasts,
and another when it has ended."""

import asyncio
import os
import subprocess
import sys
import time

import grpc
import pytest

from globaltable.client import ClientClosed, GlobalTable
from globaltable.errors import ConnectFailed, DeadlineExceeded, OutcomeUnknown, ProtocolError
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.asking import connect
from tests.client.desk import UNAVAILABLE, applied, require_nothing_held
from tests.client.node_thread import NodeThread
from tests.client.scripted_node import (
    PATIENCE_S,
    InParts,
    ScriptedNode,
    end_stream,
    hang,
    identities,
    refuse,
    say,
)


class TestOneStream:
    async def test_carries_all_requests_to_a_node(self, near: ScriptedNode) -> None:
        async with connect(near) as client:
            for round_ in range(20):
                told = await asyncio.gather(*(client.bind(f"{round_}:{n}", "A") for n in range(50)))
                assert all(binding.created for binding in told)
            require_nothing_held(client._shell.opened())
        assert near.write_streams == 1
        sent = identities(near.asked["Write"])
        assert len(sent) == len(set(sent)) == 1_000

    async def test_an_op_is_told_while_its_request_goes_on(self, near: ScriptedNode) -> None:
        released = asyncio.Event()
        near.then("Write", say(InParts({1: applied("B")}, released, {0: applied("A")})))
        async with connect(near) as client:
            slow, fast = (asyncio.ensure_future(client.bind(key, "A")) for key in "sf")
            assert (await fast).unit == "B"
            assert not slow.done()
            released.set()
            assert (await slow).unit == "A"
            require_nothing_held(client._shell.opened())
        assert len(near.asked["Write"]) == 1

    async def test_a_slow_request_holds_up_none_behind_it(self, near: ScriptedNode) -> None:
        released = near.hold("Write")
        async with connect(near) as client:
            slow = asyncio.ensure_future(client.bind("slow", "A"))
            await near.until_asked("Write")
            for number in range(10):
                assert (await client.bind(str(number), "A")).created
            assert not slow.done()
            released.set()
            assert (await slow).created
        assert near.write_streams == 1

    async def test_without_writes_there_is_none(self, near: ScriptedNode) -> None:
        async with connect(near) as client:
            await client.get("k")
        assert near.write_streams == 0


class TestItsEnd:
    async def test_it_is_opened_anew_when_its_node_comes_back(self, near: ScriptedNode) -> None:
        async with connect(near) as client:
            await client.bind("before", "A")
            await near.stop()
            with pytest.raises((ConnectFailed, DeadlineExceeded)):
                await client.bind("k", "A", timeout=0.05)
            await near.restart()
            assert (await client.bind("after", "A")).created
            require_nothing_held(client._shell.opened())
        assert near.write_streams == 2

    async def test_what_was_never_sent_is_known_not_to_have_happened(
        self, near: ScriptedNode
    ) -> None:
        async with connect(near) as client:
            await near.stop()
            deadline = time.monotonic() + PATIENCE_S
            # A connection that breaks under a request may have carried it; the next is refused.
            while type(await _failure(client)) is not ConnectFailed:
                assert time.monotonic() < deadline

    async def test_a_node_that_ends_it_in_good_order_is_left_under_the_same_identity(
        self, near: ScriptedNode, far: ScriptedNode
    ) -> None:
        near.then("Write", hang, end_stream)
        async with connect(near, far) as client:
            first = asyncio.ensure_future(client.bind("1", "A"))
            await near.until_asked("Write")
            second = asyncio.ensure_future(client.bind("2", "A"))
            assert (await first).created and (await second).created
            require_nothing_held(client._shell.opened())
        sent = identities(near.asked["Write"])
        assert len(sent) == 2
        assert sorted(identities(far.asked["Write"])) == sent

    async def test_with_no_other_node_the_next_stream_is_to_the_same_one(
        self, near: ScriptedNode
    ) -> None:
        near.then("Write", end_stream)
        async with connect(near) as client:
            assert (await client.bind("k", "A")).created
        assert near.write_streams == 2
        first, again = near.asked["Write"]
        assert identities([first]) == identities([again])

    async def test_one_that_ends_with_nothing_under_way_costs_no_op(
        self, near: ScriptedNode, far: ScriptedNode
    ) -> None:
        async with connect(near, far) as client:
            await client.bind("before", "A")
            await near.stop()
            while client._shell.streams:
                await asyncio.sleep(0.001)
            assert (await client.bind("after", "A")).created
        assert [op.key for request in far.asked["Write"] for op in request.ops] == ["after"]

    async def test_only_what_was_unanswered_is_sent_again(
        self, near: ScriptedNode, far: ScriptedNode
    ) -> None:
        near.then("Write", say(InParts({0: applied("N"), 2: applied("N")}, asyncio.Event())))
        async with connect(near, far) as client:
            asked = [asyncio.ensure_future(client.bind(key, "A")) for key in "abc"]
            await asyncio.gather(asked[0], asked[2])
            await near.stop()
            assert (await asked[1]).unit == "A"
        assert [op.key for op in far.asked["Write"][0].ops] == ["b"]

    async def test_a_node_that_knows_of_no_streams_is_told_apart_from_a_broken_one(
        self, near: ScriptedNode
    ) -> None:
        near.always("Write", refuse(grpc.StatusCode.UNIMPLEMENTED))
        async with connect(near) as client:
            with pytest.raises(ProtocolError, match="UNIMPLEMENTED"):
                await client.bind("k", "A")

    async def test_a_message_that_makes_no_sense_is_told_and_the_stream_goes_on(
        self, near: ScriptedNode
    ) -> None:
        part = pb.WritePart(number=1, positions=[0], units=["A", "B"])
        near.then("Write", hang, say(pb.WriteStreamResponse(parts=[part])))
        async with connect(near) as client:
            first = asyncio.ensure_future(client.bind("1", "A"))
            await near.until_asked("Write")
            for asked in (asyncio.ensure_future(client.bind("2", "A")), first):
                with pytest.raises(ProtocolError, match="2 units for 1 ops"):
                    await asked
            assert (await client.bind("3", "A")).created
            require_nothing_held(client._shell.opened())


async def _failure(client: GlobalTable) -> Exception:
    try:
        await client.bind("k", "A", timeout=0.1)
    except (ConnectFailed, DeadlineExceeded) as error:
        return error
    raise AssertionError("it happened")


class TestClose:
    async def test_no_task_is_left(self, nodes: NodeThread) -> None:
        before = asyncio.all_tasks()
        nodes.near.always("Write", hang)
        nodes.near.always("Read", hang)
        async with connect(nodes.near) as client:
            asked = [
                asyncio.ensure_future(call)
                for call in (client.bind("k", "A"), client.get("k"), client.watch(key="k").start())
            ]
            await asyncio.to_thread(nodes.until_asked, nodes.near, "Write")
            await asyncio.to_thread(nodes.until_asked, nodes.near, "Watch")
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(error) for error in told] == [OutcomeUnknown, ClientClosed, ClientClosed]
        assert asyncio.all_tasks() == before

    async def test_a_stream_may_end_by_itself_meanwhile(self) -> None:
        """As when a cluster is stopped together with its clients."""
        for _ in range(3):
            near, far = ScriptedNode(), ScriptedNode(distance_s=0.05)
            for node in (near, far):
                await node.start()
            near.then("Write", say(pb.WriteResponse(outcomes=[UNAVAILABLE])))
            client = await connect(near, far)
            await client.bind("k", "A")
            assert (near.write_streams, far.write_streams) == (1, 1)
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(near.stop(), far.stop(), client.close())


_LOOPS = """
import asyncio, sys
from globaltable.client import GlobalTable

async def use():
    async with GlobalTable.connect([sys.argv[1]], table="im.session") as client:
        await client.bind("k", "A")
        asks = lambda: client.get("k"), lambda: client.bind("k", "A"), client.watch(key="k").start
        under_way = [asyncio.ensure_future(ask()) for ask in asks[: int(sys.argv[2])]]
        await asyncio.sleep(0)
    await asyncio.gather(*under_way, return_exceptions=True)

for _ in range(40):
    asyncio.run(use())
"""


@pytest.mark.parametrize("under_way", [0, 3])
def test_clients_in_one_event_loop_after_another_make_no_noise(
    nodes: NodeThread, under_way: int
) -> None:
    """gRPC outlives each loop: an end that is told to a closed one is raised in the next."""
    nodes.near.always("Read", hang)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", _LOOPS, nodes.near.address, str(under_way)],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert nodes.near.write_streams == 40
