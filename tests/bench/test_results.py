"""A results file holds all that a report says."""

from pathlib import Path

import pytest

from globaltable.bench import results
from globaltable.bench.histogram import Histogram
from globaltable.bench.results import Measurement, Report, ResultsError

REPORT = Report(
    machine={"cores": "2"},
    command="python -m globaltable.bench commit-latency",
    started_at="2026-11-24T12:00:00+00:00",
    network="injected",
    regions=("a", "b", "c"),
    round_trips_ms={"a-b": 10.0, "a-c": 10.0, "b-c": 10.0},
    pings={"a-b": Histogram.of([0.0101, 0.0102])},
    measurements=(
        Measurement(
            "commit-latency",
            "globaltable",
            {"load": "one at a time", "callers": 1},
            0,
            {"p50_ms:a": 12.5},
            {"a": Histogram.of([0.012, 0.0125, 0.013])},
            ((0.0, 80.0), (0.1, 81.5)),
        ),
        Measurement("reads", "globaltable", {}, 3),
    ),
    skipped=("compare: needs namespaces",),
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "not there yet" / "results.json"
    results.save(REPORT, path)
    assert results.load(path) == REPORT


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{", "Expecting"),
        ("[]", "of format 'list'"),
        ('{"format": 99}', "of format 99"),
        ('{"format": 1}', "machine"),
    ],
)
def test_a_file_that_holds_none_is_refused_by_name(tmp_path: Path, text: str, wrong: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=wrong) as refused:
        results.load(path)
    assert str(path) in str(refused.value)
