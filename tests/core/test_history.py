"""The recent past of a group: bounded by the format, whole above its floor, nothing below."""

import pytest

from globaltable import history
from globaltable.errors import Corrupt
from globaltable.history import HISTORY_OPS_MAX, History, HistoryRecord, identity_of
from globaltable.model import Binding, OpKind, Outcome, OutcomeStatus
from globaltable.wire.rows import HistoryRow, decode_history, encode_history


def _row(client: int, sequence: int, version: int = 1, revision: int = 2) -> HistoryRow:
    name = b"t\0k%d" % sequence
    status = OutcomeStatus.APPLIED
    return HistoryRow(OpKind.BIND, name, client, sequence, status, "A", version, revision)


def _append(past: History, revision: int, *rows: HistoryRow) -> HistoryRecord:
    record = HistoryRecord(revision, max(1, len(rows)), encode_history(list(rows)))
    past.append(record, [identity_of(row.client_id, row.sequence) for row in rows])
    return record


@pytest.fixture
def bound_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "HISTORY_OPS_MAX", 4)


def test_the_bound_is_part_of_the_format() -> None:
    """Replicas with different bounds would answer the same batch differently."""
    assert HISTORY_OPS_MAX == 16_384


def test_an_op_is_found_by_client_and_sequence_together() -> None:
    past = History(1)
    _append(past, 2, _row(7, 1), _row(7, 2, version=5))
    assert past.find(identity_of(7, 2)) == Outcome(
        OutcomeStatus.APPLIED, Binding("A", 5, 2, created=True)
    )
    assert (
        past.find(identity_of(8, 1))
        is past.find(identity_of(7, 3))
        is past.find(identity_of(1, 7))
        is None
    )


def test_a_record_is_decoded_once_however_many_of_its_ops_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When each op had it decoded again, 200 ops of a record of 4,096 took 1.1 s."""
    past = History(1)
    _append(past, 2, *[_row(7, sequence) for sequence in range(50)])
    _append(past, 3, *[_row(8, sequence) for sequence in range(50)])
    decoded: list[bytes] = []

    def counted(data: bytes) -> list[HistoryRow]:
        decoded.append(data)
        return decode_history(data)

    monkeypatch.setattr(history, "decode_history", counted)
    asked = [identity_of(client, sequence) for client in (7, 8, 9) for sequence in range(50)]
    found = past.find_all(asked)
    assert list(found) == asked[:100]
    assert [row.sequence for row in found.values()] == 2 * list(range(50))
    assert len(decoded) == 2


def test_ids_of_full_width_do_not_run_into_each_other() -> None:
    past = History(1)
    last = 2**64 - 1
    _append(past, 2, _row(0, last), _row(1, 0, version=9))
    first, second = past.find(identity_of(0, last)), past.find(identity_of(1, 0))
    assert first is not None and first.binding is not None and first.binding.version == 1
    assert second is not None and second.binding is not None and second.binding.version == 9


def test_an_op_does_not_take_effect_twice() -> None:
    """The table answers an op that is known with its outcome, and appends no row for it."""
    past = History(1)
    _append(past, 2, _row(7, 1, version=1))
    with pytest.raises(AssertionError, match="twice"):
        _append(past, 3, _row(7, 2), _row(7, 1, version=2))


@pytest.mark.parametrize("batches", [[(1, 1)], [(1, 2), (3, 2)]])
def test_records_that_hold_an_op_twice_are_damaged(batches: list[tuple[int, ...]]) -> None:
    records = [
        HistoryRecord(revision, len(sequences), encode_history([_row(7, s) for s in sequences]))
        for revision, sequences in enumerate(batches, start=2)
    ]
    with pytest.raises(Corrupt, match="twice"):
        History(1, records)


@pytest.mark.usefixtures("bound_of_four")
def test_the_oldest_batch_is_forgotten_whole_and_the_floor_says_so() -> None:
    past = History(1)
    _append(past, 2, _row(7, 1), _row(7, 2))
    kept = [_append(past, 3, _row(7, 3)), _append(past, 5, _row(7, 4))]
    assert (past.floor, past.ops) == (1, 4)
    kept.append(_append(past, 6, _row(7, 5)))
    assert (past.floor, past.ops) == (2, 3)
    assert past.find(identity_of(7, 1)) is past.find(identity_of(7, 2)) is None
    assert past.find(identity_of(7, 3)) is not None
    assert list(past.records_after(2)) == kept


@pytest.mark.usefixtures("bound_of_four")
def test_a_batch_over_the_bound_is_kept_alone() -> None:
    past = History(1)
    _append(past, 2, _row(7, 0))
    _append(past, 3, *(_row(7, sequence) for sequence in range(1, 9)))
    assert (past.floor, past.ops) == (2, 8)


@pytest.mark.usefixtures("bound_of_four")
def test_a_batch_without_ops_weighs_one_so_that_barriers_are_bounded_too() -> None:
    past = History(1)
    for revision in range(2, 12):
        _append(past, revision)
    assert (past.floor, past.ops) == (7, 4)


@pytest.mark.parametrize("revision", [2, 3, 4])
def test_a_watcher_is_given_all_that_came_after_its_revision(revision: int) -> None:
    past = History(2)
    for at in (3, 4, 6):
        _append(past, at)
    after = [record.revision for record in past.records_after(revision)]
    assert after == [at for at in (3, 4, 6) if at > revision]


def test_who_asks_for_what_is_forgotten_is_not_given_a_part() -> None:
    with pytest.raises(AssertionError):
        list(History(5).records_after(4))


def test_revisions_only_rise() -> None:
    past = History(5)
    with pytest.raises(AssertionError):
        _append(past, 5)
    _append(past, 6)
    with pytest.raises(AssertionError):
        _append(past, 6)


def test_it_is_rebuilt_from_its_records() -> None:
    past = History(1)
    records = [_append(past, 2, _row(7, 1)), _append(past, 3), _append(past, 4, _row(8, 1))]
    again = History(1, records)
    assert (again.floor, again.ops) == (past.floor, past.ops)
    assert list(again.records_after(1)) == records
    assert again.find(identity_of(8, 1)) == past.find(identity_of(8, 1)) is not None


def test_a_damaged_record_is_not_believed() -> None:
    with pytest.raises(Corrupt, match="history record"):
        History(1, [HistoryRecord(2, 1, b"\x91\x93\x01\x02\x03")])
