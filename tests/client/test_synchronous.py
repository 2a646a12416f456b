"""The client for threads against real nodes on real sockets, whose answers the tests write."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from globaltable import limits
from globaltable.client import Binding, ClientClosed, SyncGlobalTable
from globaltable.errors import (
    ConnectFailed,
    DeadlineExceeded,
    NoQuorum,
    OutcomeUnknown,
    Overloaded,
    ProtocolError,
    Rejected,
    VersionConflict,
)
from globaltable.v1 import globaltable_pb2 as pb
from tests.certificates import Pki
from tests.client.asking import ASKING_SYNC, SLACK_S, connect_sync
from tests.client.desk import TABLE
from tests.client.node_thread import NodeThread
from tests.client.scripted_node import (
    PATIENCE_S,
    Step,
    hang,
    identities,
    refuse,
    refuse_when,
    say,
)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Callers that block, each in a thread of its own."""
    with ThreadPoolExecutor(64) as threads:
        yield threads


def _clients_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "globaltable-client"]


class TestLife:
    def test_open_when_made_and_closed_behind_the_block(self, nodes: NodeThread) -> None:
        with connect_sync(nodes.near) as client:
            assert client.bind("k", "A").created
            assert repr(client).startswith("<SyncGlobalTable table='im.session' nodes=127.0.0.1:")
        assert not _clients_threads()
        with pytest.raises(ClientClosed):
            client.bind("k", "A")

    @pytest.mark.parametrize("method", ASKING_SYNC)
    def test_afterwards_nothing_can_be_asked(self, nodes: NodeThread, method: str) -> None:
        client = connect_sync(nodes.near)
        client.close()
        client.close()
        asked = len(nodes.near.asked["Topology"])
        with pytest.raises(ClientClosed):
            ASKING_SYNC[method](client)
        assert set(nodes.near.asked) <= {"Topology"} and len(nodes.near.asked["Topology"]) == asked

    def test_it_is_closed_when_the_block_raises(self, nodes: NodeThread) -> None:
        client = connect_sync(nodes.near)
        with pytest.raises(ZeroDivisionError), client:
            _ = 1 / 0
        with pytest.raises(ClientClosed):
            client.get("k")

    def test_one_node_of_several_is_enough(self, nodes: NodeThread, dead: str) -> None:
        with connect_sync(dead, nodes.near) as client:
            assert client.status().node == nodes.near.address

    def test_if_no_node_answers_it_says_which_and_why_and_leaves_nothing(self, dead: str) -> None:
        began_at = time.monotonic()
        with pytest.raises(ConnectFailed, match="no node answered in time") as failed:
            connect_sync(dead, timeout=0.2)
        assert 0.2 <= time.monotonic() - began_at < 0.2 + SLACK_S
        assert dead in str(failed.value) and "refused" in str(failed.value)
        assert not _clients_threads()

    def test_with_tls_both_ends_show_who_they_are(self, nodes: NodeThread, tmp_path: Path) -> None:
        pki = Pki(tmp_path)
        nodes.run(nodes.near.stop())
        nodes.run(nodes.near.start(pki.certificates("a").grpc_credentials()))
        with connect_sync(nodes.near, tls=pki.client("web")) as client:
            assert client.bind("k", "A").unit == "A"

    def test_files_that_have_changed_are_shown_once_a_node_refuses_what_was(
        self, nodes: NodeThread, tmp_path: Path
    ) -> None:
        before, after = Pki(tmp_path / "before"), Pki(tmp_path / "after")
        shown = before.client("web")
        nodes.run(nodes.near.stop())
        nodes.run(nodes.near.start(before.certificates("a").grpc_credentials()))
        with connect_sync(nodes.near, tls=shown) as client:
            client.bind("k", "A")
            nodes.run(nodes.near.stop())
            nodes.run(nodes.near.restart(after.certificates("a").grpc_credentials()))
            with pytest.raises(ConnectFailed):
                client.bind("l", "A", timeout=0.3)
            renewed = after.client("web")
            for new, old in (
                (renewed.ca, shown.ca),
                (renewed.cert, shown.cert),
                (renewed.key, shown.key),
            ):
                Path(new).replace(old)
            assert client.bind("l", "A").unit == "A"


