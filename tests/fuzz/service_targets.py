"""What callers send to the client port: requests, page tokens, positions to resume after.

The service is the real one, over the real backend of a node that holds a few rows on LMDB. Writes
are not proposed: they are encoded as the log would, for what the service lets pass must be valid.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import grpc
from google.protobuf.message import DecodeError, Message

from globaltable.model import Batch, Binding, Op, Outcome, OutcomeStatus
from globaltable.raft.adaptor import Timing
from globaltable.raft.journal import NO_OP
from globaltable.replica_limits import ReplicaLimits
from globaltable.row_keys import row_key
from globaltable.server import config_file
from globaltable.server.backend import NodeBackend
from globaltable.server.core import NodeCore
from globaltable.server.driver import Driver, Told
from globaltable.server.peers import PeerLinks
from globaltable.server.service import GlobalTableService
from globaltable.server.slot_claims import SlotClaims
from globaltable.server.watches import Watches
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.store.log import Entry, HardState
from globaltable.table_state import Flush, TableState
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.wire.batches import decode_batch, encode_batch
from globaltable.wire.rows import Row, encode_row
from tests.columns import stream_request
from tests.fuzz import samples
from tests.fuzz.directories import scratch
from tests.fuzz.loops import new_runner
from tests.fuzz.mutations import Grammar
from tests.fuzz.subject import Refused, Subject, Target
from tests.simulation.disk import Platter, SimLog

_SETTLED: Final = Outcome(OutcomeStatus.APPLIED, Binding("unit-1", 1, 2, True))
_ANSWERS_MAX: Final = 3
_ERROR_BYTES_MAX: Final = 4_096
"""An error goes into HTTP/2 trailers, which hold 8 KiB."""
_CONFIG: Final = config_file.parse(
    (Path(__file__).parents[2] / "config.example.toml").read_text(), base_dir=Path("/srv")
)


class _Context:
    """A call without a connection."""

    def time_remaining(self) -> float | None:
        return 5.0

    def peer(self) -> str:
        return "nobody"

    async def abort(self, code: grpc.StatusCode, details: str = "", trailer: Any = ()) -> NoReturn:
        assert len(details.encode()) <= _ERROR_BYTES_MAX, f"an error of {len(details)} characters"
        raise Refused(code.name)


class _Backend(NodeBackend):
    """Writes end at once, with what the log would have accepted."""

    def submit(self, ops: Sequence[Op], timeout_s: float | None, told: Told) -> None:
        batch = Batch(bytes(16), 1, tuple(ops))
        assert decode_batch(encode_batch(batch)) == batch
        told(range(len(ops)), [_SETTLED] * len(ops))


def _logs(groups: int) -> Platter:
    """They end where the tables do."""
    platter = Platter()
    for group in range(groups):
        platter.entries[group] = {9: Entry(NO_OP, 9, 1)}
        platter.states[group] = HardState(1, None)
    return platter


async def _service() -> GlobalTableService:
    table = LmdbTableStore(scratch("service"))
    names = [samples.name(n) for n in range(40)]
    groups = _CONFIG.groups
    topology = _CONFIG.topology()
    for group in range(groups):
        rows = {
            row_key(name, _CONFIG.slots): encode_row(Row("unit-1", 1, 2, 7, 1))
            for name in names
            if topology.group_of(name) == group
        }
        table.flush([(group, Flush(rows, [], TableState(9, 1, 2)))])
    table.refresh()
    node = _CONFIG.nodes[0].name
    core = NodeCore(
        topology=topology, node=node, log=SimLog(_logs(groups)), table=table, timing=Timing(),
        limits=ReplicaLimits(), flush_rows=1_000, flush_interval_s=1_000.0,
        rng=random.Random(1), now=0.0,
    )  # fmt: skip
    links = PeerLinks(
        cluster="im", node=node, incarnation=1, listen=("", 1), peers={},
        on_payload=lambda *_: None, on_up=lambda _: None, on_down=lambda _: None,
        buffer_bytes_max=1, reconnect_min_s=1.0, reconnect_max_s=1.0, random=random.Random(1),
    )  # fmt: skip
    watches = Watches(core.serving)
    driver = Driver(
        core=core, clock=asyncio.get_running_loop(), send=lambda *_: None, watches=watches,
        on_out_of_service=lambda _: None, on_failure=lambda _: None,
    )  # fmt: skip
    driver.stop()
    return GlobalTableService(_Backend(_CONFIG, node, core, driver, watches, links, SlotClaims()))


class _Answering:
    """Calls one method of a service that lives as long as its loop."""

    def __init__(self, request: type[Message], method: str) -> None:
        self._request = request
        self._runner = new_runner()
        self._service = self._runner.run(_service())
        self._method = getattr(self._service, method)

    def unary(self, data: bytes) -> Message:
        message = self._request.FromString(data)
        answer: Message = self._runner.run(self._method(message, _Context()))
        _require_sendable([answer], data)
        return message

    def stream(self, data: bytes) -> Message:
        message = self._request.FromString(data)
        _require_sendable(self._runner.run(self._first(self._method(message, _Context()))), data)
        return message

    def both_ways(self, data: bytes) -> Message:
        message = self._request.FromString(data)

        async def requests() -> AsyncIterator[Message]:
            yield message
            yield message

        answers = self._runner.run(self._first(self._method(requests(), _Context())))
        _require_sendable(answers, data)
        return message

    async def _first(self, answers: AsyncIterator[Message]) -> list[Message]:
        found: list[Message] = []
        async for answer in answers:
            found.append(answer)
            if len(found) == _ANSWERS_MAX - 1:
                break
        await answers.aclose()  # type: ignore[attr-defined]
        return found


def _require_sendable(answers: Sequence[Message], data: bytes) -> None:
    """No small request has an answer out of proportion."""
    size = sum(answer.ByteSize() for answer in answers)
    assert size <= 2_000_000 + 200 * len(data), f"{size} bytes in answer to {len(data)}"


def _method(
    request: type[Message], seeds: Sequence[Message], name: str, kind: str = "unary"
) -> Subject:
    answering = _Answering(request, name)
    encoded = [seed.SerializeToString() for seed in seeds]
    decode: Callable[[bytes], Any] = getattr(answering, kind)
    return Subject(encoded, decode, lambda value: request.FromString(value.SerializeToString()))


_OPS: Final = [
    pb.Op(kind=pb.OP_KIND_BIND, key="cid:1", unit="unit-1", sequence=1),
    pb.Op(kind=pb.OP_KIND_MOVE, key="cid:2", unit="unit-2", version=1, sequence=2),
    pb.Op(kind=pb.OP_KIND_UNBIND, key="cid:3", version=3, sequence=3),
]
_WRITE: Final = pb.WriteRequest(table=samples.TABLE, client_id=7, ops=_OPS)
_TOKEN: Final = row_key(samples.name(3), _CONFIG.slots)
_AFTER: Final = [pb.GroupRevision(group=g, revision=2) for g in range(_CONFIG.groups)]

_REQUESTS: Final[dict[str, tuple[Any, list[Any], str]]] = {
    "Write": (pb.WriteRequest, [_WRITE], "unary"),
    "WriteStream": (
        pb.WriteStreamRequest,
        [stream_request(1, _WRITE, timeout_ms=100)],
        "both_ways",
    ),
    "Read": (pb.ReadRequest, [pb.ReadRequest(table=samples.TABLE, keys=["cid:1", "x"])], "unary"),
    "Scan": (
        pb.ScanRequest,
        [
            pb.ScanRequest(table=samples.TABLE, prefix="cid:", page_size=5),
            pb.ScanRequest(table=samples.TABLE, page_token=_TOKEN),
        ],
        "unary",
    ),
    "Watch": (
        pb.WatchRequest,
        [
            pb.WatchRequest(table=samples.TABLE, prefix="cid:"),
            pb.WatchRequest(table=samples.TABLE, key="cid:1", after=_AFTER),
        ],
        "stream",
    ),
    "Status": (pb.StatusRequest, [pb.StatusRequest()], "unary"),
    "Topology": (pb.TopologyRequest, [pb.TopologyRequest(table="im.session")], "unary"),
    "Placement": (pb.PlacementRequest, [pb.PlacementRequest()], "unary"),
}

_SHARES: Final = {
    "Write": 60,
    "WriteStream": 40,
    "Read": 40,
    "Scan": 15,
    "Watch": 30,
    "Status": 5,
    "Topology": 5,
    "Placement": 5,
}

TARGETS = tuple(
    Target(
        f"request {name}",
        cast(Callable[[], Subject], partial(_method, request, seeds, name, kind)),
        (DecodeError, Refused),
        Grammar.PROTOBUF,
        share=_SHARES[name],
        # An op of two bytes is answered with an outcome that says what is wrong with it.
        bytes_per_input_byte=1_024,
    )
    for name, (request, seeds, kind) in _REQUESTS.items()
)
