"""Requests of a write stream over a real socket: each op is checked by itself, and answered soon
after it was decided."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from globaltable import limits
from globaltable.model import Op, Outcome, OutcomeStatus, qualified_name, split_name
from globaltable.server import writes
from globaltable.server.driver import Told
from globaltable.server.service import GlobalTableService
from globaltable.server.watches import Watcher, Watches
from globaltable.server.writes import PART_DELAY_S, WriteStream
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc
from tests.columns import outcomes_in, stream_request
from tests.server.tables import TABLE, Tables

PATIENCE_S = 5.0
SLACK_S = 0.5
"""What a busy machine may add to a delay."""

_END: Any = grpc.aio.EOF  # type: ignore[attr-defined]

APPLIED = Outcome(OutcomeStatus.APPLIED, None, "")
OVERLOADED = Outcome(OutcomeStatus.OVERLOADED, None, "full")


class _Submitted:
    """Ops of one request at the node, undecided until the test says how they end."""

    def __init__(self, ops: Sequence[Op], timeout_s: float | None, told: Told) -> None:
        self.ops = ops
        self.timeout_s = timeout_s
        self._told = told

    def decide(self, *positions: int, outcome: Outcome = APPLIED) -> None:
        self._told(positions, [outcome] * len(positions))

    def decide_all(self) -> None:
        self.decide(*range(len(self.ops)))


class _Node:
    """A node that decides nothing by itself."""

    tables = (TABLE, "other")

    def __init__(self) -> None:
        self.group = Tables()
        self.submitted: list[_Submitted] = []

    @property
    def watches(self) -> Watches:
        return self.group.watches

    def submit(self, ops: Sequence[Op], timeout_s: float | None, told: Told) -> None:
        if ops:
            self.submitted.append(_Submitted(ops, timeout_s, told))

    def open_watch(
        self, start: bytes, exact: bool, after: dict[int, int], groups: Sequence[int] = ()
    ) -> Watcher:
        return self.watches.add(start, exact, [0], after)

    def status(self) -> pb.StatusResponse:
        return pb.StatusResponse()

    async def until_submitted(self, requests: int) -> None:
        await _until(lambda: len(self.submitted) >= requests)


async def _until(reached: Callable[[], object]) -> None:
    """Until something is so that nobody tells of."""
    async with asyncio.timeout(PATIENCE_S):
        while not reached():
            await asyncio.sleep(0.001)


class _Stream:
    """The caller's end."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self.call = stub.WriteStream()

    async def send(
        self, number: int, *ops: pb.Op, table: str = TABLE, timeout_ms: int = 2_000
    ) -> None:
        write = pb.WriteRequest(table=table, client_id=7, ops=ops)
        await self.call.write(stream_request(number, write, timeout_ms))

    async def receive(self) -> pb.WriteStreamResponse:
        """The next message, whole."""
        async with asyncio.timeout(PATIENCE_S):
            response = await self.call.read()
        assert isinstance(response, pb.WriteStreamResponse), "the stream has ended"
        return response

    async def answers(self, ops: int) -> dict[tuple[int, int], pb.Outcome]:
        """The outcomes of so many ops, over any number of messages."""
        found: dict[tuple[int, int], pb.Outcome] = {}
        while len(found) < ops:
            more = _outcomes(await self.receive())
            assert not set(more) & set(found), "an op is answered twice"
            found.update(more)
        return found

    async def code(self) -> grpc.StatusCode:
        """How it ended, once all has been read."""
        async with asyncio.timeout(PATIENCE_S):
            assert await self.call.read() is _END
            code = await self.call.code()
        assert isinstance(code, grpc.StatusCode)
        return code

    async def round_trip(self) -> None:
        """What was sent before has come to the server, and it has had time to take it."""
        for _ in range(3):
            await self._stub.Status(pb.StatusRequest(), timeout=PATIENCE_S)


def _outcomes(response: pb.WriteStreamResponse) -> dict[tuple[int, int], pb.Outcome]:
    """By number and position."""
    return {
        (part.number, position): outcome
        for part in response.parts
        for position, outcome in zip(part.positions, outcomes_in(part), strict=True)
    }


