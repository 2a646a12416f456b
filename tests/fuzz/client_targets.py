"""What a client decodes: a node's answers, its stream of outcomes, its watch, its errors."""

import random
from collections.abc import Callable
from typing import Any, Final

import grpc

from globaltable.client._attempts import DETAIL_KEY, failure_of
from globaltable.client._exchange import Exchange
from globaltable.client._lanes import (
    Lane,
    ReadLane,
    ScanLane,
    StatusLane,
    Ticket,
    WriteLane,
    WriteOp,
)
from globaltable.client._minting import Wanted, mint
from globaltable.client._nodes import Nodes
from globaltable.client._placements import read_placement
from globaltable.client._routes import Routes, read_topology
from globaltable.client._scanning import ScanProgress
from globaltable.client._settings import Settings
from globaltable.client._watching import WatchProgress
from globaltable.errors import GlobalTableError, ProtocolError
from globaltable.model import OpKind
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.validation import require_key
from tests.columns import stream_part
from tests.fuzz import samples
from tests.fuzz.mutations import Grammar
from tests.fuzz.subject import Refused, Subject, Target

_BINDING: Final = pb.Binding(unit="unit-1", version=1, revision=5)
_SETTINGS: Final = Settings(addresses=("127.0.0.1:7101", "127.0.0.1:7102"), table=samples.TABLE)
_OPS: Final = [
    WriteOp(OpKind.BIND, "k", "A", 0, 1),
    WriteOp(OpKind.MOVE, "k", "B", 1, 2),
    WriteOp(OpKind.UNBIND, "k", "", 2, 3),
]


def _answers(lane: Lane, ticket: Ticket[Any], seed: Any) -> Subject:
    def decode(data: bytes) -> list[Any]:
        answers = lane.read([ticket], data)
        for answer in answers:
            if isinstance(answer, ProtocolError):
                raise answer
        return answers

    return Subject([seed.SerializeToString()], decode)


def _read() -> Subject:
    lane = ReadLane(samples.TABLE, linearizable=False)
    results = [pb.ReadResult(binding=_BINDING, read_revision=9), pb.ReadResult(read_revision=9)]
    ticket: Ticket[Any] = Ticket(lane, ["k", "l"], 1.0, weight=2)
    return _answers(lane, ticket, pb.ReadResponse(results=results))


def _scan() -> Subject:
    lane = ScanLane()
    ticket: Ticket[Any] = Ticket(lane, ScanProgress(samples.TABLE, "", 0), 1.0)
    entries = [pb.ScanEntry(key=f"k{n}", binding=_BINDING) for n in range(4)]
    return _answers(lane, ticket, pb.ScanResponse(entries=entries, next_page_token=b"u"))


def _status() -> Subject:
    lane = StatusLane()
    answer = pb.StatusResponse(
        cluster="im", node="a", region="a", version="1", uptime_s=1.5, tables=[samples.TABLE],
        groups=[pb.GroupStatus(group=1, role=pb.ROLE_LEADER, term=3, leader_region="a")],
        peers=[pb.PeerStatus(node="b", region="b", connected=True, round_trip_s=0.01)], slots=16,
    )  # fmt: skip
    return _answers(lane, Ticket(lane, None, 1.0), answer)


def _written() -> Subject:
    """Into a whole exchange with ops under way: whatever comes, each ends once, with its types."""
    outcomes = [
        pb.Outcome(status=pb.OUTCOME_STATUS_APPLIED, binding=_BINDING),
        pb.Outcome(status=pb.OUTCOME_STATUS_VERSION_CONFLICT, binding=_BINDING),
        pb.Outcome(status=pb.OUTCOME_STATUS_OVERLOADED, detail="full"),
    ]
    parts = [stream_part(1, [0, 1, 2], outcomes)]
    later = [stream_part(1, [n], [outcomes[n]]) for n in (2, 0)]
    seeds = [
        pb.WriteStreamResponse(parts=parts),
        pb.WriteStreamResponse(parts=later, retry_delay_ms=50),
    ]

    def decode(data: bytes) -> None:
        exchange = Exchange(_SETTINGS, 0.0, random.Random(1))
        lane = WriteLane(samples.TABLE, 7)
        for op in _OPS:
            exchange.submit(Ticket(lane, op, 1.0), 0.0)
        (call,) = [call for call in exchange.poll(0.0) if call.number is not None]
        exchange.answered_in_part(call.node, data, 0.01)
        exchange.poll(100.0)
        exchange.poll(200.0)
        settled = exchange.take_settled()
        assert len(settled) == len(_OPS), settled
        for one in settled:
            assert one.error is None or isinstance(one.error, GlobalTableError)
            if isinstance(one.error, ProtocolError):
                raise one.error

    return Subject([seed.SerializeToString() for seed in seeds], decode)


