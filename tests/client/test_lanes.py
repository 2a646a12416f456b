"""What each method of the service carries, and what its answers mean; garbage is named as such."""

from typing import Any

import pytest

from globaltable import limits
from globaltable.client._attempts import RETRY_DELAY_S_MAX, Failure, FailureKind
from globaltable.client._lanes import (
    Lane,
    OpeningLane,
    ReadLane,
    ScanLane,
    StatusLane,
    Ticket,
    WriteLane,
    WriteOp,
    WriteOutcome,
    WritePart,
    read_outcome,
    read_parts,
)
from globaltable.client._scanning import ScanProgress
from globaltable.client.values import Status
from globaltable.errors import (
    GlobalTableError,
    InvalidArgument,
    NotBound,
    PermissionDenied,
    ProtocolError,
    VersionConflict,
)
from globaltable.model import Binding, OpKind
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.desk import OVERLOADED, TABLE, UNAVAILABLE, UNKNOWN, applied
from tests.columns import stream_part

BIND = WriteOp(OpKind.BIND, "k", "A", 0, 1)
MOVE = WriteOp(OpKind.MOVE, "k", "B", 4, 2)
UNBIND = WriteOp(OpKind.UNBIND, "k", "", 4, 3)
OPS = {"bind": BIND, "move": MOVE, "unbind": UNBIND}

WORDS = "words of the node"
APPLIED = WriteOutcome(pb.OUTCOME_STATUS_APPLIED, "A", 1, 2, "")
CONFLICT = VersionConflict("k", 4, Binding("C", 5, 70))
NOT_BOUND = NotBound("k")
NONSENSE = ProtocolError()

# What a node says of an op | what that means for a bind, a move, an unbind.
OUTCOMES: dict[int, tuple[Any, Any, Any]] = {
    pb.OUTCOME_STATUS_UNSPECIFIED: (NONSENSE, NONSENSE, NONSENSE),
    pb.OUTCOME_STATUS_APPLIED: (
        Binding("C", 5, 70, created=True),
        Binding("C", 5, 70, created=False),
        None,
    ),
    pb.OUTCOME_STATUS_EXISTS: (Binding("C", 5, 70, created=False), NONSENSE, NONSENSE),
    pb.OUTCOME_STATUS_VERSION_CONFLICT: (NONSENSE, CONFLICT, CONFLICT),
    pb.OUTCOME_STATUS_NOT_BOUND: (NONSENSE, NOT_BOUND, NOT_BOUND),
    pb.OUTCOME_STATUS_INVALID_ARGUMENT: (FailureKind.FINAL,) * 3,
    pb.OUTCOME_STATUS_UNAVAILABLE: (FailureKind.NO_QUORUM,) * 3,
    pb.OUTCOME_STATUS_OVERLOADED: (FailureKind.OVERLOADED,) * 3,
    pb.OUTCOME_STATUS_UNKNOWN: (FailureKind.UNKNOWN,) * 3,
    pb.OUTCOME_STATUS_ELSEWHERE: (FailureKind.ELSEWHERE,) * 3,
    pb.OUTCOME_STATUS_PERMISSION_DENIED: (FailureKind.FINAL,) * 3,
    99: (NONSENSE, NONSENSE, NONSENSE),
}


