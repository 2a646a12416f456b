"""Watches of the client for threads over real streams: cut, resumed elsewhere, closed."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import grpc
import pytest

from globaltable.client import Change, ChangeKind, ClientClosed, SyncGlobalTable, SyncWatch
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
from tests.client.asking import SLACK_S, connect_sync
from tests.client.desk import TABLE
from tests.client.node_thread import NodeThread
from tests.client.scripted_node import END, PATIENCE_S, Part, after, hang, position, refuse

Reason = pb.ErrorDetail

# A node that asks for as much patience as it is believed to need.
PAUSE = refuse(
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    reason=Reason.REASON_OVERLOADED,
    retry_delay_ms=round(1000 * RETRY_DELAY_S_MAX),
)


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """Somebody who iterates while the test does something else."""
    with ThreadPoolExecutor(1) as thread:
        yield thread


def _keys(watch: SyncWatch, count: int) -> str:
    """The keys of the next changes."""
    return "".join(change.key for change in islice(watch, count))


class TestStart:
    def test_with_waits_until_the_node_has_said_where_it_starts(self, nodes: NodeThread) -> None:
        nodes.near.stream(position({0: 4, 1: 9}))
        with connect_sync(nodes.near) as client, client.watch(key="k") as watch:
            assert watch.position == {0: 4, 1: 9}
            watch.start()
        assert nodes.near.asked["Watch"] == [pb.WatchRequest(table=TABLE, key="k")]

    def test_changes_come_as_they_were_made_and_move_the_position(self, nodes: NodeThread) -> None:
        nodes.near.stream(position({0: 4}), position({0: 6}, ("a", 5), ("b", 6)))
        with connect_sync(nodes.near) as client, client.watch(prefix="") as watch:
            assert next(watch) == Change(ChangeKind.BOUND, "a", "A", 1, 5, 0)
            assert watch.position == {0: 5}
            assert _keys(watch, 1) == "b"
            assert watch.position == {0: 6}

    def test_it_resumes_after_the_position_it_is_given(self, nodes: NodeThread) -> None:
        nodes.near.stream(position({0: 4}), position({0: 5}, ("a", 5)))
        with connect_sync(nodes.near) as client:
            assert _keys(client.watch(prefix="cid:", after={0: 4}), 1) == "a"
        (request,) = nodes.near.asked["Watch"]
        assert (request.prefix, after(request)) == ("cid:", {0: 4})

    def test_a_node_that_is_silent_is_left_for_another(self, nodes: NodeThread) -> None:
        nodes.near.stream(hang)
        nodes.far.stream(position({0: 4}), position({0: 5}, ("a", 5)))
        with connect_sync(nodes.near, nodes.far, attempt_timeout=0.3) as client:
            assert _keys(client.watch(prefix=""), 1) == "a"

    def test_one_that_has_started_may_be_silent_for_any_time(
        self, nodes: NodeThread, thread: ThreadPoolExecutor
    ) -> None:
        """The bound on an attempt is one on the start only."""
        ripe = asyncio.Event()

        async def wait(request: Any, context: Any) -> None:
            await ripe.wait()

        nodes.near.stream(position({0: 4}), wait, position({0: 5}, ("a", 5)))
        with (
            connect_sync(nodes.near, attempt_timeout=0.3) as client,
            client.watch(prefix="") as watch,
        ):
            waiting = thread.submit(_keys, watch, 1)
            with pytest.raises(TimeoutError):
                waiting.result(0.4)
            nodes.release(ripe)
            assert waiting.result(PATIENCE_S) == "a"
        assert len(nodes.near.asked["Watch"]) == 1

    def test_if_all_that_are_up_have_failed_it_they_are_asked_again(
        self, nodes: NodeThread
    ) -> None:
        """Not one that is down, though that alone has not failed it."""
        nodes.far.always("Topology", hang)
        nodes.near.stream(position({0: 4}))
        with connect_sync(nodes.far, nodes.near) as client:
            watch = client.watch(prefix="")
            watch._merged.streams[0].avoided = 0b10
            watch.start()
        assert (len(nodes.near.asked["Watch"]), len(nodes.far.asked["Watch"])) == (1, 0)

    @pytest.mark.parametrize(
        ("part", "told"),
        [
            (hang, DeadlineExceeded),
            (refuse(grpc.StatusCode.UNKNOWN), DeadlineExceeded),
            (refuse(grpc.StatusCode.UNAVAILABLE, reason=Reason.REASON_NO_QUORUM), NoQuorum),
        ],
        ids=["silence", "failure", "no majority"],
    )
    def test_one_that_cannot_be_started_in_time_says_why(
        self, nodes: NodeThread, part: Part, told: type[Exception]
    ) -> None:
        for _ in range(50):
            nodes.near.stream(part)
        with (
            connect_sync(nodes.near) as client,
            pytest.raises(told, match=r"watch of key 'k' in 'im\.session'") as failed,
        ):
            client.watch(key="k", timeout=0.2).start()
        assert type(failed.value) is told

    def test_if_no_node_is_left_it_says_so(self, nodes: NodeThread) -> None:
        with connect_sync(nodes.near) as client:
            nodes.run(nodes.near.stop())
            # A connection that breaks under a call may have carried it; the next is refused.
            failures = (_start_failure(client) for _ in range(50))
            assert any(type(failure) is ConnectFailed for failure in failures)

    def test_a_refusal_is_told_at_once(self, nodes: NodeThread) -> None:
        nodes.near.stream(refuse(grpc.StatusCode.NOT_FOUND, reason=Reason.REASON_UNKNOWN_TABLE))
        with connect_sync(nodes.near) as client, pytest.raises(InvalidArgument):
            client.watch(prefix="").start()
        assert len(nodes.near.asked["Watch"]) == 1


def _start_failure(client: SyncGlobalTable) -> Exception:
    try:
        client.watch(prefix="", timeout=0.1).start()
    except (ConnectFailed, DeadlineExceeded) as error:
        return error
    raise AssertionError("it started")


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
    def test_a_stream_that_ends_is_resumed_elsewhere_after_the_last_change_received(
        self, nodes: NodeThread, part: Part
    ) -> None:
        nodes.near.stream(position({0: 4, 1: 2}), position({0: 6, 1: 3}, ("a", 5), ("b", 6)), part)
        # The node sends again what it was not asked for: a watch hands out each change once.
        nodes.far.stream(position({0: 6, 1: 3}), position({0: 7, 1: 3}, ("b", 6), ("c", 7)))
        with connect_sync(nodes.near, nodes.far) as client, client.watch(key="k") as watch:
            assert _keys(watch, 3) == "abc"
            assert watch.position == {0: 7, 1: 3}
        (request,) = nodes.far.asked["Watch"]
        assert (request.key, after(request)) == ("k", {0: 6, 1: 3})

    def test_when_its_node_dies_too(self, nodes: NodeThread) -> None:
        nodes.near.stream(position({0: 4}), position({0: 5}, ("a", 5)))
        nodes.far.stream(position({0: 5}), position({0: 6}, ("b", 6)))
        with connect_sync(nodes.near, nodes.far) as client, client.watch(prefix="") as watch:
            assert _keys(watch, 1) == "a"
            nodes.run(nodes.near.stop())
            assert _keys(watch, 1) == "b"

    def test_a_message_that_makes_no_sense_is_told_and_not_passed_over(
        self, nodes: NodeThread
    ) -> None:
        nonsense = position({0: 5})
        nonsense.changes.add(key="a", revision=5)
        nodes.near.stream(position({0: 4}), nonsense, position({0: 6}, ("b", 6)))
        nodes.near.stream(position({0: 4}), position({0: 6}, ("a", 5), ("b", 6)))
        with connect_sync(nodes.near) as client, client.watch(prefix="") as watch:
            with pytest.raises(ProtocolError, match="unknown kind 0"):
                next(watch)
            assert _keys(watch, 2) == "ab"
        assert after(nodes.near.asked["Watch"][1]) == {0: 4}


@pytest.mark.parametrize(
    ("reason", "told"),
    [(Reason.REASON_COMPACTED, Compacted), (Reason.REASON_LAGGED, Lagged)],
)
def test_changes_that_are_no_longer_kept_end_it_with_the_oldest_that_are(
    nodes: NodeThread, reason: Any, told: type[WatchError]
) -> None:
    oldest = [pb.GroupRevision(group=0, revision=40), pb.GroupRevision(group=1, revision=7)]
    gone = refuse(grpc.StatusCode.OUT_OF_RANGE, reason=reason, message="gone", oldest=oldest)
    nodes.near.stream(position({0: 4}), position({0: 5}, ("a", 5)), gone)
    with connect_sync(nodes.near, nodes.far) as client, client.watch(prefix="") as watch:
        assert _keys(watch, 1) == "a"
        with pytest.raises(told, match="gone") as lost:
            next(watch)
        assert lost.value.oldest == {0: 40, 1: 7}
        assert watch.position == {0: 5}
    assert not nodes.far.asked["Watch"], "no other node would have them"


class TestClose:
    def test_closing_it_from_another_thread_ends_the_iteration(
        self, nodes: NodeThread, thread: ThreadPoolExecutor
    ) -> None:
        nodes.near.stream(position({0: 4}), position({0: 5}, ("a", 5)))
        with connect_sync(nodes.near) as client:
            watch = client.watch(prefix="")
            first = threading.Event()

            def iterate() -> str:
                keys = ""
                for change in watch:
                    keys += change.key
                    first.set()
                return keys

            iterating = thread.submit(iterate)
            assert first.wait(PATIENCE_S)
            watch.close()
            assert iterating.result(PATIENCE_S) == "a"
            watch.close()
            assert list(watch) == []
            assert client.bind("k", "A").created

    @pytest.mark.parametrize("when", ["before", "while"])
    def test_so_does_closing_it_when_it_has_not_started(
        self, nodes: NodeThread, thread: ThreadPoolExecutor, when: str
    ) -> None:
        with connect_sync(nodes.near) as client:
            watch = client.watch(prefix="")
            if when == "before":
                watch.close()
            iterating: Future[list[Change]] = thread.submit(list, watch)
            if when == "while":
                nodes.until_asked(nodes.near, "Watch")
                watch.close()
            assert iterating.result(PATIENCE_S) == []
            with pytest.raises(ClientClosed, match="the watch is closed"):
                watch.start()

    def test_closing_the_client_ends_it_with_an_error(
        self, nodes: NodeThread, thread: ThreadPoolExecutor
    ) -> None:
        """It did not end because there was nothing more to come."""
        nodes.near.stream(position({0: 4}))
        client = connect_sync(nodes.near)
        watch = client.watch(prefix="")
        watch.start()
        waiting = thread.submit(next, watch)
        client.close()
        error = waiting.exception(PATIENCE_S)
        assert type(error) is ClientClosed and "the client is closed" in str(error)

    @pytest.mark.parametrize("what", ["client", "watch"])
    def test_closing_ends_a_pause_between_two_streams_at_once(
        self, nodes: NodeThread, thread: ThreadPoolExecutor, what: str
    ) -> None:
        nodes.near.stream(position({0: 4}), PAUSE)
        client = connect_sync(nodes.near)
        watch = client.watch(prefix="")
        waiting = thread.submit(next, watch, None)
        while not watch._merged.streams[0]._attempts.count:
            time.sleep(0.001)
        began_at = time.monotonic()
        (client if what == "client" else watch).close()
        if what == "client":
            error = waiting.exception(PATIENCE_S)
            assert type(error) is ClientClosed and "the client is closed" in str(error)
        else:
            assert waiting.result(PATIENCE_S) is None
        assert time.monotonic() - began_at < SLACK_S < RETRY_DELAY_S_MAX
        client.close()

    def test_what_had_arrived_by_then_is_still_handed_out(self, nodes: NodeThread) -> None:
        nodes.near.stream(position({0: 4}), position({0: 6}, ("a", 5), ("b", 6)))
        with connect_sync(nodes.near) as client:
            watch = client.watch(prefix="")
            assert _keys(watch, 1) == "a"
        assert _keys(watch, 1) == "b"
        with pytest.raises(ClientClosed):
            next(watch)
