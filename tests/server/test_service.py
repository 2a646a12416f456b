"""Every request is checked whole before anything happens, and what is refused says why."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from globaltable import limits
from globaltable.errors import NoQuorum, Overloaded
from globaltable.model import Binding, Op, Outcome, OutcomeStatus, qualified_name, split_name
from globaltable.server.driver import Told
from globaltable.server.refusals import ERROR_TRAILER
from globaltable.server.service import (
    SCAN_LOOKS_MAX,
    SCAN_PAGE_DEFAULT,
    GlobalTableService,
)
from globaltable.server.watches import Watcher, Watches
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc
from tests.server.tables import TABLE, Tables

TIMEOUT_S = 5.0


class _Node:
    """A backend of one group without consensus, that notes what it was asked to write."""

    tables = (TABLE, "other")

    def __init__(self) -> None:
        self.group = Tables()
        self.written: list[Op] = []
        self.barriers = 0
        self.fails: Exception | None = None
        self.answers: Sequence[Outcome] | None = None
        self.scanned: list[int] = []

    @property
    def watches(self) -> Watches:
        return self.group.watches

    def submit(self, ops: Sequence[Op], timeout_s: float | None, told: Told) -> None:
        assert timeout_s is None or 0 < timeout_s < 2 * TIMEOUT_S
        self.written += ops
        outcomes = self.answers if self.answers is not None else self.group.apply(ops)
        told(range(len(ops)), outcomes)

    async def barrier(self, names: Iterable[bytes], timeout_s: float | None) -> None:
        self._may_fail()
        self.barriers += 1

    def read(self, names: Sequence[bytes]) -> list[tuple[Binding | None, int]]:
        self._may_fail()
        table = self.group.by_group[0]
        return [(table.get(name), table.applied) for name in names]

    def scan(
        self, table: str, prefix: str, token: bytes, count: int, wanted: bytes = b""
    ) -> tuple[list[tuple[str, Binding]], bytes]:
        self._may_fail()
        self.scanned.append(count)
        name = qualified_name(table, prefix)
        found = [
            (key[2:], binding)
            for key, binding in self.group.by_group[0].scan(b"", b"\xff" * 3)
            if key[2:].startswith(name)
        ]
        start = int(token or b"0")
        page = [(split_name(key)[1], binding) for key, binding in found[start : start + count]]
        more = start + count < len(found)
        return page, b"%d" % (start + count) if more else b""

    def open_watch(
        self, start: bytes, exact: bool, after: Mapping[int, int], groups: Sequence[int] = ()
    ) -> Watcher:
        self._may_fail()
        return self.watches.add(start, exact, [0], after)

    def status(self) -> pb.StatusResponse:
        return pb.StatusResponse(cluster="im", node="a")

    def topology(self, table: str, known: tuple[int, int]) -> pb.TopologyResponse:
        return pb.TopologyResponse(version=3, node="a")

    def placement(self, table: str) -> pb.PlacementResponse:
        return pb.PlacementResponse(cheapest=[1], expected_s=0.005)

    def _may_fail(self) -> None:
        if self.fails is not None:
            raise self.fails


class _Caller:
    """A stub of the service, and what is behind it."""

    def __init__(self, channel: grpc.aio.Channel, node: _Node) -> None:
        self._stub: Any = pb_grpc.GlobalTableServiceStub(channel)  # type: ignore[arg-type]
        self.node = node

    async def write(self, *ops: pb.Op, table: str = TABLE) -> list[pb.Outcome]:
        request = pb.WriteRequest(table=table, client_id=7, ops=ops)
        return list((await self._stub.Write(request, timeout=TIMEOUT_S)).outcomes)

    async def read(
        self, *keys: str, table: str = TABLE, linearizable: bool = False
    ) -> list[pb.ReadResult]:
        request = pb.ReadRequest(table=table, keys=keys, linearizable=linearizable)
        return list((await self._stub.Read(request, timeout=TIMEOUT_S)).results)

    async def scan(self, **fields: Any) -> pb.ScanResponse:
        response = await self._stub.Scan(pb.ScanRequest(**fields), timeout=TIMEOUT_S)
        assert isinstance(response, pb.ScanResponse)
        return response

    @asynccontextmanager
    async def watch(self, **fields: Any) -> AsyncIterator[Any]:
        stream = self._stub.Watch(pb.WatchRequest(**fields), timeout=TIMEOUT_S)
        try:
            yield stream
        finally:
            stream.cancel()

    async def placement(self) -> pb.PlacementResponse:
        response = await self._stub.Placement(pb.PlacementRequest(), timeout=TIMEOUT_S)
        assert isinstance(response, pb.PlacementResponse)
        return response

    async def status(self) -> pb.StatusResponse:
        response = await self._stub.Status(pb.StatusRequest(), timeout=TIMEOUT_S)
        assert isinstance(response, pb.StatusResponse)
        return response


@pytest.fixture
async def caller() -> AsyncIterator[_Caller]:
    node = _Node()
    server = grpc.aio.server()
    pb_grpc.add_GlobalTableServiceServicer_to_server(GlobalTableService(node), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield _Caller(channel, node)
    finally:
        await server.stop(grace=None)


def _bind(key: str, unit: str = "A", sequence: int = 1) -> pb.Op:
    return pb.Op(kind=pb.OP_KIND_BIND, key=key, unit=unit, sequence=sequence)


def _detail(error: grpc.aio.AioRpcError) -> pb.ErrorDetail:
    trailers: dict[str, Any] = dict(error.trailing_metadata())  # type: ignore[arg-type]
    return pb.ErrorDetail.FromString(trailers[ERROR_TRAILER])


Reason = pb.ErrorDetail
_LONG_KEY = "k" * (limits.KEY_BYTES_MAX + 1)


class TestWrite:
    async def test_an_op_is_handed_on_as_it_came(self, caller: _Caller) -> None:
        (outcome,) = await caller.write(_bind("cid:λ", "A", 9))
        assert outcome == pb.Outcome(
            status=pb.OUTCOME_STATUS_APPLIED,
            binding=pb.Binding(unit="A", version=1, revision=2),
        )
        (op,) = caller.node.written
        assert (op.name, op.client_id, op.sequence) == (qualified_name(TABLE, "cid:λ"), 7, 9)

    async def test_who_comes_second_is_told_the_winner(self, caller: _Caller) -> None:
        await caller.write(_bind("k", "A", 1))
        (outcome,) = await caller.write(_bind("k", "B", 2))
        assert outcome.status == pb.OUTCOME_STATUS_EXISTS
        assert (outcome.binding.unit, outcome.binding.version) == ("A", 1)

    @pytest.mark.parametrize(
        ("op", "words"),
        [
            (_bind(""), "key is empty"),
            (_bind(_LONG_KEY), "key is 257 bytes long; at most 256"),
            (_bind("λ" * 129), "key is 258 bytes long"),
            (_bind("k", ""), "unit is empty"),
            (_bind("k", "u" * 65), "unit is 65 bytes long; at most 64"),
            (pb.Op(kind=pb.OP_KIND_MOVE, key="k", unit="B"), "version 0 is out of range"),
            (
                pb.Op(kind=pb.OP_KIND_MOVE, key="k", unit="B", version=2**63),
                f"version {2**63} is out of range",
            ),
            (pb.Op(kind=pb.OP_KIND_MOVE, key="k", version=1), "unit is empty"),
            (pb.Op(kind=pb.OP_KIND_UNBIND, key="k"), "version 0 is out of range"),
            # A negative version is a large one on the wire.
            (
                pb.Op(kind=pb.OP_KIND_UNBIND, key="k", version=-1 % 2**64),
                "version 18446744073709551615 is out of range",
            ),
            (pb.Op(key="k", unit="A"), "op kind 0 is not known"),
            (pb.Op(kind=9, key="k", unit="A"), "op kind 9 is not known"),  # type: ignore[arg-type]
        ],
    )
    async def test_a_bad_op_is_refused_alone_and_not_written(
        self, caller: _Caller, op: pb.Op, words: str
    ) -> None:
        before, bad, after = await caller.write(_bind("1", sequence=1), op, _bind("2", sequence=2))
        assert bad.status == pb.OUTCOME_STATUS_INVALID_ARGUMENT
        assert words in bad.detail and not bad.HasField("binding")
        assert before.status == after.status == pb.OUTCOME_STATUS_APPLIED
        assert [split_name(written.name)[1] for written in caller.node.written] == ["1", "2"]

    async def test_as_many_ops_as_the_bound_pass(self, caller: _Caller) -> None:
        ops = [_bind(str(n), sequence=n) for n in range(limits.WRITE_OPS_MAX)]
        outcomes = await caller.write(*ops)
        assert len(outcomes) == limits.WRITE_OPS_MAX
        assert {outcome.status for outcome in outcomes} == {pb.OUTCOME_STATUS_APPLIED}

    async def test_one_more_is_refused_whole(self, caller: _Caller) -> None:
        ops = [_bind(str(n), sequence=n) for n in range(limits.WRITE_OPS_MAX + 1)]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.write(*ops)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        detail = _detail(refused.value)
        assert detail.reason == Reason.REASON_LIMIT_EXCEEDED
        assert detail.message.startswith("4097 ops in one Write; at most 4096 are allowed")
        assert caller.node.written == []

    async def test_nothing_asked_is_nothing_answered(self, caller: _Caller) -> None:
        assert await caller.write() == []

    async def test_what_is_overloaded_is_told_when_to_retry(self, caller: _Caller) -> None:
        caller.node.answers = [Outcome(OutcomeStatus.OVERLOADED, None, "full")]
        request = pb.WriteRequest(table=TABLE, ops=[_bind("k")])
        response = await caller._stub.Write(request, timeout=TIMEOUT_S)
        assert response.outcomes[0].status == pb.OUTCOME_STATUS_OVERLOADED
        assert response.retry_delay_ms > 0

    @pytest.mark.parametrize("status", OutcomeStatus)
    async def test_every_outcome_keeps_its_number(
        self, caller: _Caller, status: OutcomeStatus
    ) -> None:
        binding = Binding("A", 3, 8)
        caller.node.answers = [Outcome(status, binding)]
        (outcome,) = await caller.write(_bind("k"))
        assert outcome.status == int(status)
        assert outcome.binding == pb.Binding(unit="A", version=3, revision=8)


class TestRead:
    async def test_results_come_in_the_order_of_the_keys(self, caller: _Caller) -> None:
        await caller.write(_bind("1", "A", 1), _bind("2", "B", 2))
        results = await caller.read("2", "absent", "1", "2")
        units = [result.binding.unit for result in results]
        assert units == ["B", "", "A", "B"]
        assert [result.HasField("binding") for result in results] == [True, False, True, True]
        assert {result.read_revision for result in results} == {2}

    async def test_a_table_does_not_see_another_ones_keys(self, caller: _Caller) -> None:
        await caller.write(_bind("k"))
        (result,) = await caller.read("k", table="other")
        assert not result.HasField("binding")

    async def test_only_a_linearizable_one_waits_at_the_barrier(self, caller: _Caller) -> None:
        await caller.read("k")
        assert caller.node.barriers == 0
        await caller.read("k", linearizable=True)
        assert caller.node.barriers == 1

    @pytest.mark.parametrize(
        ("keys", "reason", "words"),
        [
            (["k", ""], Reason.REASON_INVALID_ARGUMENT, "key is empty"),
            (["k", _LONG_KEY], Reason.REASON_LIMIT_EXCEEDED, "key is 257 bytes long"),
            (["k"] * 16_385, Reason.REASON_LIMIT_EXCEEDED, "16385 keys in one Read"),
        ],
        ids=["empty", "long", "many"],
    )
    async def test_bad_keys_are_refused_before_the_barrier(
        self, caller: _Caller, keys: list[str], reason: int, words: str
    ) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.read(*keys, linearizable=True)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        detail = _detail(refused.value)
        assert detail.reason == reason and words in detail.message
        assert caller.node.barriers == 0


class TestScan:
    KEYS = tuple(f"cid:{number:04}" for number in range(SCAN_PAGE_DEFAULT + 500))

    async def test_pages_hold_everything_once(self, caller: _Caller) -> None:
        caller.node.group.bind(*self.KEYS, "other")
        seen: list[str] = []
        token = b""
        for _ in range(10):
            page = await caller.scan(table=TABLE, prefix="cid:", page_size=400, page_token=token)
            seen += [entry.key for entry in page.entries]
            token = page.next_page_token
            if not token:
                break
        assert sorted(seen) == sorted(self.KEYS)

    async def test_a_page_is_bounded_and_so_is_each_look(self, caller: _Caller) -> None:
        caller.node.group.bind(*self.KEYS)
        page = await caller.scan(table=TABLE)
        assert len(page.entries) == SCAN_PAGE_DEFAULT
        assert page.next_page_token
        assert max(caller.node.scanned) <= 500

    async def test_a_page_comes_though_nothing_is_found_for_long(
        self, caller: _Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where most keys were unbound it takes many looks to fill a page, and its caller would
        give it up, and ask another node for the same."""
        looks = 0

        def scan(
            table: str, prefix: str, token: bytes, count: int, wanted: bytes
        ) -> tuple[list[Any], bytes]:
            nonlocal looks
            looks += 1
            return [], b"%d" % looks

        monkeypatch.setattr(caller.node, "scan", scan)
        page = await caller.scan(table=TABLE)
        assert (len(page.entries), page.next_page_token) == (0, b"%d" % SCAN_LOOKS_MAX)
        page = await caller.scan(table=TABLE, page_token=page.next_page_token)
        assert page.next_page_token == b"%d" % (2 * SCAN_LOOKS_MAX)

    async def test_a_page_over_the_limit_is_refused(self, caller: _Caller) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.scan(table=TABLE, page_size=limits.SCAN_PAGE_MAX + 1)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert _detail(refused.value).reason == Reason.REASON_LIMIT_EXCEEDED

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"page_token": b"t" * 600}, "a page_token of 600 bytes"),
            ({"prefix": _LONG_KEY}, "key is 257 bytes long"),
        ],
        ids=["token", "prefix"],
    )
    async def test_what_no_key_can_be_is_not_looked_for(
        self, caller: _Caller, fields: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(grpc.aio.AioRpcError, match=words) as refused:
            await caller.scan(table=TABLE, **fields)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caller.node.scanned == []


class TestWatch:
    async def test_a_prefix_that_is_none_of_any_key_is_not_kept(self, caller: _Caller) -> None:
        async with caller.watch(table=TABLE, prefix=_LONG_KEY) as stream:
            with pytest.raises(grpc.aio.AioRpcError, match="key is 257 bytes long"):
                await stream.read()

    async def test_it_says_where_it_starts_and_streams_from_there(self, caller: _Caller) -> None:
        async with caller.watch(table=TABLE, prefix="cid:") as stream:
            first = await stream.read()
            assert first == pb.WatchResponse(position=[pb.GroupRevision(group=0, revision=1)])
            revision = caller.node.group.bind("cid:1", "other")
            changes: list[pb.Change] = []
            while not changes:
                response = await stream.read()
                changes += response.changes
            assert changes == [
                pb.Change(
                    kind=pb.CHANGE_KIND_BOUND, key="cid:1", unit="A", version=1, revision=revision
                )
            ]
            assert response.position == [pb.GroupRevision(group=0, revision=revision)]

    async def test_it_resumes_after_the_position_given(self, caller: _Caller) -> None:
        seen = caller.node.group.bind("seen")
        caller.node.group.bind("missed")
        after = [pb.GroupRevision(group=0, revision=seen)]
        async with caller.watch(table=TABLE, key="missed", after=after) as stream:
            assert (await stream.read()).position == after
            (change,) = (await stream.read()).changes
            assert change.key == "missed"

    async def test_one_that_is_cancelled_is_forgotten(self, caller: _Caller) -> None:
        async with caller.watch(table=TABLE, prefix="") as stream:
            await stream.read()
            assert len(caller.node.watches) == 1
        async with asyncio.timeout(TIMEOUT_S):
            while len(caller.node.watches):
                await asyncio.sleep(0.005)

    async def test_what_is_compacted_is_told_with_the_oldest_kept(self, caller: _Caller) -> None:
        caller.node.group.install_snapshot(40)
        after = [pb.GroupRevision(group=0, revision=3)]
        async with caller.watch(table=TABLE, prefix="", after=after) as stream:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stream.read()
        assert refused.value.code() is grpc.StatusCode.OUT_OF_RANGE
        detail = _detail(refused.value)
        assert detail.reason == Reason.REASON_COMPACTED
        assert list(detail.oldest) == [pb.GroupRevision(group=0, revision=40)]

    async def test_one_that_lags_is_told_and_forgotten(self, caller: _Caller) -> None:
        async with caller.watch(table=TABLE, prefix="") as stream:
            await stream.read()
            await stream.read()
            caller.node.group.install_snapshot(40)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stream.read()
        detail = _detail(refused.value)
        assert detail.reason == Reason.REASON_LAGGED
        assert list(detail.oldest) == [pb.GroupRevision(group=0, revision=40)]
        async with asyncio.timeout(10):
            # The refusal may be here before the handler has come to its end.
            while len(caller.node.watches):
                await asyncio.sleep(0.005)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({}, "a watch needs a key or a prefix"),
            ({"key": ""}, "key is empty"),
            ({"key": _LONG_KEY}, "key is 257 bytes long"),
        ],
        ids=["nothing", "empty", "long"],
    )
    async def test_a_bad_one_is_refused(
        self, caller: _Caller, fields: dict[str, Any], words: str
    ) -> None:
        async with caller.watch(table=TABLE, **fields) as stream:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stream.read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert words in _detail(refused.value).message
        assert len(caller.node.watches) == 0


