"""The asyncio client against real nodes on real sockets, whose answers the tests write."""

import asyncio
import itertools
import os
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from globaltable import limits
from globaltable.admin.certificates import pair_of
from globaltable.client import Binding, ClientClosed, GlobalTable, TlsConfig
from globaltable.errors import (
    ConfigError,
    ConnectFailed,
    GlobalTableError,
    InvalidArgument,
    NotBound,
    Overloaded,
    ProtocolError,
    VersionConflict,
)
from globaltable.server.identities import Identity, Kind
from globaltable.v1 import globaltable_pb2 as pb
from tests.certificates import Pki
from tests.client.asking import ASKING, SLACK_S, connect
from tests.client.desk import TABLE
from tests.client.scripted_node import ScriptedNode, hang, say


class TestLife:
    async def test_open_inside_async_with_and_closed_behind_it(self, near: ScriptedNode) -> None:
        async with connect(near) as client:
            assert (await client.bind("k", "A")).created
        with pytest.raises(ClientClosed):
            await client.bind("k", "A")

    async def test_or_awaited_and_closed_by_hand_as_often_as_one_likes(
        self, near: ScriptedNode
    ) -> None:
        client = await connect(near)
        assert await client.open() is client
        assert (await client.status()).node == near.address
        await client.close()
        await client.close()
        with pytest.raises(ClientClosed):
            await client.open()

    @pytest.mark.parametrize("method", ASKING)
    async def test_before_and_after_nothing_can_be_asked(
        self, near: ScriptedNode, method: str
    ) -> None:
        client = connect(near)
        with pytest.raises(ClientClosed, match="is not open"):
            await ASKING[method](client)
        async with client:
            pass
        asked = len(near.asked["Topology"])
        with pytest.raises(ClientClosed):
            await ASKING[method](client)
        assert set(near.asked) <= {"Topology"} and len(near.asked["Topology"]) == asked

    async def test_it_is_closed_when_the_block_raises(self, near: ScriptedNode) -> None:
        client = connect(near)
        with pytest.raises(ZeroDivisionError):
            async with client:
                _ = 1 / 0
        with pytest.raises(ClientClosed):
            await client.get("k")

    async def test_one_node_of_several_is_enough(self, near: ScriptedNode, dead: str) -> None:
        async with connect(dead, near) as client:
            assert (await client.status()).node == near.address

    async def test_if_no_node_answers_it_says_which_and_why_and_stays_closed(
        self, dead: str
    ) -> None:
        client = connect(dead, timeout=0.2)
        began_at = time.monotonic()
        with pytest.raises(ConnectFailed, match="no node answered in time") as failed:
            await client.open()
        assert 0.2 <= time.monotonic() - began_at < 0.2 + SLACK_S
        assert dead in str(failed.value) and "refused" in str(failed.value)
        with pytest.raises(ClientClosed):
            await client.open()

    async def test_who_opens_it_meanwhile_waits_until_it_is_open(self, near: ScriptedNode) -> None:
        released = near.hold("Topology", 2)
        client = connect(near)
        opening = [asyncio.ensure_future(client.open()) for _ in range(3)]
        await near.until_asked("Topology")
        assert not any(task.done() for task in opening)
        released.set()
        assert await asyncio.gather(*opening) == [client] * 3
        assert (await client.bind("k", "A")).created
        await client.close()

    async def test_or_is_told_that_it_is_not_to_be(self, dead: str) -> None:
        client = connect(dead, timeout=0.2)
        told = await asyncio.gather(client.open(), client.open(), return_exceptions=True)
        assert [type(error) for error in told] == [ConnectFailed, ClientClosed]

    async def test_opening_can_be_given_up(self, near: ScriptedNode) -> None:
        near.always("Topology", hang)
        client = connect(near)
        opening = asyncio.ensure_future(client.open())
        await near.until_asked("Topology")
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        with pytest.raises(ClientClosed):
            await client.get("k")

    async def test_with_tls_both_ends_show_who_they_are(self, tmp_path: Path) -> None:
        pki = Pki(tmp_path)
        node = ScriptedNode()
        await node.start(pki.certificates("a").grpc_credentials())
        try:
            async with connect(node, tls=pki.client("web")) as client:
                assert (await client.bind("k", "A")).unit == "A"
        finally:
            await node.stop()

    async def test_a_clients_certificate_serves_nobody(self, tmp_path: Path) -> None:
        """Not even with the right host name: it is good for clients only."""
        pki = Pki(tmp_path)
        identity = Identity("im", Kind.CLIENT, "evil")
        files = pair_of(tmp_path, "evil")
        pki.authority.issue(files, identity, ["127.0.0.1"])
        pair = (files.key.read_bytes(), files.cert.read_bytes())
        node = ScriptedNode()
        await node.start(grpc.ssl_server_credentials([pair], pki.ca.read_bytes(), True))
        try:
            with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED"):
                await connect(node, tls=pki.client("web"), timeout=0.3)
        finally:
            await node.stop()

    async def test_files_that_are_not_there_are_named_at_once(self, tmp_path: Path) -> None:
        missing = TlsConfig(tmp_path / "ca.pem", tmp_path / "c.pem", tmp_path / "c-key.pem")
        with pytest.raises(ConfigError, match=r"ca\.pem cannot be read: No such file"):
            GlobalTable.connect(["127.0.0.1:1"], table="t", tls=missing)

    async def test_files_that_have_changed_are_shown_once_a_node_refuses_what_was(
        self, tmp_path: Path
    ) -> None:
        before, after = Pki(tmp_path / "before"), Pki(tmp_path / "after")
        shown = before.client("web")
        node = ScriptedNode()
        await node.start(before.certificates("a").grpc_credentials())
        try:
            async with connect(node, tls=shown) as client:
                await client.bind("k", "A")
                await node.stop()
                await node.restart(after.certificates("a").grpc_credentials())
                with pytest.raises(ConnectFailed):
                    await client.bind("l", "A", timeout=0.3)
                renewed = after.client("web")
                for new, old in (
                    (renewed.ca, shown.ca),
                    (renewed.cert, shown.cert),
                    (renewed.key, shown.key),
                ):
                    os.replace(new, old)
                assert (await client.bind("l", "A")).unit == "A"
        finally:
            await node.stop()


