"""Watches of the asyncio client over real streams: cut, resumed elsewhere, closed, given up."""

import asyncio
import time
from typing import Any

import grpc
import pytest

from globaltable.client import Change, ChangeKind, ClientClosed, GlobalTable, Watch
from globaltable.client._attempts import RETRY_DELAY_S_MAX
from globaltable.errors import (
    Compacted,
    ConnectFailed,
    DeadlineExceeded,
    InvalidArgument,
    Lagged,
    NoQuorum,
    ProtocolError,
    WatchError,
)
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.asking import SLACK_S, connect
from tests.client.desk import TABLE
from tests.client.scripted_node import (
    END,
    PATIENCE_S,
    Part,
    ScriptedNode,
    after,
    hang,
    position,
    refuse,
)

Reason = pb.ErrorDetail

# A node that asks for as much patience as it is believed to need.
PAUSE = refuse(
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    reason=Reason.REASON_OVERLOADED,
    retry_delay_ms=round(1000 * RETRY_DELAY_S_MAX),
)


async def _keys(watch: Watch, count: int) -> str:
    """The keys of the next changes."""
    async with asyncio.timeout(PATIENCE_S):
        return "".join([(await anext(watch)).key for _ in range(count)])


async def _start_failure(client: GlobalTable) -> Exception:
    try:
        await client.watch(prefix="", timeout=0.1).start()
    except (ConnectFailed, DeadlineExceeded) as error:
        return error
    raise AssertionError("it started")


class TestStart:
    async def test_async_with_waits_until_the_node_has_said_where_it_starts(
        self, near: ScriptedNode
    ) -> None:
        near.stream(position({0: 4, 1: 9}))
        async with connect(near) as client, client.watch(key="k") as watch:
            assert watch.position == {0: 4, 1: 9}
            await watch.start()
        assert near.asked["Watch"] == [pb.WatchRequest(table=TABLE, key="k")]

    async def test_changes_come_as_they_were_made_and_move_the_position(
        self, near: ScriptedNode
    ) -> None:
        near.stream(position({0: 4}), position({0: 6}, ("a", 5), ("b", 6)))
        async with connect(near) as client, client.watch(prefix="") as watch:
            assert await anext(watch) == Change(ChangeKind.BOUND, "a", "A", 1, 5, 0)
            assert watch.position == {0: 5}
            assert await _keys(watch, 1) == "b"
            assert watch.position == {0: 6}

    async def test_it_resumes_after_the_position_it_is_given(self, near: ScriptedNode) -> None:
        near.stream(position({0: 4}), position({0: 5}, ("a", 5)))
        async with connect(near) as client:
            assert await _keys(client.watch(prefix="cid:", after={0: 4}), 1) == "a"
        (request,) = near.asked["Watch"]
        assert (request.prefix, after(request)) == ("cid:", {0: 4})

    async def test_a_node_that_is_silent_is_left_for_another(
        self, near: ScriptedNode, far: ScriptedNode
    ) -> None:
        near.stream(hang)
        far.stream(position({0: 4}), position({0: 5}, ("a", 5)))
        async with connect(near, far, attempt_timeout=0.3) as client:
            assert await _keys(client.watch(prefix=""), 1) == "a"

    async def test_one_that_has_started_may_be_silent_for_any_time(
        self, near: ScriptedNode
    ) -> None:
        """The bound on an attempt is one on the start only."""
        ripe = asyncio.Event()

        async def wait(request: Any, context: Any) -> None:
            await ripe.wait()

        near.stream(position({0: 4}), wait, position({0: 5}, ("a", 5)))
        async with connect(near, attempt_timeout=0.3) as client, client.watch(prefix="") as watch:
            waiting = asyncio.ensure_future(_keys(watch, 1))
            assert await asyncio.wait([waiting], timeout=0.4) == (set(), {waiting})
            ripe.set()
            assert await waiting == "a"
        assert len(near.asked["Watch"]) == 1

    async def test_if_all_that_are_up_have_failed_it_they_are_asked_again(
        self, near: ScriptedNode, far: ScriptedNode
    ) -> None:
        """Not one that is down, though that alone has not failed it."""
        far.always("Topology", hang)
        near.stream(position({0: 4}))
        async with connect(far, near) as client:
            watch = client.watch(prefix="")
            watch._merged.streams[0].avoided = 0b10
            await watch.start()
        assert (len(near.asked["Watch"]), len(far.asked["Watch"])) == (1, 0)

    @pytest.mark.parametrize(
        ("part", "told"),
        [
            (hang, DeadlineExceeded),
            (refuse(grpc.StatusCode.UNKNOWN), DeadlineExceeded),
            (refuse(grpc.StatusCode.UNAVAILABLE, reason=Reason.REASON_NO_QUORUM), NoQuorum),
        ],
        ids=["silence", "failure", "no majority"],
    )
    async def test_one_that_cannot_be_started_in_time_says_why(
        self, near: ScriptedNode, part: Part, told: type[Exception]
    ) -> None:
        for _ in range(50):
            near.stream(part)
        async with connect(near) as client:
            with pytest.raises(told, match=r"watch of key 'k' in 'im\.session'") as failed:
                await client.watch(key="k", timeout=0.2).start()
        assert type(failed.value) is told

    async def test_if_no_node_is_left_it_says_so(self, near: ScriptedNode) -> None:
        async with connect(near) as client:
            await near.stop()
            async with asyncio.timeout(PATIENCE_S):
                # A connection that breaks under a call may have carried it; the next is refused.
                while type(await _start_failure(client)) is not ConnectFailed:
                    pass

    async def test_a_refusal_is_told_at_once(self, near: ScriptedNode) -> None:
        near.stream(refuse(grpc.StatusCode.NOT_FOUND, reason=Reason.REASON_UNKNOWN_TABLE))
        async with connect(near) as client:
            with pytest.raises(InvalidArgument):
                await client.watch(prefix="").start()
        assert len(near.asked["Watch"]) == 1