@pytest.mark.parametrize("method", ["write", "read", "scan", "watch"])
async def test_an_unknown_table_is_refused_with_those_there_are(
    caller: _Caller, method: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _ask(caller, method, table="im")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert _detail(refused.value) == pb.ErrorDetail(
        reason=pb.ErrorDetail.REASON_UNKNOWN_TABLE,
        message="unknown table 'im'; this cluster has im.session, other",
    )
    assert caller.node.written == []


@pytest.mark.parametrize("method", ["read", "watch"])
async def test_what_the_node_cannot_do_is_told_with_the_delay(caller: _Caller, method: str) -> None:
    caller.node.fails = Overloaded("the queue is full", 0.25)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _ask(caller, method)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    detail = _detail(refused.value)
    assert (detail.reason, detail.retry_delay_ms) == (Reason.REASON_OVERLOADED, 250)


@pytest.mark.parametrize("method", ["read", "scan", "watch"])
async def test_a_node_without_a_majority_says_so(caller: _Caller, method: str) -> None:
    caller.node.fails = NoQuorum("out of service")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _ask(caller, method)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert _detail(refused.value).reason == Reason.REASON_NO_QUORUM


async def _ask(caller: _Caller, method: str, table: str = TABLE) -> None:
    match method:
        case "write":
            await caller.write(_bind("k"), table=table)
        case "read":
            await caller.read("k", table=table, linearizable=True)
        case "scan":
            await caller.scan(table=table)
        case "watch":
            async with caller.watch(table=table, prefix="") as stream:
                await stream.read()


async def test_status_is_the_nodes_own(caller: _Caller) -> None:
    assert await caller.status() == pb.StatusResponse(cluster="im", node="a")


async def test_where_new_keys_go_is_the_nodes_own_word(caller: _Caller) -> None:
    told = await caller.placement()
    assert (list(told.cheapest), told.expected_s) == ([1], 0.005)