class TestCalls:
    async def test_each_asks_what_it_says_and_tells_what_came_back(
        self, near: ScriptedNode
    ) -> None:
        async with connect(near) as client:
            assert await client.bind("k", "A") == Binding("A", 1, 1, created=True)
            assert await client.move("k", to="B", version=1) == Binding("B", 2, 2)
            await client.unbind("k", version=2)
            assert await client.get("k") is None
            assert await client.get("k", linearizable=True) is None
        assert [op for request in near.asked["Write"] for op in request.ops] == [
            pb.Op(kind=pb.OP_KIND_BIND, key="k", unit="A", sequence=1),
            pb.Op(kind=pb.OP_KIND_MOVE, key="k", unit="B", version=1, sequence=2),
            pb.Op(kind=pb.OP_KIND_UNBIND, key="k", version=2, sequence=3),
        ]
        assert [request.linearizable for request in near.asked["Read"]] == [False, True]
        assert {request.table for m in ("Write", "Read") for request in near.asked[m]} == {TABLE}

    @pytest.mark.parametrize(
        ("status", "told"),
        [
            (pb.OUTCOME_STATUS_VERSION_CONFLICT, VersionConflict),
            (pb.OUTCOME_STATUS_NOT_BOUND, NotBound),
            (pb.OUTCOME_STATUS_INVALID_ARGUMENT, InvalidArgument),
            (pb.OUTCOME_STATUS_EXISTS, ProtocolError),
        ],
    )
    async def test_what_the_table_refuses_is_raised(
        self, near: ScriptedNode, status: pb.OutcomeStatus, told: type[GlobalTableError]
    ) -> None:
        binding = pb.Binding(unit="C", version=5, revision=70)
        outcome = pb.Outcome(status=status, binding=binding)
        near.then("Write", say(pb.WriteResponse(outcomes=[outcome])))
        async with connect(near) as client:
            with pytest.raises(told) as refused:
                await client.move("k", to="B", version=1)
        assert type(refused.value) is told
        if isinstance(refused.value, VersionConflict):
            assert refused.value.current == Binding("C", 5, 70)

    async def test_a_status_is_that_of_the_node_asked(
        self, near: ScriptedNode, far: ScriptedNode
    ) -> None:
        async with connect(near, far) as client:
            assert (await client.status()).node == near.address
            assert (await client.status(far.address)).node == far.address

    async def test_a_status_of_one_that_is_dead_is_nobody_elses(
        self, near: ScriptedNode, dead: str
    ) -> None:
        async with connect(near, dead) as client:
            with pytest.raises(ConnectFailed, match="status: no node could be reached"):
                await client.status(dead, timeout=0.2)


