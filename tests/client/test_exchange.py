"""What is sent where and when, and what callers are told: the exchange alone, on a clock of its
own."""

import itertools
from collections.abc import Callable

import pytest

from globaltable import limits
from globaltable.client._attempts import Failure, FailureKind
from globaltable.client._calls import Call
from globaltable.client._deadlines import BUCKET_S
from globaltable.client._lanes import ReadLane
from globaltable.client._settings import GRACE_S, ClientClosed
from globaltable.errors import (
    ConnectFailed,
    DeadlineExceeded,
    InvalidArgument,
    NoQuorum,
    NotBound,
    OutcomeUnknown,
    Overloaded,
    ProtocolError,
    Rejected,
    VersionConflict,
)
from globaltable.model import Binding
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.desk import (
    OVERLOADED,
    UNAVAILABLE,
    UNKNOWN,
    Desk,
    applied,
    failure,
    keys,
    ops,
    write_of,
)

UNREACHED = failure(FailureKind.UNREACHED)
NO_QUORUM = failure(FailureKind.NO_QUORUM)
LOST = failure(FailureKind.UNKNOWN)
BUSY = failure(FailureKind.OVERLOADED)
REFUSED = failure(FailureKind.FINAL, InvalidArgument("unknown table"))


class TestPacking:
    def test_ops_that_wait_together_travel_together_in_their_order(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        callers = [desk.bind(str(number)) for number in range(100)]
        call = desk.call()
        assert [op.key for op in ops(call)] == [str(number) for number in range(100)]
        desk.answer(call, *(applied(f"u{number}") for number in range(100)))
        assert [desk.told[caller].unit for caller in callers] == [f"u{n}" for n in range(100)]

    def test_no_more_than_the_service_takes_in_one_call(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        for number in range(limits.WRITE_OPS_MAX + 1):
            desk.bind(str(number))
        call = desk.call()
        assert len(ops(call)) == limits.WRITE_OPS_MAX
        desk.answer(call, *(applied("u") for _ in range(limits.WRITE_OPS_MAX)))
        assert [len(ops(call)) for call in desk.calls()] == [1]

    def test_reads_are_weighed_by_their_keys(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        many = [str(number) for number in range(limits.READ_KEYS_MAX - 1)]
        desk.get(*many)
        desk.get("one")
        desk.get("one", "more")
        assert [len(keys(call)) for call in desk.calls()] == [limits.READ_KEYS_MAX, 2]

    def test_what_needs_a_barrier_does_not_share_a_call_with_what_does_not(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        desk.get("k")
        desk.get("k", linearizable=True)
        requests = [pb.ReadRequest.FromString(call.request) for call in desk.calls()]
        assert sorted(request.linearizable for request in requests) == [False, True]

    def test_reads_have_bounds_of_their_own(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        calls = []
        for number in range(ReadLane.calls_max):
            desk.get(f"early {number}")
            calls.append(desk.call())
        for number in range(50):
            desk.get(f"late {number}")
        assert desk.calls() == []
        desk.bind()
        assert len(ops(desk.call())) == 1
        desk.fail(calls[0], REFUSED)
        assert len(keys(desk.call())) == 50

    def test_a_read_is_answered_by_its_own_results(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        first, second = desk.get("1", "2"), desk.get("3")
        results = [pb.ReadResult(binding=pb.Binding(unit=u, version=1)) for u in "AB"]
        results.insert(1, pb.ReadResult())
        desk.answer_bytes(desk.call(), pb.ReadResponse(results=results).SerializeToString())
        assert desk.told[first] == [Binding("A", 1, 0), None]
        assert desk.told[second] == [Binding("B", 1, 0)]


class TestNearest:
    @pytest.mark.parametrize(
        ("round_trips_s", "nearest"),
        [
            ((0.050, 0.010, 0.030), 1),
            ((0.050, 0.030, 0.010), 2),
            ((0.001, 0.030, 0.010), 0),
            # Not clearly farther: as given.
            ((0.011, 0.010, 0.012), 0),
            ((0.0015, 0.0001, 0.0002), 0),
        ],
    )
    def test_the_nearest_is_asked(self, round_trips_s: tuple[float, ...], nearest: int) -> None:
        desk = Desk(*round_trips_s)
        desk.bind()
        assert desk.call().node == nearest

    def test_then_the_next_nearest(self) -> None:
        desk = Desk(0.050, 0.010, 0.030)
        desk.bind()
        asked = []
        for _ in range(3):
            call = desk.call()
            asked.append(call.node)
            desk.fail(call, UNREACHED)
        assert asked == [1, 2, 0]

    def test_one_that_failed_is_asked_again_only_after_a_probe_was_answered(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        desk.bind("1")
        desk.fail(desk.call(), UNREACHED)
        assert desk.call().node == 1
        desk.bind("2")
        assert desk.call().node == 1
        desk.wait()
        (probe,) = desk.poll()
        assert (probe.method, probe.node, probe.tickets) == ("Topology", 0, None)
        desk.bind("3")
        assert desk.call().node == 1
        desk.answer_bytes(probe, b"")
        desk.bind("4")
        assert desk.call().node == 0

    def test_probes_of_one_that_stays_away_are_few_and_never_end(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        probed_at: list[float] = []

        def serve(call: Call) -> None:
            if call.tickets is None:
                probed_at.append(desk.now)
            desk.fail(call, UNREACHED) if call.node == 0 else desk.answer(call, applied())

        desk.bind()
        desk.until(lambda: len(probed_at) == 10, serve)
        gaps_s = [after - before for before, after in itertools.pairwise(probed_at)]
        assert all(0.1 <= gap_s <= 1.1 for gap_s in gaps_s)

    def test_if_none_is_up_they_are_asked_all_the_same(self) -> None:
        desk = Desk()
        desk.bind()
        assert desk.call().node == 0

    def test_one_that_says_it_has_lost_its_majority_counts_as_down(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        desk.bind()
        desk.answer(desk.call(), UNAVAILABLE)
        assert not desk.exchange.nodes.is_up(0)
        assert desk.call().node == 1

    def test_one_that_can_serve_some_groups_does_not(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        desk.bind("1")
        desk.bind("2")
        desk.answer(desk.call(), UNAVAILABLE, applied())
        assert desk.exchange.nodes.is_up(0)

    @pytest.mark.parametrize("streamed", [True, False])
    def test_a_short_patience_is_not_held_against_it_but_looked_into(self, streamed: bool) -> None:
        """A caller with a short timeout must not drive the others away from their node."""
        desk = Desk(0.001, 0.001, 0.001, attempt_timeout_s=2.0)
        if streamed:
            desk.bind(timeout=0.1)
            desk.time_out(desk.call())
        else:
            desk.get("k", timeout=0.1)
            desk.fail(desk.call(), LOST._replace(timed_out=True))
        assert any(call.tickets is None and call.node == 0 for call in desk.poll())
        assert desk.exchange.nodes.is_up(0)

    def test_a_status_asked_of_one_node_asks_no_other(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        desk.status("c:1")
        asked = []

        def serve(call: Call) -> None:
            if call.tickets is not None:
                asked.append(call.node)
            desk.fail(call, UNREACHED)

        desk.until(lambda: desk.told, serve)
        assert set(asked) == {2} and len(asked) > 1
        assert isinstance(desk.told[0], ConnectFailed)


class TestRetries:
    @pytest.mark.parametrize("first", [UNREACHED, NO_QUORUM, LOST], ids=lambda f: f.message)
    def test_a_retry_goes_elsewhere_at_once_under_the_same_identity(self, first: Failure) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        caller = desk.bind("k")
        one = desk.call()
        desk.fail(one, first)
        other = desk.call()
        assert other.node != one.node
        assert write_of(other) == write_of(one)
        desk.answer(other, applied("B"))
        assert desk.told[caller] == Binding("B", 1, 2, created=True)

    def test_no_two_ops_share_an_identity(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        for _ in range(100):
            desk.bind("k")
        assert len({op.sequence for op in ops(desk.call())}) == 100

    def test_of_a_batch_only_what_failed_is_sent_again(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        for number in range(3):
            desk.bind(str(number))
        desk.answer(desk.call(), applied(), UNKNOWN, applied())
        assert [op.key for op in ops(desk.call())] == ["1"]

    def test_when_all_have_failed_there_is_a_pause_that_grows(self) -> None:
        desk = Desk(0.001, 0.001, 0.001, timeout_s=30.0)
        desk.bind()
        attempts_at: list[float] = []

        def serve(call: Call) -> None:
            if call.tickets is not None:
                attempts_at.append(desk.now)
            desk.fail(call, UNREACHED)

        desk.until(lambda: desk.told, serve)
        pauses_s = [b - a for a, b in itertools.pairwise(attempts_at) if b > a]
        assert pauses_s[0] < 0.1
        assert max(pauses_s) <= 1.1
        assert len(attempts_at) < 200

    def test_a_node_that_is_overloaded_is_given_the_time_it_asks_for(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        caller = desk.bind()
        asked_at = desk.now
        desk.answer(desk.call(), OVERLOADED, retry_delay_ms=400)
        assert desk.calls() == []
        desk.wait()
        retry = desk.call()
        assert asked_at + 0.4 <= desk.now < asked_at + 0.6
        desk.answer(retry, applied())
        assert isinstance(desk.told[caller], Binding)

    def test_it_is_not_believed_beyond_reason(self) -> None:
        desk = Desk(0.001, 0.001, 0.001, timeout_s=60.0)
        desk.bind()
        asked_at = desk.now
        desk.answer(desk.call(), OVERLOADED, retry_delay_ms=4_000_000)
        desk.wait()
        assert desk.calls() and desk.now < asked_at + 6

    @pytest.mark.parametrize(
        ("status", "kind", "told"),
        [
            (pb.OUTCOME_STATUS_APPLIED, pb.OP_KIND_BIND, Binding),
            (pb.OUTCOME_STATUS_EXISTS, pb.OP_KIND_BIND, Binding),
            (pb.OUTCOME_STATUS_APPLIED, pb.OP_KIND_MOVE, Binding),
            (pb.OUTCOME_STATUS_APPLIED, pb.OP_KIND_UNBIND, type(None)),
            (pb.OUTCOME_STATUS_VERSION_CONFLICT, pb.OP_KIND_MOVE, VersionConflict),
            (pb.OUTCOME_STATUS_VERSION_CONFLICT, pb.OP_KIND_UNBIND, VersionConflict),
            (pb.OUTCOME_STATUS_NOT_BOUND, pb.OP_KIND_MOVE, NotBound),
            (pb.OUTCOME_STATUS_NOT_BOUND, pb.OP_KIND_UNBIND, NotBound),
            (pb.OUTCOME_STATUS_INVALID_ARGUMENT, pb.OP_KIND_BIND, InvalidArgument),
            # What no correct node says.
            (pb.OUTCOME_STATUS_EXISTS, pb.OP_KIND_MOVE, ProtocolError),
            (pb.OUTCOME_STATUS_NOT_BOUND, pb.OP_KIND_BIND, ProtocolError),
            (pb.OUTCOME_STATUS_VERSION_CONFLICT, pb.OP_KIND_BIND, ProtocolError),
            (pb.OUTCOME_STATUS_UNSPECIFIED, pb.OP_KIND_BIND, ProtocolError),
        ],
    )
    def test_an_outcome_ends_the_op(
        self, status: pb.OutcomeStatus, kind: pb.OpKind, told: type
    ) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        base = desk._base
        make: dict[int, Callable[[], int]] = {
            pb.OP_KIND_BIND: lambda: desk.bind("k"),
            pb.OP_KIND_MOVE: lambda: desk.ask(base._move_ticket("k", "B", 1, 5.0)),
            pb.OP_KIND_UNBIND: lambda: desk.ask(base._unbind_ticket("k", 1, 5.0)),
        }
        caller = make[kind]()
        binding = pb.Binding(unit="A", version=2, revision=7)
        desk.answer(desk.call(), pb.Outcome(status=status, binding=binding))
        assert type(desk.told[caller]) is told
        assert desk.calls() == []


class TestOneDeadline:
    def test_over_all_attempts(self) -> None:
        desk = Desk(0.001, 0.001, 0.001, timeout_s=3.0, attempt_timeout_s=2.0)
        began_at = desk.now
        caller = desk.bind()
        timeouts_s = []

        def serve(call: Call) -> None:
            """Nobody answers: each call takes all the time it was given."""
            if call.tickets is None:
                desk.answer_bytes(call, b"")
            else:
                timeouts_s.append(call.timeout_s)

        desk.until(lambda: caller in desk.told, serve)
        assert timeouts_s == pytest.approx([2.0 + GRACE_S, 3.0 - 2.0], abs=2 * BUCKET_S)
        assert desk.now - began_at <= 3.0 + GRACE_S + BUCKET_S
        assert isinstance(desk.told[caller], OutcomeUnknown)

    def test_what_waits_is_told_when_it_passes_never_early(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        began_at = desk.now
        caller = desk.bind(timeout=0.5)
        desk.fail(desk.call(), BUSY._replace(retry_delay_s=5.0))
        desk.until(lambda: caller in desk.told, lambda call: None)
        assert began_at + 0.5 <= desk.now <= began_at + 0.5 + 2 * BUCKET_S

    def test_what_is_under_way_hears_the_nodes_last_word(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        caller = desk.bind(timeout=0.5)
        call = desk.call()
        desk.now += 0.5 + BUCKET_S
        assert desk.calls() == [] and desk.told == {}
        desk.answer(call, UNAVAILABLE)
        assert isinstance(desk.told[caller], NoQuorum)

    def test_and_no_longer_than_the_grace(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        caller = desk.bind(timeout=0.5)
        call = desk.call()
        desk.until(lambda: caller in desk.told, lambda call: None)
        assert isinstance(desk.told[caller], OutcomeUnknown)
        desk.answer(call, applied())

    def test_a_late_answer_within_the_grace_is_the_outcome(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        caller = desk.bind(timeout=0.5)
        call = desk.call()
        desk.now += 0.6
        desk.poll()
        desk.answer(call, applied())
        assert isinstance(desk.told[caller], Binding)

    def test_without_one_only_the_attempt_ends(self) -> None:
        desk = Desk(0.001, 0.001, 0.001, timeout_s=None)
        desk.get("k")
        read = desk.call()
        assert desk.exchange.next_due() is None, "gRPC ends it"
        desk.bind()
        write = desk.call()
        assert desk.exchange.next_due() == pytest.approx(
            desk.now + write.timeout_s, abs=2 * BUCKET_S
        )
        assert read.timeout_s == write.timeout_s == 2.0 + GRACE_S

    def test_a_caller_with_a_short_one_does_not_shorten_the_call_of_others(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        short, long = desk.bind(timeout=0.1), desk.bind(timeout=1.0)
        call = desk.call()
        assert call.timeout_s == 1.0 + GRACE_S
        desk.until(lambda: short in desk.told, lambda call: None)
        desk.answer(call, applied(), applied())
        assert isinstance(desk.told[short], OutcomeUnknown)
        assert isinstance(desk.told[long], Binding)


# How the attempts of an op ended, in turn, until its deadline | what a bind is told | a get.
ENDS = {
    "nobody was reached": ([UNREACHED], ConnectFailed, ConnectFailed),
    "no majority": ([NO_QUORUM], NoQuorum, NoQuorum),
    "no majority, some out of reach": ([UNREACHED, NO_QUORUM], NoQuorum, NoQuorum),
    "a full queue": ([BUSY], Overloaded, Overloaded),
    "a full queue, then no majority": ([BUSY, NO_QUORUM], NoQuorum, NoQuorum),
    "one that may have happened": ([LOST], OutcomeUnknown, DeadlineExceeded),
    "known, then unknown": ([UNREACHED, LOST], OutcomeUnknown, DeadlineExceeded),
    "unknown, then known not": ([LOST, NO_QUORUM], OutcomeUnknown, NoQuorum),
    "unknown, then refused early": ([LOST, BUSY], OutcomeUnknown, Overloaded),
    "unknown, then out of reach": ([LOST, UNREACHED], OutcomeUnknown, DeadlineExceeded),
    "refused for good": ([REFUSED], InvalidArgument, InvalidArgument),
    "known not, then refused for good": ([NO_QUORUM, REFUSED], InvalidArgument, InvalidArgument),
    "unknown, then refused for good": ([LOST, REFUSED], OutcomeUnknown, InvalidArgument),
}


@pytest.mark.parametrize("story", ENDS)
@pytest.mark.parametrize("op", ["bind", "get"])
def test_not_happened_is_told_only_if_every_attempt_is_known_not_to_have(
    story: str, op: str
) -> None:
    failures, told_bind, told_get = ENDS[story]
    desk = Desk(0.001, 0.001, 0.001, timeout_s=0.5)
    caller = desk.bind() if op == "bind" else desk.get("k")
    left = list(failures)

    def serve(call: Call) -> None:
        if call.tickets is None:
            desk.answer_bytes(call, b"")
        else:
            desk.fail(call, left.pop(0) if len(left) > 1 else left[0])

    desk.until(lambda: caller in desk.told, serve)
    error = desk.told[caller]
    assert type(error) is (told_bind if op == "bind" else told_get)
    assert op in str(error) or isinstance(error, Rejected)
    if isinstance(error, Overloaded):
        assert error.retry_delay_s == 0.3


def test_the_same_refusal_is_an_error_of_each_callers_own() -> None:
    """One exception raised in two threads would carry both their tracebacks."""
    desk = Desk(0.001, 0.001, 0.001)
    one, other = desk.bind("1"), desk.bind("2")
    desk.fail(desk.call(), REFUSED)
    assert desk.told[one] is not desk.told[other]
    assert str(desk.told[one]) == str(desk.told[other]) == "unknown table"


def test_an_outcome_is_believed_whatever_the_attempts_before_came_to() -> None:
    desk = Desk(0.001, 0.001, 0.001)
    caller = desk.bind()
    desk.fail(desk.call(), LOST)
    desk.answer(desk.call(), applied())
    assert desk.told[caller] == Binding("A", 1, 2, created=True)


class TestWrongAnswers:
    @pytest.mark.parametrize(
        "data",
        [
            b"\xff\xff\xff",
            b"",
            pb.ReadResponse(results=[pb.ReadResult()] * 3).SerializeToString(),
        ],
        ids=["garbage", "too few", "too many"],
    )
    def test_what_no_correct_node_answers_is_a_protocol_error_for_all(self, data: bytes) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        callers = [desk.get("1"), desk.get("2")]
        desk.answer_bytes(desk.call(), data)
        assert [type(desk.told[caller]) for caller in callers] == [ProtocolError] * 2

    def test_a_binding_without_a_unit_spoils_only_its_own_op(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        bad, good = desk.bind("1"), desk.bind("2")
        desk.answer(desk.call(), applied(unit=""), applied())
        assert isinstance(desk.told[bad], ProtocolError)
        assert isinstance(desk.told[good], Binding)


class TestBound:
    def test_beyond_pending_max_a_caller_is_refused_at_once(self) -> None:
        desk = Desk(0.001, 0.001, 0.001, pending_max=2)
        desk.bind("1")
        desk.bind("2")
        with pytest.raises(Overloaded, match=r"bind of '3': 2 requests .* \(pending_max\)") as full:
            desk.bind("3")
        assert full.value.retry_delay_s > 0
        desk.answer(desk.call(), applied(), applied())
        desk.bind("3")
        assert desk.exchange.pending == 1

    def test_one_whose_caller_has_gone_makes_room_and_is_neither_sent_nor_told(self) -> None:
        desk = Desk(0.001, 0.001, 0.001, pending_max=1)
        gone = desk.bind("gone")
        desk.abandon(gone)
        desk.bind("next")
        call = desk.call()
        assert [op.key for op in ops(call)] == ["next"]
        desk.abandon(gone)
        assert desk.exchange.pending == 1

    def test_one_abandoned_under_way_is_not_sent_again(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        gone, stays = desk.bind("gone"), desk.bind("stays")
        call = desk.call()
        desk.abandon(gone)
        desk.fail(call, LOST)
        assert [op.key for op in ops(desk.call())] == ["stays"]
        assert gone not in desk.told and stays not in desk.told

    def test_one_abandoned_between_retries_is_not_sent_again(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        gone = desk.bind()
        desk.fail(desk.call(), BUSY)
        desk.abandon(gone)
        desk.wait()
        assert desk.calls() == []
        assert desk.exchange.pending == 0


class TestClose:
    def test_each_is_told_what_is_true_of_it(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        lost = desk.bind("lost before")
        desk.fail(desk.call(), LOST)
        sent, read = desk.bind("sent"), desk.get("read")
        desk.calls()
        waiting = desk.bind("waiting")
        desk.close()
        assert type(desk.told[lost]) is OutcomeUnknown
        assert type(desk.told[sent]) is OutcomeUnknown
        assert type(desk.told[read]) is ClientClosed
        assert type(desk.told[waiting]) is ClientClosed
        assert desk.exchange.pending == 0

    def test_nothing_is_sent_or_due_afterwards(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        desk.bind()
        desk.close()
        assert desk.poll() == []
        assert desk.exchange.next_due() is None
        with pytest.raises(ClientClosed):
            desk.bind()

    def test_an_answer_that_comes_late_is_nobodys(self) -> None:
        desk = Desk(0.001, 0.001, 0.001)
        caller = desk.bind()
        call = desk.call()
        desk.close()
        desk.answer(call, applied())
        assert type(desk.told[caller]) is OutcomeUnknown


class TestOpening:
    def test_it_ends_when_the_distances_are_known(self) -> None:
        desk = Desk()
        caller = desk.open()
        for _ in range(2):
            probes = desk.poll()
            assert [probe.node for probe in probes] == [0, 1, 2]
            for probe in probes:
                desk.answer_bytes(probe, b"")
        desk.poll()
        assert desk.told == {caller: None}

    def test_it_does_not_wait_long_for_one_that_is_silent(self) -> None:
        desk = Desk()
        caller = desk.open()
        began_at = desk.now

        def serve(call: Call) -> None:
            if call.node == 1:
                desk.answer_bytes(call, b"")

        desk.until(lambda: caller in desk.told, serve)
        assert desk.told[caller] is None
        assert desk.now - began_at < 0.1

    def test_it_fails_with_the_last_reason_if_nobody_answers_in_time(self) -> None:
        desk = Desk(timeout_s=0.5)
        caller = desk.open()
        began_at = desk.now
        desk.until(lambda: caller in desk.told, lambda call: desk.fail(call, UNREACHED))
        assert type(desk.told[caller]) is ConnectFailed
        assert "connect to a:1, b:1, c:1" in str(desk.told[caller])
        assert desk.now - began_at == pytest.approx(0.5, abs=2 * BUCKET_S)

    def test_a_node_that_refuses_a_probe_answers(self) -> None:
        desk = Desk()
        caller = desk.open()
        desk.until(lambda: caller in desk.told, lambda call: desk.fail(call, REFUSED))
        assert desk.told[caller] is None
