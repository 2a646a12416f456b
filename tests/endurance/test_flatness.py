"""What grows through a long run is noticed, and what only finds its size is not."""

from pathlib import Path

import pytest

from tests.endurance.flatness import SAMPLES_MIN, growths
from tests.endurance.picture import picture
from tests.endurance.samples import Held, Sample, UnreadableSamples, append, read

MIB = 1 << 20


def _sample(
    minute: int, memory: int = 100 * MIB, descriptors: int = 40, disk: int = 50 * MIB, life: int = 0
) -> Sample:
    held = Held(memory, descriptors, disk, 1_000)
    return Sample(60.0 * minute, {"a": held}, {"a": life}, 80.0, 0.5, 200.0, {"cuts": 1})


def _grown(samples: list[Sample]) -> set[str]:
    return {growth.resource for growth in growths(samples) if not growth.is_flat}


def test_caches_that_fill_in_the_first_quarter_are_no_growth() -> None:
    run = [_sample(m, memory=min(100, 50 + 2 * m) * MIB) for m in range(120)]
    assert _grown(run) == set()


@pytest.mark.parametrize(
    ("resource", "what"),
    [
        ("memory", lambda minute: {"memory": (100 + minute // 2) * MIB}),
        ("descriptors", lambda minute: {"descriptors": 40 + minute // 4}),
        ("disk", lambda minute: {"disk": (50 + minute // 2) * MIB}),
    ],
)
def test_what_grows_all_the_time_is_told(resource: str, what: object) -> None:
    assert callable(what)
    assert _grown([_sample(minute, **what(minute)) for minute in range(120)]) == {resource}


def test_a_fault_that_makes_queues_longer_for_a_while_is_no_growth() -> None:
    run = [_sample(m, memory=(400 if m % 10 == 0 else 100) * MIB) for m in range(120)]
    assert _grown(run) == set()


def test_of_a_node_that_was_killed_only_the_disk_is_followed() -> None:
    run = [_sample(m, memory=(50 + m) * MIB, life=m // 60) for m in range(120)]
    assert [growth.resource for growth in growths(run)] == ["disk"]


def test_a_short_run_says_nothing() -> None:
    assert growths([_sample(minute) for minute in range(SAMPLES_MIN - 1)]) == []


def test_samples_survive_their_file_and_are_drawn(tmp_path: Path) -> None:
    run = [_sample(minute, life=minute // 3) for minute in range(6)]
    for sample in run:
        append(tmp_path / "samples.jsonl", sample)
    assert read(tmp_path / "samples.jsonl") == run
    drawn = picture(run, "six minutes")
    assert drawn.startswith("<svg") and "six minutes" in drawn and "descriptors" in drawn


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text('{"at_s": 1.0}\n', encoding="utf-8")
    with pytest.raises(UnreadableSamples, match=r"samples\.jsonl:1"):
        read(path)
