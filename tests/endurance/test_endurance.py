"""The long run itself, cut short: it judges, kills, compares and draws."""

import asyncio
from pathlib import Path

import pytest

from tests.endurance.picture import picture
from tests.endurance.run import Course, Endurance

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_a_run_of_some_windows_keeps_every_promise(tmp_path: Path) -> None:
    course = Course(
        minutes=1.6, seed=1, sessions=500, ops_per_s=50, window_s=8.0, directory=tmp_path
    )
    said: list[str] = []
    endurance = Endurance(course, said.append)
    asyncio.run(endurance.play())
    assert endurance.violations == endurance.undecided == 0, said
    assert endurance.comparisons >= 1
    assert endurance.faults["kills"] == 1
    assert endurance.endings["ok"] > 200
    assert all(sample.ops_per_s > 0 and sample.changes_per_s > 0 for sample in endurance.samples)
    assert picture(endurance.samples, "short").count("<svg") == 1
