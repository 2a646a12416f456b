"""The course of commit latency: samples of what ended between two looks, and never too many."""

import pytest

from globaltable.server.console.course import GAP_S, SAMPLES_MAX, Course

BOUNDS = (0.01, 0.02)


def test_a_sample_is_of_the_batches_between_two_looks() -> None:
    course = Course()
    course.look("a", 100.0, BOUNDS, [50, 50, 50])
    assert course.of("a") == (), "what a node did before it was looked at is of no minute"
    course.look("a", 102.0, BOUNDS, [50, 60, 50])
    (sample,) = course.of("a")
    assert (sample.at_s, sample.batches) == (102.0, 10)
    assert sample.p50_s == pytest.approx(0.015)
    assert course.latest("a", 102.0) == sample
    assert course.latest("a", 104.0) is None


def test_where_nothing_ended_there_is_a_sample_without_latency() -> None:
    course = Course()
    course.look("a", 0.0, BOUNDS, [1, 0, 0])
    course.look("a", 2.0, BOUNDS, [1, 0, 0])
    (sample,) = course.of("a")
    assert (sample.p50_s, sample.p99_s, sample.batches) == (None, None, 0)


@pytest.mark.parametrize(
    ("at_s", "counts"),
    [(GAP_S + 1.0, [9, 9, 9]), (2.0, [0, 0, 1]), (2.0, [1, 1]), (2.0, [])],
    ids=["not looked at meanwhile", "started anew", "of another shape", "nothing said"],
)
def test_looks_that_are_no_neighbours_make_no_sample(at_s: float, counts: list[int]) -> None:
    course = Course()
    course.look("a", 0.0, BOUNDS, [5, 5, 5])
    course.look("a", at_s, BOUNDS, counts)
    assert course.of("a") == ()


def test_samples_are_bounded_and_those_of_who_is_gone_forgotten() -> None:
    course = Course()
    for second in range(SAMPLES_MAX + 10):
        course.look("a", float(second), BOUNDS, [second, 0, 0])
        course.look("b", float(second), BOUNDS, [second, 0, 0])
    assert len(course.of("a")) == SAMPLES_MAX
    assert course.of("a")[-1].at_s == SAMPLES_MAX + 9
    course.keep({"a"})
    assert course.of("b") == ()