def _watched() -> Subject:
    changes = [
        pb.Change(kind=kind, key=f"k{n}", unit="A", version=1, revision=5 + n, group=n % 2)
        for n, kind in enumerate((pb.CHANGE_KIND_BOUND, pb.CHANGE_KIND_MOVED))
    ]
    position = [pb.GroupRevision(group=g, revision=9) for g in (0, 1)]
    seeds = [pb.WatchResponse(position=position), pb.WatchResponse(changes=changes)]
    seeds.append(pb.WatchResponse(changes=changes, position=position))

    def decode(data: bytes) -> None:
        progress = WatchProgress(samples.TABLE, None, "", {0: 1})
        for _ in range(2):
            progress.received(data)
            while progress.next_change() is not None:
                pass
        progress.request()

    return Subject([seed.SerializeToString() for seed in seeds], decode)


def _placement() -> Subject:
    """Whatever a node says, a key can be minted, and little is done for it."""
    seed = pb.PlacementResponse(cheapest=[1, 2, 5], expected_s=0.005)
    chance = random.Random(1)

    def decode(data: bytes) -> None:
        said = read_placement(data)
        wanted = Wanted(4_096, range(8), said.groups) if said is not None else None
        require_key(mint(samples.TABLE, "", wanted, chance.getrandbits))
        if wanted is None:
            raise Refused("nothing is known")

    return Subject([seed.SerializeToString()], decode)


def _topology() -> Subject:
    """Whatever a node says, every key is asked for somewhere, and every slot once."""
    seed = pb.TopologyResponse(
        version=3,
        node="a-1",
        slots=64,
        owners=[0, 1],
        nodes=[
            pb.TopologyNode(name="a-1", region="a", address="127.0.0.1:7101"),
            pb.TopologyNode(name="a-2", region="a", address="127.0.0.1:7102"),
        ],
        groups=[pb.TopologyGroup(holders=[0]), pb.TopologyGroup(holders=[1])],
    )

    def decode(data: bytes) -> None:
        said = read_topology(data)
        if said.topology is None:
            raise Refused("nothing is known")
        nodes, routes = Nodes(["127.0.0.1:7101"], 0.0), Routes(samples.TABLE)
        nodes.learn(said.topology.nodes, 0.0, discover=True)
        routes.learn(said.topology, nodes.numbers_of)
        assert nodes.choose(0, routes.of_key("k")) is not None
        slots = list(routes.slots().values())
        assert sum(slots) == (1 << said.topology.slots) - 1
        assert routes.is_news(said.topology) is False

    return Subject([seed.SerializeToString()], decode)


def _error_detail() -> Subject:
    oldest = [pb.GroupRevision(group=1, revision=5)]
    reasons = (pb.ErrorDetail.REASON_OVERLOADED, pb.ErrorDetail.REASON_COMPACTED)
    seeds = [
        pb.ErrorDetail(reason=reason, message="no", retry_delay_ms=5, oldest=oldest)
        for reason in reasons
    ]

    def decode(data: bytes) -> None:
        failure = failure_of(grpc.StatusCode.INTERNAL, "details", [(DETAIL_KEY, data)])
        if failure.error is not None:
            assert isinstance(failure.error, GlobalTableError)
            if isinstance(failure.error, ProtocolError):
                raise failure.error
        if failure.kind.name == "UNKNOWN":
            raise Refused("UNKNOWN")

    return Subject([seed.SerializeToString() for seed in seeds], decode)


_OPENERS: Final[dict[str, Callable[[], Subject]]] = {
    "answer to Read": _read,
    "answer to Scan": _scan,
    "answer to Status": _status,
    "answer to Placement": _placement,
    "answer to Topology": _topology,
    "answers on WriteStream": _written,
    "message of Watch": _watched,
    "error detail": _error_detail,
}

TARGETS = tuple(
    Target(name, opener, (GlobalTableError, Refused), Grammar.PROTOBUF, share=50,
           bytes_per_input_byte=512)
    for name, opener in _OPENERS.items()
)  # fmt: skip