class TestPacking:
    async def test_what_is_asked_for_at_one_time_travels_in_one_request(
        self, near: ScriptedNode
    ) -> None:
        async with connect(near) as client:
            bindings = await asyncio.gather(*(client.bind(f"k{n}", f"u{n}") for n in range(500)))
            found = await asyncio.gather(*(client.get(f"k{n}") for n in range(500)))
        assert [binding.unit for binding in bindings] == [f"u{n}" for n in range(500)]
        assert found == [None] * 500
        assert [len(request.ops) for request in near.asked["Write"]] == [500]
        assert [len(request.keys) for request in near.asked["Read"]] == [500]

    async def test_what_comes_while_all_calls_are_under_way_packs_up_behind_them(
        self, near: ScriptedNode, few_calls: int
    ) -> None:
        released = near.hold("Write", few_calls)
        async with connect(near) as client:
            early = []
            for number in range(few_calls):
                early.append(asyncio.ensure_future(client.bind(f"early {number}", "A")))
                await near.until_asked("Write", number + 1)
            late = [asyncio.ensure_future(client.bind(f"late {n}", "A")) for n in range(100)]
            await client.get("k")
            assert len(near.asked["Write"]) == few_calls
            released.set()
            await asyncio.gather(*early, *late)
        assert [len(r.ops) for r in near.asked["Write"]] == [1] * few_calls + [100]

    async def test_beyond_pending_max_a_caller_is_refused_at_once(self, near: ScriptedNode) -> None:
        released = near.hold("Write")
        async with connect(near, pending_max=2) as client:
            waiting = [asyncio.ensure_future(client.bind(key, "A")) for key in "ab"]
            await near.until_asked("Write")
            with pytest.raises(Overloaded, match="pending_max"):
                await client.bind("c", "A")
            released.set()
            await asyncio.gather(*waiting)
            await client.bind("c", "A")


class TestReads:
    async def test_more_keys_than_one_request_takes_are_asked_for_in_several(
        self, near: ScriptedNode
    ) -> None:
        keys = [f"k{number}" for number in range(limits.READ_KEYS_MAX + 4_000)]

        async def hold_every_third(request: pb.ReadRequest, context: Any) -> pb.ReadResponse:
            return pb.ReadResponse(
                results=[
                    pb.ReadResult(
                        binding=pb.Binding(unit=key, version=1) if int(key[1:]) % 3 == 0 else None
                    )
                    for key in request.keys
                ]
            )

        near.always("Read", hold_every_third)
        async with connect(near) as client:
            found = await client.get_many(itertools.chain(keys, keys[:100]), linearizable=True)
        assert list(found.items()) == [(key, Binding(key, 1, 0)) for key in keys[::3]]
        requests = near.asked["Read"]
        assert [len(r.keys) for r in requests] == [limits.READ_KEYS_MAX, 4_000]
        assert all(request.linearizable for request in requests)

    async def test_none_at_all_asks_nobody(self, near: ScriptedNode) -> None:
        async with connect(near) as client:
            assert await client.get_many([]) == {}
        assert not near.asked["Read"]

    async def test_a_scan_goes_on_page_by_page_to_the_end(self, near: ScriptedNode) -> None:
        pages = [
            pb.ScanResponse(
                entries=[
                    pb.ScanEntry(key=f"cid:{key}", binding=pb.Binding(unit="A", version=1))
                    for key in keys
                ],
                next_page_token=token,
            )
            # A page may be empty and yet not be the last.
            for keys, token in (("ab", b"1"), ("", b"2"), ("c", b""))
        ]
        near.then("Scan", *map(say, pages))
        async with connect(near) as client:
            found = [entry async for entry in client.scan(prefix="cid:", page_size=2)]
        assert found == [(f"cid:{key}", Binding("A", 1, 0)) for key in "abc"]
        asked = pb.ScanRequest(table=TABLE, prefix="cid:", page_size=2)
        tokens = []
        for request in near.asked["Scan"]:
            tokens.append(request.page_token)
            request.page_token = b""
            assert request == asked
        assert tokens == [b"", b"1", b"2"]

    async def test_a_page_is_fetched_only_when_it_is_wanted(self, near: ScriptedNode) -> None:
        entry = pb.ScanEntry(key="k", binding=pb.Binding(unit="A", version=1))
        near.then("Scan", say(pb.ScanResponse(entries=[entry], next_page_token=b"1")))
        async with connect(near) as client:
            scan = client.scan()
            assert (await anext(scan))[0] == "k"
            assert len(near.asked["Scan"]) == 1
            with pytest.raises(StopAsyncIteration):
                await anext(scan)

    async def test_a_scan_that_would_never_end_is_a_protocol_error(
        self, near: ScriptedNode
    ) -> None:
        near.always("Scan", say(pb.ScanResponse(next_page_token=b"again")))
        async with connect(near) as client:
            with pytest.raises(ProtocolError, match="a second time"):
                await anext(client.scan())
