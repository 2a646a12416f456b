"""The judge against the definition, on runs that are right by construction and on spoiled ones.

It keeps what everything else rests on: a history that cannot be explained is never passed, and one
that can be never is reported.
"""

import random
from collections import Counter
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from globaltable.model import Binding
from tests.faults import judge as judge_module
from tests.faults.brute_force import explainable
from tests.faults.history import Ending, Event, Kind, write_history
from tests.faults.judge import Promise, judge
from tests.faults.legal_runs import Run, legal_run, spoiled
from tests.faults.linearizability import Shortcut, Verdict, check
from tests.faults.notation import read_drawing
from tests.faults.register import Demand, Register, demands

SMALL = [
    Run(ops=6, clients=3, units=2, local_share=0.4),
    Run(ops=7, clients=7, units=2, unknown_share=0.3, failed_share=0.1),
    Run(ops=6, clients=4, units=0, unknown_share=0.5, local_share=0.4),
]
ORDER = {Promise.LINEARIZABLE, Promise.HAS_BEEN}


def _has_an_order(events: list[Event]) -> bool:
    judgement = judge(events)
    assert not judgement.undecided
    return not any(violation.promise in ORDER for violation in judgement.violations)


@pytest.mark.long
def test_small_histories_are_judged_as_by_the_definition() -> None:
    """Legal ones, and the same with up to three things told otherwise."""
    met: Counter[tuple[int, bool]] = Counter()

    @settings(max_examples=2_500, deadline=None, derandomize=True, database=None)
    @given(st.randoms(use_true_random=False), st.sampled_from(SMALL), st.integers(0, 3))
    def compare(rng: random.Random, run: Run, lies: int) -> None:
        events = legal_run(rng, run)
        for _ in range(lies):
            events = spoiled(rng, events, units=2)
        right = explainable(events)
        assert _has_an_order(events) is right
        met[lies, right] += 1

    compare()
    assert met[0, False] == 0, "legal runs are not legal"
    assert met[0, True] > 100
    for lies in (1, 2, 3):
        assert met[lies, True] > 40, met
        assert met[lies, False] > 40, met


class _PlainSearch(Register):
    """Wing & Gong's search and Lowe's memory, without anything that is left out."""

    def shortcut(self, op: Demand) -> Shortcut:
        return Shortcut.NONE

    def needs(self, op: Demand) -> None:
        return None


def test_what_is_not_tried_need_not_be_tried() -> None:
    """The shortcuts change no verdict, also where histories are too long for the definition."""
    met: Counter[Verdict] = Counter()
    run = Run(ops=30, clients=6, units=2, unknown_share=0.15)
    for seed in range(300):
        rng = random.Random(seed)
        events = legal_run(rng, run)
        if seed % 3:
            events = spoiled(rng, events, units=2)
        ops = [op for _, op in demands(events)]
        short = check(Register(), ops)
        assert short.verdict is check(_PlainSearch(), ops).verdict, seed
        met[short.verdict] += 1
    assert min(met[Verdict.LINEARIZABLE], met[Verdict.NOT_LINEARIZABLE]) > 50, met


@pytest.mark.parametrize("units", [0, 3])
def test_a_run_that_is_right_by_construction_is_accepted(units: int) -> None:
    """Hot keys, 64 clients, ops that take effect late or never."""
    for seed in range(4):
        run = Run(3_000, clients=64, keys=3, units=units, unknown_share=0.05, failed_share=0.02)
        judgement = judge(legal_run(random.Random(seed), run))
        assert judgement.kept, judgement
        assert judgement.contended == 3


