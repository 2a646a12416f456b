"""What waits at a replica ends once, and a reader passes only behind a batch that was applied."""

import random

import pytest

from globaltable.history import History, HistoryRecord
from globaltable.lateness import LATE_S
from globaltable.model import Op, OpKind, Outcome, OutcomeStatus
from globaltable.proposals import Proposals, Settled
from globaltable.wire.rows import HistoryRow, encode_history

APPLIED = Outcome(OutcomeStatus.APPLIED)
BIND = Op(OpKind.BIND, b"t\x00k", "u", 0, 7, 1)


@pytest.fixture
def proposals() -> Proposals:
    return Proposals(16, random.Random(1), 0.0)


def _sealed(proposals: Proposals) -> bytes:
    return proposals.seal(1).batch.batch_id


def _endings(settled: list[Settled]) -> dict[str, list[OutcomeStatus]]:
    return {ticket: [outcome.status for outcome in outcomes] for ticket, outcomes in settled}


def test_a_reader_passes_once_its_batch_is_applied(proposals: Proposals) -> None:
    proposals.submit([BIND], "op", 9.0)
    proposals.submit([], "reader", 9.0)
    settled = proposals.settle(_sealed(proposals), [APPLIED])
    assert _endings(settled) == {"op": [OutcomeStatus.APPLIED], "reader": []}


def test_a_reader_whose_time_is_up_does_not_pass(proposals: Proposals) -> None:
    proposals.submit([], "sealed", 1.0)
    _sealed(proposals)
    proposals.submit([], "open", 1.0)
    assert _endings(proposals.expire(2.0)) == {
        "open": [OutcomeStatus.UNAVAILABLE],
        "sealed": [OutcomeStatus.UNKNOWN],
    }


def test_no_reader_passes_because_the_replica_stops(proposals: Proposals) -> None:
    proposals.submit([], "sealed", 9.0)
    _sealed(proposals)
    proposals.submit([], "open", 9.0)
    assert all(outcomes for outcomes in _endings(proposals.stop()).values())


def test_a_reader_in_a_batch_that_a_snapshot_may_have_skipped_does_not_pass(
    proposals: Proposals,
) -> None:
    proposals.submit([BIND], "op", 9.0)
    proposals.submit([], "reader", 9.0)
    _sealed(proposals)
    settled = proposals.settle_by_history(History(floor=50))
    assert _endings(settled) == {
        "op": [OutcomeStatus.UNKNOWN],
        "reader": [OutcomeStatus.UNKNOWN],
    }


def test_a_reader_does_not_pass_because_an_earlier_attempt_of_an_op_is_known(
    proposals: Proposals,
) -> None:
    row = HistoryRow(OpKind.BIND, b"t\x00k", 7, 1, OutcomeStatus.APPLIED, "u", 1, 2)
    history = History(1, [HistoryRecord(2, 1, encode_history([row]))])
    proposals.submit([BIND], "retry", 9.0)
    proposals.submit([], "reader", 9.0)
    _sealed(proposals)
    assert _endings(proposals.settle_by_history(history)) == {
        "retry": [OutcomeStatus.APPLIED],
        "reader": [OutcomeStatus.UNKNOWN],
    }


def test_an_op_is_not_settled_by_another_one_that_has_its_id(proposals: Proposals) -> None:
    row = HistoryRow(OpKind.BIND, b"t\x00other", 7, 1, OutcomeStatus.APPLIED, "u", 1, 2)
    proposals.submit([BIND], "op", 9.0)
    _sealed(proposals)
    settled = proposals.settle_by_history(History(1, [HistoryRecord(2, 1, encode_history([row]))]))
    assert _endings(settled) == {"op": [OutcomeStatus.INVALID_ARGUMENT]}


def test_readers_count_until_they_have_ended(proposals: Proposals) -> None:
    for number in range(16):
        assert proposals.submit([], number, 9.0)
    batch_id = _sealed(proposals)
    assert proposals.ops == 16
    assert not proposals.submit([], "one too many", 9.0)
    assert len(proposals.settle(batch_id, [])) == 16
    assert proposals.ops == 0


def _busy(monkeypatch: pytest.MonkeyPatch) -> Proposals:
    """Four ops under way since 0.0, which is as many as may wait untimed."""
    monkeypatch.setattr("globaltable.proposals.UNTIMED_OPS_MAX", 4)
    proposals = Proposals(16, random.Random(1), 0.0)
    assert proposals.submit([BIND] * 4, "first", 9.0)
    _sealed(proposals)
    return proposals


def test_while_outcomes_are_late_no_more_is_taken_than_may_wait_untimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proposals = _busy(monkeypatch)
    proposals.expire(LATE_S)
    assert proposals.submit([BIND], "in time", 9.0)
    proposals.expire(LATE_S + 0.01)
    assert not proposals.submit([BIND], "late", 9.0)
    assert not proposals.submit([], "a late reader", 9.0)


def test_once_they_come_again_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    proposals = _busy(monkeypatch)
    proposals.expire(LATE_S + 0.01)
    (oldest,) = proposals.sealed()
    proposals.settle(oldest.batch.batch_id, [APPLIED] * 4)
    assert proposals.submit([BIND] * 16, "after", 9.0)


def test_few_may_wait_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a leader to be elected."""
    monkeypatch.setattr("globaltable.proposals.UNTIMED_OPS_MAX", 4)
    proposals = Proposals(16, random.Random(1), 0.0)
    proposals.submit([BIND], "first", 9.0)
    _sealed(proposals)
    proposals.expire(8.0)
    assert proposals.submit([BIND] * 3, "more", 9.0)
    assert not proposals.submit([BIND], "one too many", 9.0)
