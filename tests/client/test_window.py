"""A client has no more under way at a node than is answered in time; the rest waits in it."""

import pytest

from globaltable.client._attempts import Attempts, Failure, FailureKind
from globaltable.client._window import AIM_S, LATE_S, OPS_MAX, OPS_MIN, PAUSE_S_MAX, Window
from globaltable.errors import DeadlineExceeded, OutcomeUnknown, Overloaded
from tests.client.desk import OVERLOADED, Desk, applied, ops

NODE, OTHER = 0, 1


def _answered(window: Window, number: int, count: int, sent_at: float, now: float) -> None:
    window.gone(NODE, number, count)
    window.outcomes(NODE, count, sent_at, now)


@pytest.fixture
def late() -> Window:
    """1,000 ops were sent, of which half were answered late: the other half is still under way."""
    window = Window()
    window.sent(NODE, 1, 1_000, 0.0)
    _answered(window, 1, 500, 0.0, 1.0)
    return window


def test_a_node_that_answers_in_time_is_sent_whatever_there_is() -> None:
    window = Window()
    for number in range(100):
        window.sent(NODE, number, 1_000, number * 0.01)
        _answered(window, number, 1_000, number * 0.01, number * 0.01 + AIM_S)
    assert window.room(NODE, 1.25) == OPS_MAX
    assert window.free_at(NODE, 1.25) == float("-inf")


def test_one_that_is_late_is_sent_what_it_does_in_the_time_aimed_at(late: Window) -> None:
    # 500 of 1,000 in a second: 250 in a quarter of one.
    assert late.room(NODE, 1.0) == 1_000 * AIM_S
    assert late.room(OTHER, 1.0) == OPS_MAX


def test_without_room_the_next_waits_for_an_answer_but_not_for_ever(late: Window) -> None:
    late.sent(NODE, 2, int(1_000 * AIM_S), 2.0)
    assert late.room(NODE, 2.0) == 0
    assert late.free_at(NODE, 2.0) == 2.0 + LATE_S
    # A group that has lost its leader holds up its own ops, and not those of the others.
    assert late.room(NODE, 2.0 + LATE_S) == 1_000 * AIM_S


def test_an_answer_makes_room_at_once(late: Window) -> None:
    late.sent(NODE, 2, 250, 2.0)
    late.gone(NODE, 2, 100)
    assert late.room(NODE, 2.0) == 100


def test_what_left_before_a_cut_does_not_cut_again(late: Window) -> None:
    before = late.room(NODE, 1.0)
    _answered(late, 1, 500, 0.0, 1.5)
    assert late.room(NODE, 1.5) == before


def test_it_grows_by_what_is_answered_in_time(late: Window) -> None:
    before = late.room(NODE, 1.0)
    late.sent(NODE, 2, 200, 2.0)
    _answered(late, 2, 200, 2.0, 2.1)
    assert late.room(NODE, 2.1) == before + 200


def test_it_is_never_so_small_that_a_client_stands_still() -> None:
    window = Window()
    window.sent(NODE, 1, 1, 0.0)
    _answered(window, 1, 1, 0.0, 100.0)
    assert window.room(NODE, 100.0) == OPS_MIN


def test_one_that_refuses_and_does_nothing_else_is_asked_less_and_less() -> None:
    window = Window()
    pauses = []
    now = 0.0
    for number in range(12):
        window.sent(NODE, number, 10, now)
        window.gone(NODE, number, 10)
        window.refused(NODE, 10, now, now + 0.01, 0.05)
        pauses.append(max(0.0, window.free_at(NODE, now + 0.01) - now - 0.01))
        now = max(now + 0.01, window.free_at(NODE, now + 0.01))
    assert pauses[0] == 0.0, "others of its groups may have room"
    assert pauses[1:4] == [pytest.approx(0.05), pytest.approx(0.1), pytest.approx(0.2)]
    assert pauses[-1] == pytest.approx(PAUSE_S_MAX)
    window.sent(NODE, 100, 10, now)
    _answered(window, 100, 10, now, now + 0.01)
    window.sent(NODE, 101, 10, now + 0.02)
    window.gone(NODE, 101, 10)
    window.refused(NODE, 10, now + 0.02, now + 0.03, 0.05)
    assert window.free_at(NODE, now + 0.03) <= now + 0.03, "an outcome forgives"


