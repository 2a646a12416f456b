"""What a failed attempt means, and that nobody is told "it did not happen" of what may have."""

import random
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.client._async_stream import failure_of_error
from globaltable.client._attempts import (
    DETAIL_KEY,
    RETRY_DELAY_S_MAX,
    Attempts,
    Failure,
    FailureKind,
    backoff_s,
    failure_of,
    read_detail,
)
from globaltable.client._settings import CHANNEL_OPTIONS
from globaltable.errors import (
    Compacted,
    ConnectFailed,
    DeadlineExceeded,
    GlobalTableError,
    InvalidArgument,
    Lagged,
    LimitExceeded,
    NoQuorum,
    NotBound,
    OutcomeUnknown,
    Overloaded,
    PermissionDenied,
    ProtocolError,
    Rejected,
    Unavailable,
    VersionConflict,
)
from globaltable.model import Binding
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.desk import failure

Code = grpc.StatusCode
Reason = pb.ErrorDetail

# What a code means that comes without the node's own word | the error of one that is final.
CODES: dict[grpc.StatusCode, tuple[FailureKind, type[GlobalTableError] | None]] = {
    Code.CANCELLED: (FailureKind.UNKNOWN, None),
    Code.UNKNOWN: (FailureKind.UNKNOWN, None),
    Code.INVALID_ARGUMENT: (FailureKind.FINAL, InvalidArgument),
    Code.DEADLINE_EXCEEDED: (FailureKind.UNKNOWN, None),
    Code.NOT_FOUND: (FailureKind.FINAL, InvalidArgument),
    Code.ALREADY_EXISTS: (FailureKind.UNKNOWN, None),
    Code.PERMISSION_DENIED: (FailureKind.FINAL, PermissionDenied),
    Code.UNAUTHENTICATED: (FailureKind.FINAL, PermissionDenied),
    # gRPC also says it of an answer that is too large, to a request that was carried out.
    Code.RESOURCE_EXHAUSTED: (FailureKind.UNKNOWN, None),
    Code.FAILED_PRECONDITION: (FailureKind.FINAL, Rejected),
    Code.ABORTED: (FailureKind.UNKNOWN, None),
    Code.UNIMPLEMENTED: (FailureKind.FINAL, ProtocolError),
    Code.INTERNAL: (FailureKind.UNKNOWN, None),
    Code.UNAVAILABLE: (FailureKind.UNKNOWN, None),
    Code.DATA_LOSS: (FailureKind.UNKNOWN, None),
    Code.OUT_OF_RANGE: (FailureKind.FINAL, InvalidArgument),
}


class TestCodes:
    def test_each_has_its_meaning_in_the_table(self) -> None:
        assert set(CODES) == set(Code) - {Code.OK}

    @pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
    def test_without_the_nodes_own_word(self, code: grpc.StatusCode) -> None:
        kind, error = CODES[code]
        failed = failure_of(code, "some words", None)
        assert failed.kind is kind
        assert failed.message == f"{code.name}: some words"
        assert failed.timed_out is (code is Code.DEADLINE_EXCEEDED)
        assert type(failed.error) is (error or type(None))
        if failed.error is not None:
            assert str(failed.error) == failed.message

    def test_no_code_at_all_is_nothing_certain(self) -> None:
        assert failure_of(None, None, None).kind is FailureKind.UNKNOWN

    @pytest.mark.parametrize(
        ("details", "kind"),
        [
            (
                "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
                "Failed to connect to remote host: Connection refused",
                FailureKind.UNREACHED,
            ),
            ("Failed to connect to all addresses", FailureKind.UNREACHED),
            ("DNS resolution failed for nowhere:1", FailureKind.UNREACHED),
            ("errors resolving nowhere:1: [Domain name not found]", FailureKind.UNREACHED),
            ("Name resolution failure", FailureKind.UNREACHED),
            # The connection was there: what was sent may have arrived.
            ("Socket closed", FailureKind.UNKNOWN),
            ("recvmsg:Connection reset by peer", FailureKind.UNKNOWN),
            ("GOAWAY received", FailureKind.UNKNOWN),
            ("a proxy failed to connect to all addresses", FailureKind.UNKNOWN),
            ("", FailureKind.UNKNOWN),
            (None, FailureKind.UNKNOWN),
        ],
    )
    def test_only_what_never_found_a_connection_was_never_sent(
        self, details: str | None, kind: FailureKind
    ) -> None:
        assert failure_of(Code.UNAVAILABLE, details, None).kind is kind

    def test_the_same_words_under_another_code_prove_nothing(self) -> None:
        failed = failure_of(Code.UNKNOWN, "failed to connect to all addresses", None)
        assert failed.kind is FailureKind.UNKNOWN


