"""What comes next with one key, and what a job selects (`globaltable/routing/moves.py`)."""

import pytest

from globaltable.errors import Corrupt, InvalidArgument, ProtocolError
from globaltable.model import Binding
from globaltable.routing.handover import Answer
from globaltable.routing.lease import (
    DRIFT_MAX,
    Lease,
    LeaseRecord,
    Standing,
    lease_key,
    wait_s,
)
from globaltable.routing.moves import (
    ATTEMPTS_MAX,
    ENDS,
    NOTED_KEY_BYTES_MAX,
    SPREAD,
    Job,
    KeyMove,
    SelectionKind,
    Step,
    answered,
    note_key,
    noted_key,
    read,
    source_is_lost,
)

ANY = None
AT_A = Binding("A", 3, 9)


def steps(move: KeyMove) -> list[Step]:
    seen: list[Step] = []
    while move.step not in ENDS:
        seen.append(move.step)
        move = answered(move, Answer.DONE)
    return seen


def test_a_move_is_noted_drained_received_committed_and_settled() -> None:
    move = read(KeyMove("k", "B"), AT_A, ANY)
    assert (move.source, move.version) == ("A", 3)
    assert steps(move) == [Step.NOTE, Step.DRAIN, Step.RECEIVE, Step.COMMIT, Step.SETTLE]


def test_what_is_there_already_is_settled_and_what_this_mover_committed_counts() -> None:
    there = read(KeyMove("k", "A"), AT_A, ANY)
    assert answered(there, Answer.DONE).step is Step.THERE
    unknown = read(KeyMove("k", "B"), AT_A, ANY)._replace(step=Step.READ)
    mine = read(unknown, Binding("B", 4, 12), ANY)
    assert (mine.source, mine.version) == ("A", 4)
    assert answered(mine, Answer.DONE).step is Step.DONE


def test_a_lost_source_is_not_drained() -> None:
    move = source_is_lost(read(KeyMove("k", "B"), AT_A, ANY))
    assert steps(move) == [Step.NOTE, Step.RECEIVE, Step.COMMIT, Step.SETTLE]
    assert answered(move, Answer.BUSY).step is Step.READ, "it may have come back since"


@pytest.mark.parametrize(
    ("binding", "from_units", "step"),
    [
        (None, None, Step.ELSEWHERE),
        (Binding("B", 4, 9), None, Step.SETTLE),
        (Binding("B", 4, 9), frozenset("A"), Step.SETTLE),
        (Binding("C", 4, 9), frozenset("A"), Step.ELSEWHERE),
        (Binding("C", 4, 9), None, Step.NOTE),
    ],
)
def test_what_is_found_decides(
    binding: Binding | None, from_units: frozenset[str] | None, step: Step
) -> None:
    assert read(KeyMove("k", "B"), binding, from_units).step is step


def test_a_step_of_the_past_begins_anew_and_what_leads_nowhere_is_given_up() -> None:
    move = read(KeyMove("k", "B"), AT_A, ANY)._replace(step=Step.COMMIT)
    assert answered(move, Answer.SUPERSEDED).step is Step.READ
    for _ in range(ATTEMPTS_MAX - 1):
        move = answered(move, Answer.BUSY, "3 under way")
        assert move.step is Step.COMMIT
    move = answered(move, Answer.FAILED, "the disk is full")
    assert (move.step, move.detail) == (Step.GIVEN_UP, "the disk is full")


def job(kind: SelectionKind, value: str, to: str, forced: bool = False) -> Job:
    return Job("chat", "routing.chat", kind, value, to, forced)


def test_a_job_selects_a_session_a_tenant_or_a_unit() -> None:
    assert job(SelectionKind.SESSION, "k", "B").selects("k", AT_A)
    assert not job(SelectionKind.SESSION, "k", "B").selects("k2", AT_A)
    assert job(SelectionKind.PREFIX, "k", "B").selects("k2", AT_A)
    assert job(SelectionKind.UNIT, "A", "B").selects("any", AT_A)
    assert not job(SelectionKind.UNIT, "B", "A").selects("any", AT_A)


def test_a_unit_is_spread_over_all_others_the_same_way_each_time() -> None:
    spread = job(SelectionKind.UNIT, "A", SPREAD)
    targets = [spread.target(f"k{number}", "ABCD") for number in range(300)]
    assert set(targets) == set("BCD") and min(map(targets.count, "BCD")) > 60
    assert targets == [spread.target(f"k{number}", "DCBA") for number in range(300)]
    with pytest.raises(InvalidArgument, match="no unit"):
        spread.target("k", "A")


@pytest.mark.parametrize(
    "bad",
    [
        job(SelectionKind.UNIT, "A", "A"),
        job(SelectionKind.SESSION, "", "A"),
        job(SelectionKind.PREFIX, "t:", ""),
        job(SelectionKind.PREFIX, "t:", "B", forced=True),
        job(SelectionKind.SESSION, "k", "B", forced=True),
        job(SelectionKind.SESSION, "k", "B")._replace(table="no table"),
        job(SelectionKind.SESSION, "k", "B")._replace(dimension=""),
    ],
)
def test_a_job_that_cannot_be_is_refused(bad: Job) -> None:
    with pytest.raises(InvalidArgument):
        bad.checked()


def test_a_job_survives_being_kept() -> None:
    kept = job(SelectionKind.PREFIX, "tenant-é:", SPREAD)
    assert Job.parse(kept.text()) == kept and kept.text().isascii()
    for text in ("", "[]", "{}", '["chat", "t", "moon", "k", "B", false]'):
        with pytest.raises(Corrupt):
            Job.parse(text)


def test_keys_are_noted_if_there_is_room() -> None:
    key = "k" * NOTED_KEY_BYTES_MAX
    assert noted_key("01234567", note_key("01234567", key)) == key
    with pytest.raises(InvalidArgument, match="longer than"):
        note_key("01234567", key + "k")


def test_a_lease_counts_from_when_its_renewal_was_sent() -> None:
    lease = Lease(10.0)
    assert not lease.held(0.0)
    lease.granted(5.0)
    lease.granted(3.0)  # an answer that was overtaken
    assert lease.held(14.9) and not lease.held(15.0) and lease.left_s(12.0) == 3.0
    lease.lost()
    assert not lease.held(5.0) and lease.epoch == 1


def test_a_mover_waits_longer_than_any_clock_within_bounds_holds_a_lease() -> None:
    """The slowest holder against the fastest waiter."""
    for lease_s in (0.05, 60.0, 86_400.0):
        true_end_s = lease_s / (1 - DRIFT_MAX)
        assert wait_s(lease_s) / (1 + DRIFT_MAX) >= true_end_s * (1 - 1e-9)


def test_a_leases_record_fits_and_survives() -> None:
    record = LeaseRecord(Standing.REVOKED, "0123456789abcdef", 86_400.0)
    assert LeaseRecord.read(record.text()) == record and len(record.text()) <= 64
    assert lease_key("A") == "lease/A"
    for text in ("", "held", "held x y", "lent x 60", "held x 0", "held x nan", "held x 60 60"):
        with pytest.raises(ProtocolError):
            LeaseRecord.read(text)


@pytest.mark.parametrize("lease_s", [0.0, -1.0, 1e9, float("nan")])
def test_what_is_no_length_of_a_lease_is_refused(lease_s: float) -> None:
    with pytest.raises(InvalidArgument):
        Lease(lease_s)