class _Served:
    """A service in this process, the node behind it, and callers before it."""

    def __init__(self, node: _Node, service: GlobalTableService, channel: grpc.aio.Channel) -> None:
        self.node = node
        self.service = service
        self.channel = channel
        self.stub: Any = pb_grpc.GlobalTableServiceStub(channel)  # type: ignore[arg-type]

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[_Stream]:
        stream = _Stream(self.stub)
        try:
            yield stream
        finally:
            stream.call.cancel()


@pytest.fixture
async def served() -> AsyncIterator[_Served]:
    node = _Node()
    service = GlobalTableService(node)  # type: ignore[arg-type]
    server = grpc.aio.server()
    pb_grpc.add_GlobalTableServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield _Served(node, service, channel)
    finally:
        await server.stop(grace=None)


def _bind(key: str, unit: str = "A", sequence: int = 1) -> pb.Op:
    return pb.Op(kind=pb.OP_KIND_BIND, key=key, unit=unit, sequence=sequence)


def _statuses(outcomes: Mapping[tuple[int, int], pb.Outcome]) -> dict[tuple[int, int], int]:
    return {place: outcome.status for place, outcome in outcomes.items()}


OK = pb.OUTCOME_STATUS_APPLIED
BAD = pb.OUTCOME_STATUS_INVALID_ARGUMENT
STOPPING = pb.OUTCOME_STATUS_UNAVAILABLE


class TestChecks:
    async def test_ops_are_handed_on_as_they_came_and_with_the_time_they_have(
        self, served: _Served
    ) -> None:
        async with served.stream() as stream:
            await stream.send(1, _bind("k", sequence=9), timeout_ms=1_500)
            await stream.send(2, _bind("k", sequence=10), timeout_ms=0)
            await served.node.until_submitted(2)
        first, second = served.node.submitted
        (op,) = first.ops
        assert (op.name, op.client_id, op.sequence) == (qualified_name(TABLE, "k"), 7, 9)
        assert (first.timeout_s, second.timeout_s) == (1.5, None)

    @pytest.mark.parametrize(
        ("op", "words"),
        [
            (_bind(""), "key is empty"),
            (_bind("k", ""), "unit is empty"),
            (_bind("k" * (limits.KEY_BYTES_MAX + 1)), "key is 257 bytes long"),
            (pb.Op(kind=pb.OP_KIND_MOVE, key="k", unit="B"), "version 0 is out of range"),
            (pb.Op(key="k", unit="A"), "op kind 0 is not known"),
        ],
    )
    async def test_a_bad_op_is_refused_alone_and_not_written(
        self, served: _Served, op: pb.Op, words: str
    ) -> None:
        async with served.stream() as stream:
            await stream.send(1, _bind("1"), op, _bind("2"), op, _bind("3"))
            await served.node.until_submitted(1)
            (submitted,) = served.node.submitted
            assert [split_name(op.name)[1] for op in submitted.ops] == ["1", "2", "3"]
            submitted.decide(2, 0)
            submitted.decide(1, outcome=OVERLOADED)
            found = await stream.answers(5)
        full = pb.OUTCOME_STATUS_OVERLOADED
        assert _statuses(found) == {(1, 0): OK, (1, 1): BAD, (1, 2): full, (1, 3): BAD, (1, 4): OK}
        assert words in found[1, 1].detail and words in found[1, 3].detail

    async def test_a_request_of_bad_ops_only_is_answered_though_none_is_submitted(
        self, served: _Served
    ) -> None:
        async with served.stream() as stream:
            await stream.send(1, _bind(""), _bind("k", ""))
            assert _statuses(await stream.answers(2)) == {(1, 0): BAD, (1, 1): BAD}
        assert served.node.submitted == []

    async def test_a_request_to_an_unknown_table_is_refused_op_by_op_and_the_stream_goes_on(
        self, served: _Served
    ) -> None:
        words = "unknown table 'im'; this cluster has im.session, other"
        async with served.stream() as stream:
            await stream.send(1, *[_bind("k")] * 2, table="im")
            found = await stream.answers(2)
            assert sorted(found) == [(1, 0), (1, 1)]
            assert all(o.status == BAD and words in o.detail for o in found.values())
            assert served.node.submitted == []
            await stream.send(2, _bind("k"))
            await served.node.until_submitted(1)
            served.node.submitted[0].decide_all()
            assert _statuses(await stream.answers(1)) == {(2, 0): OK}

    async def test_a_table_of_any_length_is_refused_in_few_words(self, served: _Served) -> None:
        """They are repeated for every op."""
        async with served.stream() as stream:
            await stream.send(1, _bind("k"), _bind("l"), table="t" * 1_000_000)
            found = await stream.answers(2)
        assert all(len(outcome.detail) < 200 for outcome in found.values())

    async def test_a_request_of_too_many_ops_ends_the_stream_once_the_rest_is_answered(
        self, served: _Served
    ) -> None:
        """Millions of empty ops fit into one, and are not worth an answer each."""
        async with served.stream() as stream:
            await stream.send(1, _bind("k"))
            await stream.send(2, *[pb.Op()] * (limits.WRITE_OPS_MAX + 1))
            await served.node.until_submitted(1)
            served.node.submitted[0].decide_all()
            assert _statuses(await stream.answers(1)) == {(1, 0): OK}
            with pytest.raises(grpc.aio.AioRpcError, match="4097 ops in one Write") as refused:
                await stream.receive()
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert len(served.node.submitted) == 1

    async def test_as_many_ops_as_the_bound_pass(self, served: _Served) -> None:
        async with served.stream() as stream:
            await stream.send(1, *[_bind("k")] * limits.WRITE_OPS_MAX)
            await served.node.until_submitted(1)
            served.node.submitted[0].decide_all()
            assert len(await stream.answers(limits.WRITE_OPS_MAX)) == limits.WRITE_OPS_MAX