def test_grpc_still_words_a_refused_connection_so_that_it_is_told_from_a_lost_one(
    dead: str,
) -> None:
    """The wording is no interface of gRPC's: a version that changes it fails here."""
    with grpc.insecure_channel(dead, options=list(CHANNEL_OPTIONS)) as channel:
        method = channel.unary_unary("/globaltable.v1.GlobalTableService/Write", None, None)
        with pytest.raises(grpc.RpcError) as refused:
            method(b"", timeout=5)
    error: Any = refused.value
    failed = failure_of(error.code(), error.details(), error.trailing_metadata())
    assert failed.kind is FailureKind.UNREACHED


async def test_an_error_that_names_a_revision_for_each_of_many_groups_is_read() -> None:
    """gRPC refuses trailers of a few kilobytes unless told otherwise; then a watcher would never
    be told that what it resumes from is gone, and try for ever."""
    oldest = {group: 2**40 + group for group in range(65_536)}
    places = [pb.GroupRevision(group=group, revision=at) for group, at in oldest.items()]
    detail = pb.ErrorDetail(reason=Reason.REASON_COMPACTED, message="gone", oldest=places)

    async def watch(_request: bytes, context: Any) -> AsyncIterator[bytes]:
        await context.abort(Code.OUT_OF_RANGE, "", ((DETAIL_KEY, detail.SerializeToString()),))
        yield b""

    server = grpc.aio.server()
    handlers = {"Watch": grpc.unary_stream_rpc_method_handler(watch)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Nodes", handlers),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with grpc.aio.insecure_channel(address, options=list(CHANNEL_OPTIONS)) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_stream("/Nodes/Watch", None, None)(b"", timeout=10).read()
    finally:
        await server.stop(grace=None)
    failed = failure_of_error(refused.value)
    assert isinstance(failed.error, Compacted)
    assert failed.error.oldest == oldest


OLDEST = {0: 40, 7: 2**40}

# The node's own word | what it means | the error of one that is final.
REASONS: dict[int, tuple[FailureKind, type[GlobalTableError] | None]] = {
    Reason.REASON_INVALID_ARGUMENT: (FailureKind.FINAL, InvalidArgument),
    Reason.REASON_LIMIT_EXCEEDED: (FailureKind.FINAL, LimitExceeded),
    Reason.REASON_UNKNOWN_TABLE: (FailureKind.FINAL, InvalidArgument),
    Reason.REASON_OVERLOADED: (FailureKind.OVERLOADED, None),
    Reason.REASON_NO_QUORUM: (FailureKind.NO_QUORUM, None),
    Reason.REASON_COMPACTED: (FailureKind.FINAL, Compacted),
    Reason.REASON_LAGGED: (FailureKind.FINAL, Lagged),
    Reason.REASON_ELSEWHERE: (FailureKind.ELSEWHERE, None),
    Reason.REASON_PERMISSION_DENIED: (FailureKind.FINAL, PermissionDenied),
}


def _trailers(**fields: object) -> list[tuple[str, str | bytes]]:
    detail = pb.ErrorDetail(**fields)  # type: ignore[arg-type]
    return [("content-type", "application/grpc"), (DETAIL_KEY, detail.SerializeToString())]


class TestDetails:
    def test_each_reason_has_its_meaning_in_the_table(self) -> None:
        assert set(REASONS) == set(pb.ErrorDetail.Reason.values()) - {0}

    @pytest.mark.parametrize("reason", REASONS, ids=pb.ErrorDetail.Reason.Name)
    @pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.OUT_OF_RANGE], ids=lambda c: c.name)
    def test_the_nodes_own_word_counts_whatever_the_code(
        self, code: grpc.StatusCode, reason: int
    ) -> None:
        kind, error = REASONS[reason]
        oldest = [pb.GroupRevision(group=g, revision=r) for g, r in OLDEST.items()]
        failed = failure_of(
            code, "less", _trailers(reason=reason, message="more to say", oldest=oldest)
        )
        assert (failed.kind, failed.message) == (kind, "more to say")
        assert type(failed.error) is (error or type(None))
        if failed.error is not None:
            assert str(failed.error) == "more to say"
        if isinstance(failed.error, Compacted | Lagged):
            assert failed.error.oldest == OLDEST

    @pytest.mark.parametrize(
        ("asked_ms", "delay_s"),
        [(0, 0.0), (250, 0.25), (5_000, 5.0), (5_001, RETRY_DELAY_S_MAX), (2**32 - 1, 5.0)],
    )
    def test_a_node_is_given_the_time_it_asks_for_within_reason(
        self, asked_ms: int, delay_s: float
    ) -> None:
        trailers = _trailers(reason=Reason.REASON_OVERLOADED, retry_delay_ms=asked_ms)
        failed = failure_of(Code.RESOURCE_EXHAUSTED, "full", trailers)
        assert failed == Failure(FailureKind.OVERLOADED, "full", delay_s)

    def test_what_grpc_refuses_for_want_of_room_did_not_happen(self) -> None:
        """As a node of an earlier release does; but an answer that is too large may have."""
        failed = failure_of(Code.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", None)
        assert failed.kind is FailureKind.OVERLOADED and failed.retry_delay_s > 0
        large = "CLIENT: Received message larger than max (9 vs. 8)"
        assert failure_of(Code.RESOURCE_EXHAUSTED, large, None).kind is FailureKind.UNKNOWN

    def test_one_without_a_reason_says_nothing_beyond_the_code(self) -> None:
        failed = failure_of(Code.INTERNAL, "words", _trailers(message="ignored"))
        assert failed == Failure(FailureKind.UNKNOWN, "INTERNAL: words")

    def test_a_reason_nobody_knows_is_a_protocol_error(self) -> None:
        failed = failure_of(Code.UNAVAILABLE, "words", _trailers(reason=99))
        assert failed.kind is FailureKind.FINAL
        assert type(failed.error) is ProtocolError and "99" in str(failed.error)

    def test_one_that_does_not_decode_is_a_protocol_error(self) -> None:
        failed = failure_of(Code.UNAVAILABLE, "words", [(DETAIL_KEY, b"\xff\xff")])
        assert failed.kind is FailureKind.FINAL
        assert type(failed.error) is ProtocolError

    @pytest.mark.parametrize(
        "metadata", [None, [], [("other-bin", b"\xff\xff"), ("content-type", "application/grpc")]]
    )
    def test_none_is_read_where_none_is(
        self, metadata: list[tuple[str, str | bytes]] | None
    ) -> None:
        assert read_detail(metadata) is None

    def test_it_is_found_among_other_trailers_as_bytes_or_text(self) -> None:
        detail = pb.ErrorDetail(reason=Reason.REASON_NO_QUORUM, message="no leader")
        data = detail.SerializeToString()
        assert read_detail([("a", "b"), (DETAIL_KEY, data)]) == detail
        assert read_detail([(DETAIL_KEY, data.decode())]) == detail


KINDS = [kind for kind in FailureKind if kind is not FailureKind.FINAL]


def _after(*kinds: FailureKind) -> Attempts:
    attempts = Attempts()
    for kind in kinds:
        attempts.record(failure(kind))
    return attempts


@given(st.lists(st.sampled_from(KINDS), max_size=6), st.booleans(), st.booleans())
def test_told_not_to_have_happened_only_if_every_attempt_is_known_not_to_have(
    kinds: list[FailureKind], idempotent: bool, in_flight: bool
) -> None:
    """In whatever order the attempts failed: no later refusal makes an unknown one known."""
    attempts = _after(*kinds)
    told = attempts.deadline_error("bind of 'k'", idempotent, in_flight)
    closed = attempts.closed_error("bind of 'k'", idempotent, in_flight)
    refused = attempts.final_error(
        failure(FailureKind.FINAL, InvalidArgument("unknown table")), "bind of 'k'", idempotent
    )
    may_have_happened = FailureKind.UNKNOWN in kinds
    if idempotent:
        assert not isinstance(told, OutcomeUnknown) and closed is None
    else:
        unknown = may_have_happened or in_flight
        assert isinstance(told, OutcomeUnknown) is unknown
        assert isinstance(closed, OutcomeUnknown) is unknown
    assert isinstance(told, Unavailable | DeadlineExceeded)
    assert isinstance(refused, OutcomeUnknown) is (may_have_happened and not idempotent)
    assert isinstance(refused, InvalidArgument) is not isinstance(refused, OutcomeUnknown)


class TestDeadlineError:
    @pytest.mark.parametrize(
        ("kinds", "in_flight", "told"),
        [
            ([], False, DeadlineExceeded),
            ([], True, DeadlineExceeded),
            ([FailureKind.UNREACHED], False, ConnectFailed),
            # The one under way has a connection: the node is there, and slow.
            ([FailureKind.UNREACHED], True, DeadlineExceeded),
            ([FailureKind.UNREACHED, FailureKind.UNKNOWN], False, DeadlineExceeded),
            ([FailureKind.OVERLOADED, FailureKind.UNREACHED], False, Overloaded),
            ([FailureKind.OVERLOADED, FailureKind.NO_QUORUM], False, NoQuorum),
            ([FailureKind.UNKNOWN, FailureKind.NO_QUORUM], False, NoQuorum),
        ],
    )
    def test_of_all_that_happened_the_most_telling_is_told(
        self, kinds: list[FailureKind], in_flight: bool, told: type
    ) -> None:
        error = _after(*kinds).deadline_error("get of 'k'", idempotent=True, in_flight=in_flight)
        assert type(error) is told

    def test_an_overloaded_one_carries_the_last_delay_asked_for(self) -> None:
        attempts = Attempts()
        for delay_s in (0.1, 0.7):
            attempts.record(Failure(FailureKind.OVERLOADED, "full", delay_s))
        attempts.record(failure(FailureKind.UNREACHED))
        error = attempts.deadline_error("get of 'k'", idempotent=True, in_flight=False)
        assert isinstance(error, Overloaded) and error.retry_delay_s == 0.7

    @pytest.mark.parametrize(
        ("count", "story"),
        [
            (0, "get of 'k': the deadline passed"),
            (1, "get of 'k': the deadline passed after 1 failed attempt, the last: said 0"),
            (3, "get of 'k': the deadline passed after 3 failed attempts, the last: said 2"),
        ],
    )
    def test_it_names_the_op_the_attempts_and_the_last_reason(self, count: int, story: str) -> None:
        attempts = Attempts()
        for number in range(count):
            attempts.record(Failure(FailureKind.UNKNOWN, f"said {number}"))
        assert str(attempts.deadline_error("get of 'k'", True, False)) == story

    def test_who_cannot_know_is_told_how_to_find_out(self) -> None:
        error = _after(FailureKind.UNKNOWN).deadline_error("bind of 'k'", False, False)
        assert "bind of 'k'" in str(error) and "linearizable get" in str(error)

    def test_a_client_that_found_no_node_says_which_it_sought(self) -> None:
        error = _after(FailureKind.UNREACHED).connect_error("connect to a:1")
        assert str(error) == (
            "connect to a:1: no node answered in time after 1 failed attempt, the last: UNREACHED"
        )


class TestFinalError:
    @pytest.mark.parametrize(
        "error",
        [
            InvalidArgument("unknown table"),
            Compacted("gone", OLDEST),
            Overloaded("full", 0.5),
            NotBound("k"),
            VersionConflict("k", 1, Binding("A", 2, 7)),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_each_caller_gets_a_copy_that_tells_the_same(self, error: GlobalTableError) -> None:
        told = Attempts().final_error(failure(FailureKind.FINAL, error), "bind of 'k'", False)
        assert told is not error and type(told) is type(error)
        assert str(told) == str(error) and vars(told) == vars(error)
        assert told.__traceback__ is None and told.__cause__ is None

    def test_a_refused_retry_of_what_may_have_happened_keeps_the_refusal_as_its_cause(self) -> None:
        refusal = InvalidArgument("unknown table")
        told = _after(FailureKind.UNKNOWN).final_error(
            Failure(FailureKind.FINAL, "unknown table", error=refusal), "bind of 'k'", False
        )
        assert type(told) is OutcomeUnknown and told.__cause__ is refusal
        assert "unknown table" in str(told)

    def test_an_answer_that_makes_no_sense_claims_nothing_and_stays_what_it_is(self) -> None:
        error = ProtocolError("garbage")
        told = _after(FailureKind.UNKNOWN).final_error(
            Failure(FailureKind.FINAL, "garbage", error=error), "bind of 'k'", False
        )
        assert type(told) is ProtocolError


class TestBackoff:
    @pytest.mark.parametrize(
        ("rounds", "ceiling_s"),
        [(1, 0.02), (2, 0.04), (3, 0.08), (6, 0.64), (7, 1.0), (100, 1.0), (10**9, 1.0)],
    )
    def test_it_doubles_up_to_a_second_and_half_of_it_is_luck(
        self, rounds: int, ceiling_s: float
    ) -> None:
        chance = random.Random(1)
        delays_s = [backoff_s(rounds, chance) for _ in range(200)]
        assert all(ceiling_s / 2 <= delay_s <= ceiling_s for delay_s in delays_s)
        assert max(delays_s) - min(delays_s) > ceiling_s / 4, "callers would come back in step"