class TestOutcomes:
    def test_each_status_has_its_meaning_in_the_table(self) -> None:
        assert set(OUTCOMES) == {*pb.OutcomeStatus.values(), 99}

    @pytest.mark.parametrize("status", OUTCOMES)
    @pytest.mark.parametrize("verb", OPS)
    def test_an_outcome_means_what_its_kind_and_status_say(self, verb: str, status: int) -> None:
        expected = OUTCOMES[status][list(OPS).index(verb)]
        outcome = WriteOutcome(status, "C", 5, 70, WORDS)
        means = read_outcome(OPS[verb], outcome, 0.3)
        if isinstance(expected, FailureKind):
            assert isinstance(means, Failure) and means.kind is expected
            assert WORDS in means.message
            assert means.retry_delay_s == (0.3 if expected is FailureKind.OVERLOADED else 0.0)
        elif isinstance(expected, Exception):
            assert type(means) is type(expected)
            if expected is not NONSENSE:
                assert vars(means) == vars(expected)
        else:
            assert means == expected

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (pb.OUTCOME_STATUS_INVALID_ARGUMENT, InvalidArgument),
            (pb.OUTCOME_STATUS_PERMISSION_DENIED, PermissionDenied),
        ],
    )
    def test_a_refusal_names_the_op_and_the_reason(
        self, status: int, error: type[GlobalTableError]
    ) -> None:
        means = read_outcome(MOVE, WriteOutcome(status, "", 0, 0, WORDS), 0.0)
        assert isinstance(means, Failure) and type(means.error) is error
        assert str(means.error) == f"move of 'k' was refused: {WORDS}"

    @pytest.mark.parametrize("outcome", [UNAVAILABLE, OVERLOADED, UNKNOWN])
    def test_without_words_the_status_is_the_message(self, outcome: pb.Outcome) -> None:
        means = read_outcome(BIND, WriteOutcome(outcome.status, "", 0, 0, ""), 0.0)
        assert isinstance(means, Failure)
        assert means.message == pb.OutcomeStatus.Name(outcome.status).removeprefix(
            "OUTCOME_STATUS_"
        )

    @pytest.mark.parametrize(
        ("op", "status"),
        [
            (BIND, pb.OUTCOME_STATUS_APPLIED),
            (BIND, pb.OUTCOME_STATUS_EXISTS),
            (MOVE, pb.OUTCOME_STATUS_APPLIED),
            (MOVE, pb.OUTCOME_STATUS_VERSION_CONFLICT),
            (UNBIND, pb.OUTCOME_STATUS_VERSION_CONFLICT),
        ],
    )
    @pytest.mark.parametrize(
        ("unit", "version"), [("", 0), ("", 1), ("A", 0)], ids=["none", "no unit", "0"]
    )
    def test_one_that_must_hold_a_binding_and_does_not_is_a_protocol_error(
        self, op: WriteOp, status: pb.OutcomeStatus, unit: str, version: int
    ) -> None:
        means = read_outcome(op, WriteOutcome(status, unit, version, 70, ""), 0.0)
        assert type(means) is ProtocolError


def _tickets(lane: Lane, *payloads: Any) -> list[Ticket[Any]]:
    return [Ticket(lane, payload, 5.0, weight=_weight(payload)) for payload in payloads]


def _weight(payload: Any) -> int:
    return len(payload) if isinstance(payload, tuple) else 1