class TestParts:
    async def test_ops_decided_together_are_answered_in_one_message(self, served: _Served) -> None:
        async with served.stream() as stream:
            for number in (1, 2):
                await stream.send(number, _bind("1"), _bind("2"), _bind("3"))
            await served.node.until_submitted(2)
            first, second = served.node.submitted
            # One group after another, within one turn: as when a commit decides them.
            first.decide(1)
            second.decide(0, 1, 2)
            first.decide(2, 0)
            assert len(_outcomes(await stream.receive())) == 6

    async def test_ops_decided_at_different_times_do_not_wait_for_each_other(
        self, served: _Served
    ) -> None:
        async with served.stream() as stream:
            await stream.send(1, _bind("1"), _bind("2"), _bind("3"))
            await served.node.until_submitted(1)
            (submitted,) = served.node.submitted
            for position in (1, 0, 2):
                submitted.decide(position)
                decided_at = time.monotonic()
                assert list(_outcomes(await stream.receive())) == [(1, position)]
                assert time.monotonic() - decided_at < PART_DELAY_S + SLACK_S

    async def test_ops_wait_a_little_for_the_others_of_their_request(
        self, served: _Served, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A message costs more than an op: groups that decide within a moment share one."""
        monkeypatch.setattr(writes, "PART_DELAY_S", 60.0)
        async with served.stream() as stream:
            await stream.send(1, _bind("1"), _bind("2"), _bind("3"))
            await served.node.until_submitted(1)
            (submitted,) = served.node.submitted
            submitted.decide(1)
            await stream.round_trip()
            submitted.decide(0)
            await stream.round_trip()
            submitted.decide(2)
            assert len(_outcomes(await stream.receive())) == 3

    async def test_what_is_whole_takes_along_what_waits(
        self, served: _Served, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writes, "PART_DELAY_S", 60.0)
        async with served.stream() as stream:
            await stream.send(1, _bind("1"), _bind("2"))
            await stream.send(2, _bind("3"))
            await served.node.until_submitted(2)
            first, second = served.node.submitted
            first.decide(0)
            second.decide(0)
            assert sorted(_outcomes(await stream.receive())) == [(1, 0), (2, 0)]
            first.decide(1)
            assert list(_outcomes(await stream.receive())) == [(1, 1)]

    async def test_two_requests_with_one_number_are_each_answered_in_full(
        self, served: _Served
    ) -> None:
        """A caller's mistake, and the caller's to bear: the node counts each by itself."""
        async with served.stream() as stream:
            await stream.send(1, _bind("1"))
            await stream.send(1, _bind("1"), _bind("2"))
            await served.node.until_submitted(2)
            first, second = served.node.submitted
            second.decide(1)
            assert list(_outcomes(await stream.receive())) == [(1, 1)]
            first.decide(0)
            assert list(_outcomes(await stream.receive())) == [(1, 0)]
            second.decide(0, outcome=OVERLOADED)
            response = await stream.receive()
            assert _statuses(_outcomes(response)) == {(1, 0): pb.OUTCOME_STATUS_OVERLOADED}
            assert response.retry_delay_ms > 0
            await stream.call.done_writing()
            assert await stream.code() is grpc.StatusCode.OK

    async def test_only_what_is_overloaded_is_told_when_to_retry(self, served: _Served) -> None:
        async with served.stream() as stream:
            await stream.send(1, _bind("1"))
            await served.node.until_submitted(1)
            served.node.submitted[0].decide_all()
            assert (await stream.receive()).retry_delay_ms == 0

    async def test_a_caller_with_nothing_more_to_ask_is_answered_what_it_asked(
        self, served: _Served
    ) -> None:
        async with served.stream() as stream:
            await stream.send(1, _bind("1"))
            await stream.call.done_writing()
            await served.node.until_submitted(1)
            await stream.round_trip()
            served.node.submitted[0].decide_all()
            assert list(await stream.answers(1)) == [(1, 0)]
            assert await stream.code() is grpc.StatusCode.OK


async def test_a_request_that_does_not_decode_ends_the_stream_when_the_others_are_answered(
    served: _Served,
) -> None:
    """To end as if all were well would leave the caller to think that it was."""
    path = "/globaltable.v1.GlobalTableService/WriteStream"
    method: Any = served.channel.stream_stream(path, None, None)
    call = method()
    write = pb.WriteRequest(table=TABLE, ops=[_bind("1")])
    await call.write(stream_request(1, write).SerializeToString())
    await call.write(b"\xff\xff\xff")
    await served.node.until_submitted(1)
    served.node.submitted[0].decide_all()
    async with asyncio.timeout(PATIENCE_S):
        response = pb.WriteStreamResponse.FromString(await call.read())
        assert list(_outcomes(response)) == [(1, 0)]
        with pytest.raises(grpc.aio.AioRpcError, match="does not decode") as refused:
            await call.read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await _until(lambda: not _serving())


class TestFlowControl:
    async def test_with_many_ops_under_way_no_more_are_read_until_some_are_answered(
        self, served: _Served, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writes, "STREAM_OPS_MAX", 4)
        node = served.node
        async with served.stream() as stream:
            for number in range(1, 5):
                await stream.send(number, _bind("1"), _bind("2"))
            await node.until_submitted(2)
            await stream.round_trip()
            assert len(node.submitted) == 2
            node.submitted[0].decide(0)
            assert len(await stream.answers(1)) == 1
            await node.until_submitted(3)
            await stream.round_trip()
            assert len(node.submitted) == 3
            node.submitted[0].decide(1)
            node.submitted[1].decide_all()
            await stream.answers(3)
            await node.until_submitted(4)
            for submitted in node.submitted[2:]:
                submitted.decide_all()
            assert len(await stream.answers(4)) == 4

    async def test_one_stream_holds_up_no_other(
        self, served: _Served, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writes, "STREAM_OPS_MAX", 1)
        async with served.stream() as full, served.stream() as other:
            await full.send(1, _bind("1"))
            await served.node.until_submitted(1)
            await other.send(1, _bind("2"))
            await served.node.until_submitted(2)

    async def test_what_is_refused_at_once_makes_room_as_well(
        self, served: _Served, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writes, "STREAM_OPS_MAX", 2)
        async with served.stream() as stream:
            for number in range(1, 11):
                await stream.send(number, _bind(""), _bind(""), _bind(""))
            assert len(await stream.answers(30)) == 30


class TestDrain:
    async def test_what_is_under_way_is_answered_what_is_new_is_not_begun_then_it_ends(
        self, served: _Served
    ) -> None:
        async with served.stream() as stream:
            await stream.send(1, _bind("1"), _bind("2"))
            await served.node.until_submitted(1)
            served.service.drain()
            await stream.send(2, _bind("3"), _bind("4"))
            found = await stream.answers(2)
            assert _statuses(found) == {(2, 0): STOPPING, (2, 1): STOPPING}
            assert "stopping" in found[2, 0].detail
            assert len(served.node.submitted) == 1
            served.node.submitted[0].decide_all()
            assert _statuses(await stream.answers(2)) == {(1, 0): OK, (1, 1): OK}
            assert await stream.code() is grpc.StatusCode.OK

    async def test_one_with_nothing_under_way_ends_at_once(self, served: _Served) -> None:
        async with served.stream() as stream:
            await stream.send(1, _bind("1"))
            await served.node.until_submitted(1)
            served.node.submitted[0].decide_all()
            await stream.answers(1)
            served.service.drain()
            assert await stream.code() is grpc.StatusCode.OK

    async def test_one_that_comes_later_is_told_that_nothing_of_it_happens(
        self, served: _Served
    ) -> None:
        served.service.drain()
        async with served.stream() as stream:
            with pytest.raises(grpc.aio.AioRpcError, match="this node is stopping"):
                await stream.code()
        assert served.node.submitted == []

    async def test_what_is_bad_is_still_told_so(self, served: _Served) -> None:
        async with served.stream() as stream:
            await stream.send(1, _bind("1"))
            await served.node.until_submitted(1)
            served.service.drain()
            await stream.send(2, _bind("2"), table="im")
            assert _statuses(await stream.answers(1)) == {(2, 0): BAD}
            served.node.submitted[0].decide_all()
            await stream.answers(1)
            assert await stream.code() is grpc.StatusCode.OK

    async def test_watches_end_as_well(self, served: _Served) -> None:
        watches = [served.stub.Watch(pb.WatchRequest(table=TABLE, key="k")) for _ in range(2)]
        watches.append(served.stub.Watch(pb.WatchRequest(table=TABLE, prefix="")))
        for watch in watches:
            await watch.read()
        served.service.drain()
        async with asyncio.timeout(PATIENCE_S):
            for watch in watches:
                while (response := await watch.read()) is not _END:
                    assert not response.changes
                assert await watch.code() is grpc.StatusCode.OK
        assert len(served.node.watches) == 0


async def test_no_message_is_too_large_for_its_stream() -> None:
    """Of a group that is out of service each op is told at once why, at some length."""
    node = _Node()
    stream = WriteStream(node)
    ops = [_bind(str(number), sequence=number) for number in range(limits.WRITE_OPS_MAX)]
    write = pb.WriteRequest(table=TABLE, client_id=7, ops=ops)

    async def requests() -> AsyncIterator[pb.WriteStreamRequest]:
        for number in range(4):
            yield stream_request(number, write, 1_000)

    reading = asyncio.create_task(stream.read(requests()))
    await node.until_submitted(4)
    refused = Outcome(OutcomeStatus.UNAVAILABLE, None, "x" * 1_000)
    for submitted in node.submitted:
        submitted.decide(*range(limits.WRITE_OPS_MAX // 2), outcome=refused)
    for submitted in node.submitted:
        submitted.decide(*range(limits.WRITE_OPS_MAX // 2, limits.WRITE_OPS_MAX), outcome=refused)
    messages = [message async for message in stream.answers()]
    await reading
    assert sum(len(part.positions) for m in messages for part in m.parts) == 4 * len(ops)
    assert max(message.ByteSize() for message in messages) < limits.GRPC_MESSAGE_BYTES_MAX


class TestCallersWhoGo:
    @pytest.mark.parametrize("amid", ["undecided ops", "a decided op that waits", "silence"])
    async def test_leave_nothing_behind(
        self, served: _Served, amid: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writes, "PART_DELAY_S", 60.0)
        async with served.stream() as stream:
            await stream.send(1, _bind("1"), _bind("2"))
            await served.node.until_submitted(1)
            (submitted,) = served.node.submitted
            assert _serving()
            match amid:
                case "a decided op that waits":
                    submitted.decide(0)
                case "silence":
                    submitted.decide_all()
                    await stream.answers(2)
        await _until(lambda: not served.service._streams)
        if amid != "silence":
            # They are decided all the same, and nobody is told.
            submitted.decide(1)
            await stream.round_trip()
        await _until(lambda: not _serving())

    async def test_hold_up_nobody(self, served: _Served) -> None:
        async with served.stream() as gone:
            await gone.send(1, _bind("1"))
            await served.node.until_submitted(1)
        async with served.stream() as stream:
            await stream.send(1, _bind("2"))
            await served.node.until_submitted(2)
            for submitted in served.node.submitted:
                submitted.decide_all()
            assert list(await stream.answers(1)) == [(1, 0)]


def _serving() -> list[asyncio.Task[Any]]:
    """The tasks that work for a write stream."""
    return [task for task in asyncio.all_tasks() if "WriteStream" in repr(task.get_coro())]