class TestCalls:
    def test_each_asks_what_it_says_and_tells_what_came_back(self, nodes: NodeThread) -> None:
        near = nodes.near
        with connect_sync(near) as client:
            assert client.bind("k", "A") == Binding("A", 1, 1, created=True)
            assert client.move("k", to="B", version=1) == Binding("B", 2, 2)
            client.unbind("k", version=2)
            assert client.get("k") is None
            assert client.get("k", linearizable=True) is None
        assert [op for request in near.asked["Write"] for op in request.ops] == [
            pb.Op(kind=pb.OP_KIND_BIND, key="k", unit="A", sequence=1),
            pb.Op(kind=pb.OP_KIND_MOVE, key="k", unit="B", version=1, sequence=2),
            pb.Op(kind=pb.OP_KIND_UNBIND, key="k", version=2, sequence=3),
        ]
        assert [request.linearizable for request in near.asked["Read"]] == [False, True]
        assert {request.table for m in ("Write", "Read") for request in near.asked[m]} == {TABLE}

    def test_what_the_table_refuses_is_raised(self, nodes: NodeThread) -> None:
        conflict = pb.Outcome(
            status=pb.OUTCOME_STATUS_VERSION_CONFLICT,
            binding=pb.Binding(unit="C", version=5, revision=70),
        )
        nodes.near.then("Write", say(pb.WriteResponse(outcomes=[conflict])))
        with connect_sync(nodes.near) as client, pytest.raises(VersionConflict) as refused:
            client.move("k", to="B", version=1)
        assert refused.value.current == Binding("C", 5, 70)

    def test_a_status_is_that_of_the_node_asked(self, nodes: NodeThread) -> None:
        with connect_sync(nodes.near, nodes.far) as client:
            assert client.status().node == nodes.near.address
            assert client.status(nodes.far.address).node == nodes.far.address

    def test_more_keys_than_one_request_takes_are_asked_for_in_several(
        self, nodes: NodeThread
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

        nodes.near.always("Read", hold_every_third)
        with connect_sync(nodes.near) as client:
            found = client.get_many([*keys, *keys[:100]])
        assert list(found.items()) == [(key, Binding(key, 1, 0)) for key in keys[::3]]
        requests = nodes.near.asked["Read"]
        # Each is sent as it comes in: the order in which they arrive is the network's.
        assert sorted(len(r.keys) for r in requests) == [4_000, limits.READ_KEYS_MAX]

    def test_many_keys_are_taken_whole_or_not_at_all(self, nodes: NodeThread) -> None:
        with connect_sync(nodes.near, pending_max=3) as client:
            with pytest.raises(Overloaded):
                client.get_many([str(number) for number in range(limits.READ_KEYS_MAX)])
            assert client._shell.exchange.pending == 0
            assert client.get("k") is None
        assert [len(request.keys) for request in nodes.near.asked["Read"]] == [1]

    def test_a_scan_goes_on_page_by_page_to_the_end(self, nodes: NodeThread) -> None:
        pages = [
            pb.ScanResponse(
                entries=[
                    pb.ScanEntry(key=f"cid:{key}", binding=pb.Binding(unit="A", version=1))
                    for key in keys
                ],
                next_page_token=token,
            )
            for keys, token in (("ab", b"1"), ("", b"2"), ("c", b""))
        ]
        nodes.near.then("Scan", *map(say, pages))
        with connect_sync(nodes.near) as client:
            found = list(client.scan(prefix="cid:", page_size=2))
        assert found == [(f"cid:{key}", Binding("A", 1, 0)) for key in "abc"]
        assert nodes.near.asked["Scan"] == [
            pb.ScanRequest(table=TABLE, prefix="cid:", page_size=2, page_token=token)
            for token in (b"", b"1", b"2")
        ]

    def test_a_scan_that_would_never_end_is_a_protocol_error(self, nodes: NodeThread) -> None:
        nodes.near.always("Scan", say(pb.ScanResponse(next_page_token=b"again")))
        with (
            connect_sync(nodes.near) as client,
            pytest.raises(ProtocolError, match="a second time"),
        ):
            list(client.scan())


class TestThreads:
    def test_each_gets_its_own_answer(self, nodes: NodeThread, threads: ThreadPoolExecutor) -> None:
        def ask(caller: int) -> list[str]:
            return [client.bind(f"{caller}:{n}", f"u{caller}:{n}").unit for n in range(20)]

        with connect_sync(nodes.near) as client:
            told = list(threads.map(ask, range(32)))
        assert told == [[f"u{caller}:{n}" for n in range(20)] for caller in range(32)]
        sent = identities(nodes.near.asked["Write"])
        assert len(sent) == len(set(sent)) == 32 * 20

    def test_what_comes_while_all_calls_are_under_way_packs_up_behind_them(
        self, nodes: NodeThread, threads: ThreadPoolExecutor, few_calls: int
    ) -> None:
        near = nodes.near
        released = near.hold("Write", few_calls)
        with connect_sync(near) as client:
            early = [threads.submit(client.bind, f"early {n}", "A") for n in range(few_calls)]
            nodes.until_asked(near, "Write", few_calls)
            late = [threads.submit(client.bind, f"late {n}", "A") for n in range(40)]
            _until_pending(client, few_calls + 40)
            nodes.release(released)
            assert all(called.result(PATIENCE_S).created for called in early + late)
        assert [len(r.ops) for r in near.asked["Write"]] == [1] * few_calls + [40]

    def test_beyond_pending_max_a_caller_is_refused_at_once(
        self, nodes: NodeThread, threads: ThreadPoolExecutor
    ) -> None:
        released = nodes.near.hold("Write", 2)
        with connect_sync(nodes.near, pending_max=2) as client:
            waiting = [threads.submit(client.bind, key, "A") for key in "ab"]
            _until_pending(client, 2)
            with pytest.raises(Overloaded, match="pending_max"):
                client.bind("c", "A")
            nodes.release(released)
            assert all(called.result(PATIENCE_S).created for called in waiting)
            assert client.bind("c", "A").created

    def test_the_traceback_of_an_error_is_each_callers_own(
        self, nodes: NodeThread, threads: ThreadPoolExecutor
    ) -> None:
        """One refusal of the stream ends what all of them asked for."""
        refused = asyncio.Event()
        nodes.near.always("Write", refuse_when(refused, grpc.StatusCode.PERMISSION_DENIED))
        with connect_sync(nodes.near) as client:
            callers = [threads.submit(client.bind, "k", "A") for _ in range(8)]
            _until_pending(client, 8)
            nodes.release(refused)
            errors = [called.exception(PATIENCE_S) for called in callers]
        assert all(isinstance(error, Rejected) for error in errors)
        assert len({id(error) for error in errors}) == 8
        assert len({str(error) for error in errors}) == 1


def _until_pending(client: SyncGlobalTable, count: int) -> None:
    """Until so many callers wait; they tell nobody when they begin to."""
    deadline = time.monotonic() + PATIENCE_S
    while client._shell.exchange.pending < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


NO_QUORUM = {"reason": pb.ErrorDetail.REASON_NO_QUORUM, "message": "no leader"}

# How a node may fail a call whose op has reached it.
FAILING: dict[str, Step] = {
    "it says it has no majority": refuse(grpc.StatusCode.UNAVAILABLE, **NO_QUORUM),
    "it breaks down": refuse(grpc.StatusCode.UNKNOWN),
    "it cancels the call": refuse(grpc.StatusCode.CANCELLED),
    "it is silent": hang,
}


class TestFailures:
    def test_from_a_dead_address_to_a_live_one(self, nodes: NodeThread, dead: str) -> None:
        with connect_sync(dead, nodes.near) as client:
            assert client.bind("k", "A").created

    @pytest.mark.parametrize("how", FAILING)
    def test_a_retry_goes_to_another_node_under_the_same_identity(
        self, nodes: NodeThread, how: str
    ) -> None:
        nodes.near.then("Write", FAILING[how])
        with connect_sync(nodes.near, nodes.far, attempt_timeout=0.2) as client:
            assert client.bind("k", "A").created
        (first,), (second,) = nodes.near.asked["Write"], nodes.far.asked["Write"]
        assert identities([first]) == identities([second]) and first == second

    def test_a_node_that_dies_under_a_call_is_left_for_another(
        self, nodes: NodeThread, threads: ThreadPoolExecutor
    ) -> None:
        nodes.near.hold("Write")
        with connect_sync(nodes.near, nodes.far) as client:
            binding = threads.submit(client.bind, "k", "A")
            nodes.until_asked(nodes.near, "Write")
            nodes.run(nodes.near.stop())
            assert binding.result(PATIENCE_S).created
        assert identities(nodes.near.asked["Write"]) == identities(nodes.far.asked["Write"])

    @pytest.mark.parametrize(
        ("method", "told"),
        [("bind", OutcomeUnknown), ("get", DeadlineExceeded), ("scan", DeadlineExceeded)],
    )
    def test_of_a_silent_node_only_who_writes_is_told_it_may_have_happened(
        self, nodes: NodeThread, method: str, told: type, short_grace: float
    ) -> None:
        for name in ("Write", "Read", "Scan"):
            nodes.near.always(name, hang)
        with connect_sync(nodes.near) as client:
            began_at = time.monotonic()
            with pytest.raises(DeadlineExceeded) as passed:
                ASKING_SYNC[method](client, timeout=0.1)
            assert 0.1 <= time.monotonic() - began_at < 0.1 + short_grace + SLACK_S
        assert type(passed.value) is told

    def test_known_not_to_have_happened_is_told_so(self, nodes: NodeThread) -> None:
        nodes.near.always("Write", refuse(grpc.StatusCode.UNAVAILABLE, **NO_QUORUM))
        with connect_sync(nodes.near) as client:
            began_at = time.monotonic()
            with pytest.raises(NoQuorum, match=r"bind of 'k': .* no leader"):
                client.bind("k", "A", timeout=0.1)
            assert time.monotonic() - began_at < 0.1 + SLACK_S

    def test_a_status_of_one_that_is_dead_is_nobody_elses(
        self, nodes: NodeThread, dead: str
    ) -> None:
        with (
            connect_sync(nodes.near, dead) as client,
            pytest.raises(ConnectFailed, match="status: no node could be reached"),
        ):
            client.status(dead, timeout=0.2)


def test_closing_tells_each_that_waits_what_is_true_of_it(
    nodes: NodeThread, threads: ThreadPoolExecutor, few_calls: int
) -> None:
    nodes.near.always("Write", hang)
    nodes.near.always("Read", hang)
    client = connect_sync(nodes.near)
    sent = [threads.submit(client.bind, "sent", "A", timeout=None) for _ in range(few_calls)]
    nodes.until_asked(nodes.near, "Write", few_calls)
    unsent = threads.submit(client.bind, "unsent", "A", timeout=None)
    read = threads.submit(client.get, "k", timeout=None)
    nodes.until_asked(nodes.near, "Read")
    _until_pending(client, few_calls + 2)
    client.close()
    told: list[Future[Any]] = [*sent, unsent, read]
    errors = [type(called.exception(PATIENCE_S)) for called in told]
    assert errors == [OutcomeUnknown] * few_calls + [ClientClosed] * 2
    assert len(nodes.near.asked["Write"]) == few_calls
    assert not _clients_threads()