class TestResume:
    @pytest.mark.parametrize(
        "part",
        [
            END,
            refuse(grpc.StatusCode.UNAVAILABLE),
            refuse(grpc.StatusCode.CANCELLED),
            refuse(grpc.StatusCode.UNAVAILABLE, reason=Reason.REASON_NO_QUORUM),
        ],
        ids=["ended", "broken", "cancelled", "no majority"],
    )
    async def test_a_stream_that_ends_is_resumed_elsewhere_after_the_last_change_received(
        self, near: ScriptedNode, far: ScriptedNode, part: Part
    ) -> None:
        near.stream(position({0: 4, 1: 2}), position({0: 6, 1: 3}, ("a", 5), ("b", 6)), part)
        # The node sends again what it was not asked for: a watch hands out each change once.
        far.stream(position({0: 6, 1: 3}), position({0: 7, 1: 3}, ("b", 6), ("c", 7)))
        async with connect(near, far) as client, client.watch(key="k") as watch:
            assert await _keys(watch, 3) == "abc"
            assert watch.position == {0: 7, 1: 3}
        (request,) = far.asked["Watch"]
        assert (request.key, after(request)) == ("k", {0: 6, 1: 3})

    async def test_when_its_node_dies_too(self, near: ScriptedNode, far: ScriptedNode) -> None:
        near.stream(position({0: 4}), position({0: 5}, ("a", 5)))
        far.stream(position({0: 5}), position({0: 6}, ("b", 6)))
        async with connect(near, far) as client, client.watch(prefix="") as watch:
            assert await _keys(watch, 1) == "a"
            await near.stop()
            assert await _keys(watch, 1) == "b"

    async def test_at_the_same_node_if_there_is_no_other(self, near: ScriptedNode) -> None:
        near.stream(position({0: 4}), position({0: 5}, ("a", 5)), END)
        near.stream(position({0: 5}), position({0: 6}, ("b", 6)))
        async with connect(near) as client, client.watch(prefix="") as watch:
            assert await _keys(watch, 2) == "ab"

    async def test_who_gives_up_waiting_for_a_change_loses_none(self, near: ScriptedNode) -> None:
        """As `asyncio.wait_for(anext(watch), ...)` does again and again."""
        near.stream(position({0: 4}), position({0: 5}, ("a", 5)))
        near.stream(position({0: 5}), position({0: 6}, ("b", 6)))
        async with connect(near) as client, client.watch(prefix="") as watch:
            assert await _keys(watch, 1) == "a"
            waiting = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await _keys(watch, 1) == "b"
        assert [after(request) for request in near.asked["Watch"]] == [{}, {0: 5}]

    async def test_a_message_that_makes_no_sense_is_told_and_not_passed_over(
        self, near: ScriptedNode
    ) -> None:
        nonsense = position({0: 5})
        nonsense.changes.add(key="a", revision=5)
        near.stream(position({0: 4}), nonsense, position({0: 6}, ("b", 6)))
        near.stream(position({0: 4}), position({0: 6}, ("a", 5), ("b", 6)))
        async with connect(near) as client, client.watch(prefix="") as watch:
            with pytest.raises(ProtocolError, match="unknown kind 0"):
                await anext(watch)
            assert await _keys(watch, 2) == "ab"
        assert after(near.asked["Watch"][1]) == {0: 4}