def test_who_can_be_answered_in_time_is_not_known_with_nothing_under_way(late: Window) -> None:
    assert late.expected_s(OTHER) == 0.0
    late.sent(NODE, 2, 10, 1.1)
    assert late.expected_s(NODE) > 0.0
    late.gone(NODE, 1, 500)
    late.gone(NODE, 2, 10)
    assert late.expected_s(NODE) == 0.0


# --- of a whole client ---------------------------------------------------------------------------


def _late_desk() -> Desk:
    """Its nearest node answers after two seconds, and has some work of it left."""
    desk = Desk(0.001, 0.1, 0.1, timeout_s=10.0, attempt_timeout_s=5.0)
    for number in range(100):
        desk.bind(f"early {number}")
    first = desk.call()
    desk.now += 2.0
    for number in range(200):
        desk.bind(f"more {number}")
    desk.answer_some(first, {place: applied("A") for place in range(90)})
    return desk


def test_what_a_node_cannot_do_yet_waits_in_the_client() -> None:
    desk = _late_desk()
    (call,) = desk.calls()
    assert len(ops(call)) == OPS_MIN
    assert desk.calls() == []
    desk.now += 0.01
    desk.answer(call, *[applied("A")] * OPS_MIN)
    (call,) = desk.calls()
    assert len(ops(call)) == 2 * OPS_MIN


def test_who_waits_here_until_its_time_is_up_was_never_sent() -> None:
    desk = _late_desk()
    hurried = desk.bind("hurried", timeout=0.3)
    sent = {op.key for call in desk.calls() for op in ops(call)}
    desk.now += 0.25
    for number in range(3 * OPS_MIN):
        desk.bind(f"patient {number}")
    sent |= {op.key for call in desk.calls() for op in ops(call)}
    assert "hurried" not in sent
    desk.now += LATE_S
    sent |= {op.key for call in desk.calls() for op in ops(call)}
    assert "hurried" not in sent
    error = desk.told[hurried]
    assert isinstance(error, DeadlineExceeded) and not isinstance(error, OutcomeUnknown), error


def test_one_that_is_refused_before_it_was_sent_has_not_happened() -> None:
    desk = _late_desk()
    desk.calls()
    hurried = desk.bind("hurried", timeout=LATE_S + 0.01)
    # Everybody before it has gone, and there is room again.
    for number in range(200):
        desk.abandon(100 + number)
    desk.now += LATE_S
    assert all(op.key != "hurried" for call in desk.calls() for op in ops(call))
    error = desk.told[hurried]
    assert isinstance(error, Overloaded), error


def test_one_that_may_have_happened_before_is_unknown() -> None:
    attempts = Attempts()
    attempts.record(Failure(FailureKind.UNKNOWN, "no answer"))
    assert isinstance(attempts.turn_error("bind of 'k'", idempotent=False), OutcomeUnknown)
    assert isinstance(attempts.turn_error("get of 'k'", idempotent=True), Overloaded)


def test_after_a_refusal_half_as_much_is_sent_and_the_rest_waits_here() -> None:
    desk = Desk(0.001, 0.1, 0.1)
    for number in range(200):
        desk.bind(str(number))
    call = desk.call()
    desk.now += 0.01
    desk.answer(call, *[OVERLOADED] * 200, retry_delay_ms=50)
    for number in range(200):
        desk.bind(f"later {number}")
    later = desk.call()
    assert (later.node, len(ops(later))) == (call.node, 100)