class TestWriteLane:
    lane = WriteLane(TABLE, client_id=77)

    @pytest.mark.parametrize(
        ("timeout_s", "timeout_ms"),
        [(2.0, 2_000), (0.25, 250), (0.0011, 1), (1e-9, 1), (1e9, 2**32 - 1)],
    )
    def test_a_request_carries_the_ops_as_they_are_whose_they_are_and_until_when(
        self, timeout_s: float, timeout_ms: int
    ) -> None:
        data = self.lane.numbered_request(12, [BIND, MOVE, UNBIND], timeout_s)
        assert pb.WriteStreamRequest.FromString(data) == pb.WriteStreamRequest(
            number=12,
            timeout_ms=timeout_ms,
            table=TABLE,
            client_id=77,
            kinds=[pb.OP_KIND_BIND, pb.OP_KIND_MOVE, pb.OP_KIND_UNBIND],
            keys=["k", "k", "k"],
            units=["A", "B", ""],
            versions=[0, 4, 4],
            sequences=[1, 2, 3],
        )

    def test_versions_that_are_all_0_are_left_out(self) -> None:
        data = self.lane.numbered_request(12, [BIND, BIND], 1.0)
        assert list(pb.WriteStreamRequest.FromString(data).versions) == []

    def test_a_message_holds_parts_of_the_answers_to_many_requests(self) -> None:
        response = pb.WriteStreamResponse(
            parts=[
                stream_part(3, [2, 0], [applied(), OVERLOADED]),
                pb.WritePart(number=2),
            ],
            retry_delay_ms=400,
        )
        assert read_parts(response.SerializeToString()) == [
            WritePart(3, [2, 0], [APPLIED, WriteOutcome(OVERLOADED.status, "", 0, 0, "full")], 0.4),
            WritePart(2, [], [], 0.4),
        ]

    def test_a_node_that_asks_for_too_much_patience_is_not_believed(self) -> None:
        part = stream_part(1, [0], [OVERLOADED])
        response = pb.WriteStreamResponse(parts=[part], retry_delay_ms=4_000_000)
        (read,) = read_parts(response.SerializeToString())
        assert read.retry_delay_s == RETRY_DELAY_S_MAX

    @pytest.mark.parametrize(
        "data",
        [
            b"\xff\xff\xff",
            pb.WriteStreamResponse(parts=[stream_part(1, [0, 1], [applied()])]).SerializeToString(),
            pb.WriteStreamResponse(
                parts=[stream_part(1, [0], [applied()]), stream_part(2, [], [applied()])]
            ).SerializeToString(),
        ],
        ids=["garbage", "one too few", "one too many"],
    )
    def test_a_message_that_makes_no_sense_is_a_protocol_error_as_a_whole(
        self, data: bytes
    ) -> None:
        with pytest.raises(ProtocolError):
            read_parts(data)

    def test_only_it_must_not_be_repeated_under_another_identity(self) -> None:
        lanes = [ReadLane(TABLE, False), ScanLane(), StatusLane(), OpeningLane()]
        assert not self.lane.idempotent
        assert all(lane.idempotent for lane in lanes)

    def test_as_much_travels_together_as_the_service_takes(self) -> None:
        assert WriteLane.weight_max == limits.WRITE_OPS_MAX
        assert ReadLane.weight_max == limits.READ_KEYS_MAX
        assert ScanLane.weight_max == StatusLane.weight_max == 1


class TestReadLane:
    @pytest.mark.parametrize("linearizable", [False, True])
    def test_a_request_carries_the_keys_of_all_in_order(self, linearizable: bool) -> None:
        data = ReadLane(TABLE, linearizable).request([("1", "2"), ("3",), ("1",)])
        assert pb.ReadRequest.FromString(data) == pb.ReadRequest(
            table=TABLE, keys=["1", "2", "3", "1"], linearizable=linearizable
        )

    def test_each_is_answered_by_its_own_results(self) -> None:
        lane = ReadLane(TABLE, False)
        response = pb.ReadResponse(
            results=[
                pb.ReadResult(binding=pb.Binding(unit="A", version=1, revision=3)),
                pb.ReadResult(),
                pb.ReadResult(read_revision=9),
                pb.ReadResult(binding=pb.Binding(unit="D", version=4)),
            ]
        )
        answers = lane.read(
            _tickets(lane, ("1", "2"), ("3",), ("4",)), response.SerializeToString()
        )
        assert answers == [[Binding("A", 1, 3), None], [None], [Binding("D", 4, 0)]]


class TestScanLane:
    lane = ScanLane()

    def setup_method(self) -> None:
        self.asked = ScanProgress(TABLE, "cid:", 7)
        self.asked.advance(b"t1")

    def test_a_request_is_the_page_asked_for(self) -> None:
        asked = pb.ScanRequest(table=TABLE, prefix="cid:", page_size=7, page_token=b"t1")
        assert pb.ScanRequest.FromString(self.lane.request([self.asked])) == asked

    def test_an_answer_is_the_entries_and_where_the_next_page_begins(self) -> None:
        response = pb.ScanResponse(
            entries=[
                pb.ScanEntry(key="cid:1", binding=pb.Binding(unit="C", version=5, revision=70))
            ],
            next_page_token=b"t2",
        )
        (answer,) = self.lane.read(_tickets(self.lane, self.asked), response.SerializeToString())
        assert answer == [("cid:1", Binding("C", 5, 70))] and not self.asked.over
        assert pb.ScanRequest.FromString(self.asked.request()).page_token == b"t2"

    def test_the_token_of_this_very_page_would_go_round_for_ever(self) -> None:
        data = pb.ScanResponse(next_page_token=b"t1").SerializeToString()
        (answer,) = self.lane.read(_tickets(self.lane, self.asked), data)
        assert type(answer) is ProtocolError and "t1" in str(answer)

    def test_no_token_ends_it_though_none_was_sent_either(self) -> None:
        first = ScanProgress(TABLE, "", 0)
        assert self.lane.read(_tickets(self.lane, first), b"") == [[]]
        assert first.over