@pytest.mark.parametrize(
    ("reason", "told"),
    [(Reason.REASON_COMPACTED, Compacted), (Reason.REASON_LAGGED, Lagged)],
)
async def test_changes_that_are_no_longer_kept_end_it_with_the_oldest_that_are(
    near: ScriptedNode, far: ScriptedNode, reason: Any, told: type[WatchError]
) -> None:
    oldest = [pb.GroupRevision(group=0, revision=40), pb.GroupRevision(group=1, revision=7)]
    gone = refuse(grpc.StatusCode.OUT_OF_RANGE, reason=reason, message="gone", oldest=oldest)
    near.stream(position({0: 4}), position({0: 5}, ("a", 5)), gone)
    async with connect(near, far) as client, client.watch(prefix="") as watch:
        assert await _keys(watch, 1) == "a"
        with pytest.raises(told, match="gone") as lost:
            await anext(watch)
        assert lost.value.oldest == {0: 40, 1: 7}
        assert watch.position == {0: 5}
    assert not far.asked["Watch"], "no other node would have them"


class TestClose:
    async def test_closing_it_ends_the_iteration_and_the_stream(self, near: ScriptedNode) -> None:
        ended = asyncio.Event()

        async def until_cancelled(request: Any, context: Any) -> None:
            context.add_done_callback(lambda _: ended.set())
            await hang(request, context)

        near.stream(position({0: 4}), position({0: 5}, ("a", 5)), until_cancelled)
        async with connect(near) as client, client.watch(prefix="") as watch:
            seen: list[str] = []
            first = asyncio.Event()

            async def iterate() -> None:
                async for change in watch:
                    seen.append(change.key)
                    first.set()

            iterating = asyncio.ensure_future(iterate())
            async with asyncio.timeout(PATIENCE_S):
                await first.wait()
                await watch.close()
                await iterating
                await ended.wait()
            assert seen == ["a"]
            await watch.close()
            assert [change async for change in watch] == []
            assert (await client.bind("k", "A")).created

    @pytest.mark.parametrize("when", ["before", "while"])
    async def test_so_does_closing_it_when_it_has_not_started(
        self, near: ScriptedNode, when: str
    ) -> None:
        async with connect(near) as client:
            watch = client.watch(prefix="")
            if when == "before":
                await watch.close()
            iterating = asyncio.ensure_future(anext(watch, None))
            if when == "while":
                await near.until_asked("Watch")
                await watch.close()
            async with asyncio.timeout(PATIENCE_S):
                assert await iterating is None
            with pytest.raises(ClientClosed, match="the watch is closed"):
                await watch.start()

    async def test_closing_the_client_ends_it_with_an_error(self, near: ScriptedNode) -> None:
        """It did not end because there was nothing more to come."""
        near.stream(position({0: 4}))
        client = await connect(near)
        watch = client.watch(prefix="")
        await watch.start()
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            await client.close()
            with pytest.raises(ClientClosed, match="the client is closed"):
                await waiting

    @pytest.mark.parametrize("what", ["client", "watch"])
    async def test_closing_ends_a_pause_between_two_streams_at_once(
        self, near: ScriptedNode, what: str
    ) -> None:
        near.stream(position({0: 4}), PAUSE)
        client = await connect(near)
        watch = client.watch(prefix="")
        waiting = asyncio.ensure_future(anext(watch, None))
        while not watch._merged.streams[0]._attempts.count:
            await asyncio.sleep(0.001)
        began_at = time.monotonic()
        await (client if what == "client" else watch).close()
        if what == "client":
            with pytest.raises(ClientClosed, match="the client is closed"):
                await waiting
        else:
            assert await waiting is None
        assert time.monotonic() - began_at < SLACK_S < RETRY_DELAY_S_MAX
        await client.close()

    async def test_what_had_arrived_by_then_is_still_handed_out(self, near: ScriptedNode) -> None:
        near.stream(position({0: 4}), position({0: 6}, ("a", 5), ("b", 6)))
        async with connect(near) as client:
            watch = client.watch(prefix="")
            assert await _keys(watch, 1) == "a"
        assert await _keys(watch, 1) == "b"
        with pytest.raises(ClientClosed):
            await anext(watch)