def test_one_lie_at_the_end_of_a_long_history_is_found_and_not_undecided() -> None:
    run = Run(5_000, clients=64, units=0, unknown_share=0.05)
    events = legal_run(random.Random(3), run)
    reads = [event for event in events if event.kind is Kind.GET and event.told is not None]
    read = reads[-1]
    assert read.told is not None
    stale = read._replace(told=reads[len(reads) // 2].told)
    judgement = judge([stale if event is read else event for event in events])
    assert [violation.promise for violation in judgement.violations] == [Promise.LINEARIZABLE]
    assert not judgement.undecided


def test_a_search_that_is_given_up_is_not_passed() -> None:
    run = Run(2_000, clients=64, units=3, unknown_share=0.3)
    judgement = judge(legal_run(random.Random(5), run), steps_max=500)
    assert judgement.undecided == ["k0"]
    assert not judgement.kept


def test_a_key_and_version_have_one_unit_and_one_revision_whoever_tells() -> None:
    """Also where an order exists, for that knows nothing of revisions."""
    events = read_drawing("""
        a  [bind A = new A1]  [move B 1 = B2]
        b                                     [get = B2]
    """)
    (read,) = [event for event in events if event.kind is Kind.GET]
    for binding in (Binding("B", 2, 21), Binding("B", 2, 5)):
        told = [event._replace(told=binding) if event is read else event for event in events]
        assert {v.promise for v in judge(told).violations} == {Promise.ONE_UNIT}
    # Ops of one log entry share its revision.
    shared = [e._replace(told=e.told and e.told._replace(revision=7)) for e in events]
    assert judge(shared).kept


def test_keys_are_judged_each_alone() -> None:
    """Locality (Herlihy & Wing, §3.2)."""
    good = [e._replace(key="good") for e in read_drawing("a [bind A = new A1]  [get = A1]")]
    bad = [e._replace(key="bad") for e in read_drawing("a [bind A = new A1]  [get = none]")]
    judgement = judge([*good, *bad])
    assert [violation.key for violation in judgement.violations] == ["bad"]
    assert judgement.keys == 2


def test_a_report_shows_where_it_went_wrong() -> None:
    events = read_drawing("""
        a  [bind A = new A1]  [move B 1 ...... = B2]
        b                                              [get = A1]
        c                                           [move C 2 .... = ?]
    """)
    (violation,) = judge(events).violations
    assert violation.promise is Promise.LINEARIZABLE
    rows = violation.report.splitlines()
    assert "2 of 4 ops have an order" in rows[0]
    assert "it leads to B at version 2" in rows[0]
    by_client = {row.split()[0]: row for row in rows[2:]}
    assert "move B from 1 -> B at 2   #2: B at version 2" in by_client["a"]
    assert "get -> A at 1   <- has no place" in by_client["b"]
    assert by_client["c"].count("=>") == 1, "a bar without an end"


def test_an_uncontended_history_says_so() -> None:
    """A run in which clients never met would show nothing."""
    alone = read_drawing("a [bind A = new A1]  [get = A1]")
    apart = read_drawing("a [bind A = new A1]\nb                     [get = A1]")
    reads = read_drawing("a [get = none]\nb [get = none]")
    met = read_drawing("a [bind A = new A1]\nb       [get = A1]")
    failed = read_drawing("a [bind A = failed]\nb       [get = none]")
    contended = [judge(events).contended for events in (alone, apart, reads, met, failed)]
    assert contended == [0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("drawing", "status"),
    [("a [bind A = new A1]  [get = A1]", 0), ("a [bind A = new A1]  [get = none]", 1)],
)
def test_a_file_is_judged_again(
    drawing: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "history.jsonl"
    write_history(path, read_drawing(drawing))
    monkeypatch.setattr("sys.argv", ["judge", str(path)])
    assert judge_module.main() == status
    assert f"{status} violations" in capsys.readouterr().out


def test_a_file_that_is_no_history_is_not_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"history of":"globaltable","format":1}\n["a","bind"]\n')
    monkeypatch.setattr("sys.argv", ["judge", str(path)])
    assert judge_module.main() == 2
    assert f"{path}:2" in capsys.readouterr().err
    assert Ending.OK.value not in capsys.readouterr().out