class TestStatusLane:
    def test_the_nodes_status_answers_all_who_asked(self) -> None:
        lane = StatusLane()
        assert pb.StatusRequest.FromString(lane.request([None])) == pb.StatusRequest()
        data = pb.StatusResponse(cluster="im", node="a").SerializeToString()
        one, other = lane.read(_tickets(lane, None, None), data)
        assert isinstance(one, Status) and (one.cluster, one.node) == ("im", "a")
        assert other == one


_HALF_A_BINDING = pb.Binding(version=1)

# What no correct node answers: the lane, what was asked, the bytes.
NONSENSICAL: dict[str, tuple[Lane, list[Any], bytes]] = {
    "read: garbage": (ReadLane(TABLE, False), [("1", "2"), ("3",)], b"\xff\xff\xff"),
    # As many results as there are callers, but not as there are keys.
    "read: one too few": (
        ReadLane(TABLE, False),
        [("1", "2"), ("3",)],
        pb.ReadResponse(results=[pb.ReadResult()] * 2).SerializeToString(),
    ),
    "read: one too many": (
        ReadLane(TABLE, False),
        [("1",)],
        pb.ReadResponse(results=[pb.ReadResult()] * 2).SerializeToString(),
    ),
    "read: a binding to nothing": (
        ReadLane(TABLE, False),
        [("1",), ("2",)],
        pb.ReadResponse(
            results=[pb.ReadResult(), pb.ReadResult(binding=_HALF_A_BINDING)]
        ).SerializeToString(),
    ),
    "scan: garbage": (ScanLane(), [ScanProgress(TABLE, "cid:", 7)], b"\xff\xff\xff"),
    "scan: an entry bound to nothing": (
        ScanLane(),
        [ScanProgress(TABLE, "cid:", 7)],
        pb.ScanResponse(entries=[pb.ScanEntry(key="k")]).SerializeToString(),
    ),
    "status: garbage": (StatusLane(), [None], b"\xff\xff\xff"),
}


@pytest.mark.parametrize("case", NONSENSICAL)
def test_an_answer_that_makes_no_sense_is_a_protocol_error_of_each_callers_own(case: str) -> None:
    lane, payloads, data = NONSENSICAL[case]
    answers = lane.read(_tickets(lane, *payloads), data)
    assert [type(answer) for answer in answers] == [ProtocolError] * len(payloads)
    assert len({id(answer) for answer in answers}) == len(payloads)


@pytest.mark.parametrize(
    ("lane", "payload", "words"),
    [
        (TestWriteLane.lane, BIND, "bind of 'k'"),
        (TestWriteLane.lane, MOVE, "move of 'k'"),
        (TestWriteLane.lane, UNBIND, "unbind of 'k'"),
        (ReadLane(TABLE, True), ("k",), "get of 'k'"),
        (ReadLane(TABLE, True), ("k", "l"), "get of 2 keys"),
        (ScanLane(), ScanProgress(TABLE, "cid:", 7), "scan of 'im.session' from prefix 'cid:'"),
        (StatusLane(), None, "status"),
        (OpeningLane(), ("a:1", "b:1"), "connect to a:1, b:1"),
    ],
)
def test_errors_name_what_was_asked(lane: Lane, payload: Any, words: str) -> None:
    assert Ticket(lane, payload, None).subject == words
