"""Requests on a write stream: answered in parts, given up, broken off, and never mistaken for one
another."""

import pytest

from globaltable.client._attempts import FailureKind
from globaltable.client._calls import Call
from globaltable.client._lanes import WriteLane
from globaltable.client._settings import GRACE_S, ClientClosed
from globaltable.errors import ConnectFailed, NoQuorum, OutcomeUnknown, Overloaded, ProtocolError
from globaltable.model import Binding
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.desk import (
    OVERLOADED,
    UNAVAILABLE,
    UNKNOWN,
    Desk,
    applied,
    failure,
    ops,
    part,
    require_nothing_held,
    write_of,
)
from tests.columns import stream_part

UNREACHED = failure(FailureKind.UNREACHED)
LOST = failure(FailureKind.UNKNOWN)


def desk_of_three(**settings: float | None) -> Desk:
    return Desk(0.001, 0.001, 0.001, **settings)


class TestParts:
    def test_an_op_is_told_as_soon_as_it_is_answered_while_its_request_goes_on(self) -> None:
        desk = desk_of_three()
        callers = [desk.bind(str(number)) for number in range(3)]
        call = desk.call()
        desk.answer_some(call, {1: applied("B")})
        assert desk.told == {callers[1]: Binding("B", 1, 2, created=True)}
        desk.answer_some(call, {2: applied("C"), 0: applied("A")})
        assert [desk.told[caller].unit for caller in callers] == ["A", "B", "C"]
        require_nothing_held(desk.exchange)

    def test_a_message_may_answer_many_requests(self) -> None:
        desk = desk_of_three()
        callers = []
        calls = []
        for number in range(3):
            callers.append(desk.bind(str(number)))
            calls.append(desk.call())
        parts = [part(call, {0: applied(f"u{number}")}) for number, call in enumerate(calls)]
        desk.receive(0, pb.WriteStreamResponse(parts=parts[::-1]).SerializeToString())
        assert [desk.told[caller].unit for caller in callers] == ["u0", "u1", "u2"]
        require_nothing_held(desk.exchange)

    def test_what_failed_is_sent_elsewhere_before_the_rest_is_answered(self) -> None:
        desk = desk_of_three()
        for number in range(3):
            desk.bind(str(number))
        first = desk.call()
        desk.answer_some(first, {1: UNKNOWN})
        retry = desk.call()
        assert (retry.node, list(ops(retry))) == (1, [ops(first)[1]])
        desk.answer_some(retry, {0: applied()})
        assert list(desk.told) == [1]
        desk.answer_some(first, {0: applied(), 2: applied()})
        assert sorted(desk.told) == [0, 1, 2]
        require_nothing_held(desk.exchange)

    def test_the_delay_of_a_full_queue_is_that_of_its_message(self) -> None:
        desk = desk_of_three()
        desk.bind("full")
        caller = desk.bind("fine")
        asked_at = desk.now
        call = desk.call()
        desk.answer_some(call, {0: OVERLOADED}, retry_delay_ms=400)
        desk.answer_some(call, {1: applied()})
        assert isinstance(desk.told[caller], Binding)
        desk.wait()
        assert [op.key for op in ops(desk.call())] == ["full"]
        assert asked_at + 0.4 <= desk.now < asked_at + 0.6

    def test_a_request_counts_as_under_way_until_its_last_op_is_answered(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(WriteLane, "calls_max", 1)
        desk = desk_of_three()
        desk.bind("1")
        desk.bind("2")
        call = desk.call()
        desk.bind("next")
        desk.answer_some(call, {0: applied()})
        assert desk.calls() == []
        desk.answer_some(call, {1: applied()})
        assert [op.key for op in ops(desk.call())] == ["next"]


class TestNobodys:
    """Answers to what was never asked, or is no longer waited for, change nothing."""

    @pytest.mark.parametrize(
        "what", ["another number", "another position", "an op answered before", "another node"]
    )
    def test_an_answer_that_fits_no_op_is_ignored(self, what: str) -> None:
        desk = desk_of_three()
        answered, waits = desk.bind("1"), desk.bind("2")
        call = desk.call()
        desk.answer_some(call, {0: applied("A")})
        stray = {
            "another number": stream_part(9_999, [1], [applied("X")]),
            "another position": part(call, {7: applied("X")}),
            "an op answered before": part(call, {0: applied("X")}),
            "another node": part(call, {1: applied("X")}),
        }[what]
        node = 1 if what == "another node" else 0
        desk.receive(node, pb.WriteStreamResponse(parts=[stray]).SerializeToString())
        assert list(desk.told) == [answered] and desk.calls() == []
        desk.answer_some(call, {1: applied("B")})
        assert (desk.told[answered].unit, desk.told[waits].unit) == ("A", "B")
        require_nothing_held(desk.exchange)

    def test_an_op_named_twice_in_one_part_is_told_its_first_outcome(self) -> None:
        desk = desk_of_three()
        caller = desk.bind()
        call = desk.call()
        assert call.number is not None
        twice = stream_part(call.number, [0, 0], [applied("A"), applied("X")])
        desk.receive(0, pb.WriteStreamResponse(parts=[twice]).SerializeToString())
        assert desk.told[caller].unit == "A"
        require_nothing_held(desk.exchange)

    def test_the_rest_of_the_message_counts(self) -> None:
        desk = desk_of_three()
        caller = desk.bind()
        parts = [
            stream_part(9_999, [0], [applied("X")]),
            part(desk.call(), {0: applied("A")}),
        ]
        desk.receive(0, pb.WriteStreamResponse(parts=parts).SerializeToString())
        assert desk.told[caller].unit == "A"


class TestExpiry:
    def test_what_is_not_answered_in_time_is_sent_elsewhere_under_the_same_identity(self) -> None:
        desk = desk_of_three(attempt_timeout_s=1.0)
        caller = desk.bind()
        first = desk.call()
        assert first.timeout_s == 1.0 + GRACE_S
        desk.now += 1.0 + GRACE_S
        assert desk.calls() == []
        desk.time_out(first)
        retry = desk.call()
        assert retry.node == 1
        assert write_of(retry) == write_of(first)
        assert retry.number != first.number
        desk.answer(retry, applied("B"))
        assert desk.told[caller].unit == "B"
        require_nothing_held(desk.exchange)

    def test_a_late_answer_of_the_attempt_that_was_given_up_changes_nothing(self) -> None:
        desk = desk_of_three(attempt_timeout_s=1.0)
        caller = desk.bind()
        first = desk.call()
        desk.time_out(first)
        retry = desk.call()
        desk.answer(first, UNAVAILABLE)
        desk.answer(first, applied("X"))
        assert desk.told == {} and desk.calls() == []
        desk.answer(retry, applied("B"))
        desk.answer(first, applied("X"))
        assert desk.told[caller].unit == "B"
        require_nothing_held(desk.exchange)

    def test_what_was_given_up_may_have_happened(self) -> None:
        desk = desk_of_three(timeout_s=1.5, attempt_timeout_s=0.5)
        caller = desk.bind()
        desk.time_out(desk.call())
        desk.until(lambda: caller in desk.told, lambda call: desk.fail(call, UNREACHED))
        assert type(desk.told[caller]) is OutcomeUnknown

    def test_only_what_is_still_unanswered_is_given_up(self) -> None:
        desk = desk_of_three(attempt_timeout_s=1.0)
        for key in "abc":
            desk.bind(key)
        first = desk.call()
        desk.answer_some(first, {1: applied()})
        desk.time_out(first)
        assert sorted(op.key for op in ops(desk.call())) == ["a", "c"]

    def test_one_that_took_all_its_time_counts_as_down(self) -> None:
        desk = desk_of_three(attempt_timeout_s=1.0)
        desk.bind()
        desk.time_out(desk.call())
        desk.poll()
        assert not desk.exchange.nodes.is_up(0)

    def test_the_stream_and_what_else_is_under_way_on_it_stay(self) -> None:
        desk = desk_of_three(attempt_timeout_s=1.0)
        desk.bind("early")
        early = desk.call()
        desk.now += 0.5
        later = desk.bind("later")
        call = desk.call()
        desk.time_out(early)
        assert [op.key for op in ops(desk.call())] == ["early"]
        desk.answer(call, applied("L"))
        assert desk.told[later].unit == "L"


class TestBreaks:
    def test_a_broken_stream_makes_what_was_on_it_unknown(self) -> None:
        desk = desk_of_three(timeout_s=0.5)
        caller = desk.bind()
        desk.break_stream(desk.call().node, LOST)
        desk.until(lambda: caller in desk.told, lambda call: desk.fail(call, UNREACHED))
        assert type(desk.told[caller]) is OutcomeUnknown

    def test_one_that_was_never_connected_makes_it_unreached(self) -> None:
        desk = desk_of_three(timeout_s=0.5)
        caller = desk.bind()
        desk.until(lambda: caller in desk.told, lambda call: desk.fail(call, UNREACHED))
        assert type(desk.told[caller]) is ConnectFailed

    def test_all_of_its_node_and_nothing_of_others_goes_elsewhere(self) -> None:
        desk = desk_of_three()
        elsewhere = desk.bind("elsewhere")
        desk.answer(desk.call(), UNKNOWN)
        on_other = desk.call()
        assert on_other.node == 1
        desk.answer_bytes(_probe(desk), b"")
        for key in "ab":
            desk.bind(key)
            assert desk.call().node == 0
        desk.break_stream(0, LOST)
        retry = desk.call()
        assert retry.node == 1
        assert sorted(op.key for op in ops(retry)) == ["a", "b"]
        desk.answer(on_other, applied("E"))
        assert desk.told[elsewhere].unit == "E"

    def test_what_was_answered_before_is_not_asked_again(self) -> None:
        desk = desk_of_three()
        for key in "abc":
            desk.bind(key)
        first = desk.call()
        desk.answer_some(first, {0: applied(), 2: applied()})
        desk.break_stream(0, LOST)
        assert [op.key for op in ops(desk.call())] == ["b"]

    @pytest.mark.parametrize("kind", [FailureKind.NO_QUORUM, FailureKind.OVERLOADED])
    def test_a_refusal_is_believed_of_a_stream_that_has_not_answered_yet(
        self, kind: FailureKind
    ) -> None:
        desk = desk_of_three(timeout_s=0.5)
        caller = desk.bind()
        desk.break_stream(desk.call().node, failure(kind))
        desk.until(lambda: caller in desk.told, lambda call: desk.fail(call, UNREACHED))
        assert not isinstance(desk.told[caller], OutcomeUnknown)

    @pytest.mark.parametrize("kind", [FailureKind.NO_QUORUM, FailureKind.OVERLOADED])
    def test_but_not_of_one_that_has(self, kind: FailureKind) -> None:
        """Whoever ended it need not have been the node that took the ops."""
        desk = desk_of_three(timeout_s=0.5)
        caller = desk.bind("a")
        desk.bind("b")
        desk.answer_some(desk.call(), {1: applied()})
        desk.break_stream(0, failure(kind))
        desk.until(lambda: caller in desk.told, lambda call: desk.fail(call, UNREACHED))
        assert type(desk.told[caller]) is OutcomeUnknown

    def test_the_node_counts_as_down_though_nothing_was_under_way(self) -> None:
        desk = desk_of_three()
        desk.break_stream(0, LOST)
        desk.bind()
        assert desk.call().node == 1

    def test_answers_of_a_stream_that_is_over_change_nothing(self) -> None:
        desk = desk_of_three()
        caller = desk.bind()
        first = desk.call()
        desk.break_stream(0, LOST)
        retry = desk.call()
        desk.answer(first, applied("X"))
        assert desk.told == {}
        desk.answer(retry, applied("B"))
        assert desk.told[caller].unit == "B"
        require_nothing_held(desk.exchange)


def _probe(desk: Desk) -> Call:
    """The next probe of a node that is down."""
    desk.wait()
    (probe,) = desk.poll()
    assert probe.tickets is None
    return probe


class TestUnderWay:
    """A shell of many threads may be about to send what another has learnt the end of."""

    @pytest.mark.parametrize("how", ["answered", "broken off", "given up", "closed"])
    def test_a_request_that_is_over_must_not_be_sent(self, how: str) -> None:
        desk = desk_of_three()
        desk.bind("1")
        desk.bind("2")
        call = desk.call()
        desk.answer_some(call, {0: applied()})
        assert desk.exchange.is_under_way(call)
        match how:
            case "answered":
                desk.answer_some(call, {1: UNKNOWN})
            case "broken off":
                desk.break_stream(call.node, UNREACHED)
            case "given up":
                desk.time_out(call)
                desk.poll()
            case _:
                desk.close()
        assert not desk.exchange.is_under_way(call)


class TestNonsense:
    @pytest.mark.parametrize("kind", ["garbage", "half a part"])
    def test_it_is_a_protocol_error_of_each_that_is_under_way_on_that_node_only(
        self, kind: str
    ) -> None:
        desk = desk_of_three()
        other = desk.bind("other")
        desk.answer(desk.call(), UNAVAILABLE)
        on_other = desk.call()
        desk.answer_bytes(_probe(desk), b"")
        callers = [desk.bind("1"), desk.bind("2")]
        call = desk.call()
        assert (call.node, on_other.node) == (0, 1)
        half = part(call, {0: applied()})
        half.positions.append(1)
        data = b"\xff\xff\xff"
        if kind == "half a part":
            data = pb.WriteStreamResponse(parts=[half]).SerializeToString()
        desk.receive(0, data)
        assert [type(desk.told[caller]) for caller in callers] == [ProtocolError] * 2
        assert desk.told[callers[0]] is not desk.told[callers[1]]
        assert other not in desk.told
        desk.answer(on_other, applied())
        assert isinstance(desk.told[other], Binding)
        require_nothing_held(desk.exchange)

    def test_nothing_of_a_message_is_believed_if_some_of_it_makes_no_sense(self) -> None:
        desk = desk_of_three()
        caller = desk.bind()
        call = desk.call()
        parts = [
            part(call, {0: applied()}),
            pb.WritePart(number=9, positions=[0], units=["A", "B"]),
        ]
        desk.receive(0, pb.WriteStreamResponse(parts=parts).SerializeToString())
        assert type(desk.told[caller]) is ProtocolError


class TestGone:
    def test_one_whose_caller_has_gone_is_not_told_and_the_others_are(self) -> None:
        desk = desk_of_three()
        gone, stays = desk.bind("gone"), desk.bind("stays")
        call = desk.call()
        desk.abandon(gone)
        desk.answer(call, applied(), applied())
        assert list(desk.told) == [stays]
        require_nothing_held(desk.exchange)

    def test_a_request_that_nobody_waits_for_any_more_leaves_nothing_behind(self) -> None:
        """Neither if it is answered nor if it is not."""
        desk = desk_of_three()
        for answered in (True, False):
            desk.abandon(desk.bind())
            gone = desk.bind()
            call = desk.call()
            desk.abandon(gone)
            if answered:
                desk.answer(call, UNKNOWN)
            else:
                desk.time_out(call)
            assert desk.calls() == [] and desk.told == {}
            require_nothing_held(desk.exchange)
            desk.poll()

    def test_one_that_is_given_up_at_its_deadline_leaves_its_place_until_the_request_ends(
        self,
    ) -> None:
        desk = desk_of_three(attempt_timeout_s=5.0)
        hasty, patient = desk.bind("h", timeout=0.1), desk.bind("p", timeout=2.0)
        call = desk.call()
        desk.until(lambda: hasty in desk.told, lambda call: None)
        assert type(desk.told[hasty]) is OutcomeUnknown
        desk.answer_some(call, {0: applied()})
        desk.answer_some(call, {1: applied("P")})
        assert desk.told[patient].unit == "P"
        require_nothing_held(desk.exchange)


class TestClose:
    def test_what_is_on_a_stream_may_have_happened_and_what_is_not_has_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(WriteLane, "calls_max", 1)
        desk = desk_of_three()
        answered, sent = desk.bind("1"), desk.bind("2")
        call = desk.call()
        waits = desk.bind("3")
        assert desk.calls() == []
        desk.answer_some(call, {0: applied()})
        desk.close()
        told = [type(desk.told[caller]) for caller in (answered, sent, waits)]
        assert told == [Binding, OutcomeUnknown, ClientClosed]

    def test_what_comes_on_the_stream_afterwards_is_nobodys(self) -> None:
        desk = desk_of_three()
        caller = desk.bind()
        call = desk.call()
        desk.close()
        desk.answer(call, applied())
        desk.receive(call.node, b"\xff")
        desk.break_stream(call.node, LOST)
        assert type(desk.told[caller]) is OutcomeUnknown
        assert desk.poll() == [] and desk.exchange.next_due() is None


@pytest.mark.parametrize(
    ("outcome", "told"),
    [(UNAVAILABLE, NoQuorum), (OVERLOADED, Overloaded), (UNKNOWN, OutcomeUnknown)],
    ids=["no majority", "full", "unknown"],
)
def test_what_a_node_says_of_an_op_is_told_at_its_deadline(
    outcome: pb.Outcome, told: type[Exception]
) -> None:
    desk = desk_of_three(timeout_s=0.3)
    caller = desk.bind()

    def serve(call: Call) -> None:
        if call.tickets is None:
            desk.answer_bytes(call, b"")
        else:
            desk.answer(call, outcome)

    desk.until(lambda: caller in desk.told, serve)
    assert type(desk.told[caller]) is told
    require_nothing_held(desk.exchange)
