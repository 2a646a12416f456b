"""The write streams of the client for threads over real sockets: one for each node, for as long as
it lasts, and another when it has ended."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from globaltable.client import SyncGlobalTable
from globaltable.client._attempts import Failure, FailureKind
from globaltable.client._lanes import WriteLane
from globaltable.errors import ConnectFailed, DeadlineExceeded, OutcomeUnknown, ProtocolError
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.asking import connect_sync
from tests.client.desk import applied, require_nothing_held
from tests.client.node_thread import NodeThread
from tests.client.scripted_node import (
    PATIENCE_S,
    InParts,
    end_stream,
    hang,
    identities,
    say,
)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Callers that block, each in a thread of its own."""
    with ThreadPoolExecutor(16) as threads:
        yield threads


def _require_nothing_held(client: SyncGlobalTable) -> None:
    with client._shell._lock:
        require_nothing_held(client._shell.exchange)


class TestOneStream:
    def test_carries_all_requests_to_a_node(
        self, nodes: NodeThread, threads: ThreadPoolExecutor
    ) -> None:
        with connect_sync(nodes.near) as client:
            told = list(threads.map(lambda n: client.bind(str(n), "A"), range(500)))
            assert all(binding.created for binding in told)
            _require_nothing_held(client)
        assert nodes.near.write_streams == 1
        sent = identities(nodes.near.asked["Write"])
        assert len(sent) == len(set(sent)) == 500

    def test_an_op_is_told_while_its_request_goes_on(
        self, nodes: NodeThread, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        released = asyncio.Event()
        blocking = nodes.near.hold("Write")
        nodes.near.then("Write", say(InParts({1: applied("B")}, released, {0: applied("A")})))
        with connect_sync(nodes.near) as client:
            # Both are packed together behind the first, which alone may be under way.
            monkeypatch.setattr(WriteLane, "calls_max", 1)
            first = threads.submit(client.bind, "first", "A")
            nodes.until_asked(nodes.near, "Write")
            asked = []
            for key in ("slow", "fast"):
                pending = client._shell.exchange.pending
                asked.append(threads.submit(client.bind, key, "A"))
                _until(partial(_pends, client, pending + 1))
            nodes.release(blocking)
            assert first.result(PATIENCE_S).created
            assert asked[1].result(PATIENCE_S).unit == "B"
            assert not asked[0].done()
            nodes.release(released)
            assert asked[0].result(PATIENCE_S).unit == "A"

    def test_a_slow_request_holds_up_none_behind_it(
        self, nodes: NodeThread, threads: ThreadPoolExecutor
    ) -> None:
        released = nodes.near.hold("Write")
        with connect_sync(nodes.near) as client:
            slow = threads.submit(client.bind, "slow", "A")
            nodes.until_asked(nodes.near, "Write")
            assert all(client.bind(str(number), "A").created for number in range(10))
            assert not slow.done()
            nodes.release(released)
            assert slow.result(PATIENCE_S).created
        assert nodes.near.write_streams == 1


class TestItsEnd:
    def test_it_is_opened_anew_when_its_node_comes_back(self, nodes: NodeThread) -> None:
        with connect_sync(nodes.near) as client:
            client.bind("before", "A")
            nodes.run(nodes.near.stop())
            with pytest.raises((ConnectFailed, DeadlineExceeded)):
                client.bind("k", "A", timeout=0.05)
            nodes.run(nodes.near.restart())
            assert client.bind("after", "A").created
            _require_nothing_held(client)
        assert nodes.near.write_streams == 2

    def test_what_was_never_sent_is_known_not_to_have_happened(self, nodes: NodeThread) -> None:
        with connect_sync(nodes.near) as client:
            nodes.run(nodes.near.stop())
            # A connection that breaks under a request may have carried it; the next is refused.
            failures = (_failure(client) for _ in range(50))
            assert any(type(failure) is ConnectFailed for failure in failures)

    def test_a_node_that_ends_it_in_good_order_is_left_under_the_same_identity(
        self, nodes: NodeThread, threads: ThreadPoolExecutor
    ) -> None:
        nodes.near.then("Write", hang, end_stream)
        with connect_sync(nodes.near, nodes.far) as client:
            first = threads.submit(client.bind, "1", "A")
            nodes.until_asked(nodes.near, "Write")
            assert client.bind("2", "A").created
            assert first.result(PATIENCE_S).created
            _require_nothing_held(client)
        sent = identities(nodes.near.asked["Write"])
        assert len(sent) == 2
        assert sorted(identities(nodes.far.asked["Write"])) == sent

    def test_with_no_other_node_the_next_stream_is_to_the_same_one(self, nodes: NodeThread) -> None:
        nodes.near.then("Write", end_stream)
        with connect_sync(nodes.near) as client:
            assert client.bind("k", "A").created
        assert nodes.near.write_streams == 2
        first, again = nodes.near.asked["Write"]
        assert identities([first]) == identities([again])

    def test_one_that_ends_with_nothing_under_way_costs_no_op(self, nodes: NodeThread) -> None:
        with connect_sync(nodes.near, nodes.far) as client:
            client.bind("before", "A")
            nodes.run(nodes.near.stop())
            _until(lambda: not client._shell.streams)
            assert client.bind("after", "A").created
        assert [op.key for request in nodes.far.asked["Write"] for op in request.ops] == ["after"]

    def test_a_message_that_makes_no_sense_is_told_and_the_stream_goes_on(
        self, nodes: NodeThread, threads: ThreadPoolExecutor
    ) -> None:
        part = pb.WritePart(number=1, positions=[0], units=["A", "B"])
        nodes.near.then("Write", hang, say(pb.WriteStreamResponse(parts=[part])))
        with connect_sync(nodes.near) as client:
            first = threads.submit(client.bind, "1", "A")
            nodes.until_asked(nodes.near, "Write")
            with pytest.raises(ProtocolError, match="2 units for 1 ops"):
                client.bind("2", "A")
            assert type(first.exception(PATIENCE_S)) is ProtocolError
            assert client.bind("3", "A").created
            _require_nothing_held(client)

    def test_a_request_that_failed_with_its_stream_is_not_sent_on_the_next(
        self, nodes: NodeThread
    ) -> None:
        """Another thread may learn of the end while one is about to send. Its op is counted as
        never sent, and asked for elsewhere: to send it now would make an untruth of that."""
        with connect_sync(nodes.near, nodes.far) as client:
            _until(lambda: client._shell.exchange.nodes.is_up(1))
            with client._shell._lock:
                ticket = client._bind_ticket("k", "A", None)
                ticket.waiter = _Nobody()
                client._shell.exchange.submit(ticket, time.monotonic())
                (call,) = client._shell.exchange.poll(time.monotonic())
                unreached = Failure(FailureKind.UNREACHED, "failed to connect to all addresses")
                client._shell.exchange.stream_failed(call.node, unreached, time.monotonic())
            client._shell._carry_out([call], [])
            assert client.bind("other", "A").created
            client.status(nodes.near.address)
        assert "k" not in {op.key for r in nodes.near.asked["Write"] for op in r.ops}
        assert "k" in {op.key for r in nodes.far.asked["Write"] for op in r.ops}


def _pends(client: SyncGlobalTable, count: int) -> bool:
    return client._shell.exchange.pending == count


class _Nobody:
    def tell(self, value: object, error: object) -> None:
        pass


def _failure(client: SyncGlobalTable) -> Exception:
    try:
        client.bind("k", "A", timeout=0.1)
    except (ConnectFailed, DeadlineExceeded) as error:
        return error
    raise AssertionError("it happened")


class TestClose:
    def test_no_thread_is_left(self, nodes: NodeThread, threads: ThreadPoolExecutor) -> None:
        before = set(threading.enumerate())
        with connect_sync(nodes.near, nodes.far) as client:
            assert client.bind("k", "A").created
            nodes.near.always("Write", hang)
            sent = threads.submit(client.bind, "k", "A")
            nodes.until_asked(nodes.near, "Write", 2)
        assert type(sent.exception(PATIENCE_S)) is OutcomeUnknown
        assert not _named("globaltable", before)
        # gRPC's own, which took the requests, learns of the end and goes.
        _until(lambda: not _named("", before))

    def test_a_stream_may_end_by_itself_meanwhile(self, nodes: NodeThread) -> None:
        """As when a cluster is stopped together with its clients."""
        client = connect_sync(nodes.near, nodes.far)
        client.bind("k", "A")
        stopping = threading.Thread(target=nodes.run, args=(nodes.near.stop(),))
        stopping.start()
        client.close()
        stopping.join(PATIENCE_S)
        assert not stopping.is_alive() and not _named("globaltable", set())


def _named(name: str, but: set[threading.Thread]) -> list[threading.Thread]:
    """The threads of this name, but for those that callers wait in and those that were there."""
    return [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith(name)
        and thread not in but
        and not thread.name.startswith("ThreadPoolExecutor")
    ]


def _until(reached: Callable[[], object]) -> None:
    """Until something is so that nobody tells of."""
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.001)
