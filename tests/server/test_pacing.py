"""What can wait takes its share of the time, whoever asks for it."""

import pytest

from globaltable.server.pacing import Pace


class _Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def time(self) -> float:
        return self.now_s


def test_a_piece_is_followed_by_a_rest_in_proportion() -> None:
    clock = _Clock()
    pace = Pace(0.25, clock.time)
    assert pace.rest_s(0.01) == pytest.approx(0.03)
    clock.now_s += 0.03
    assert pace.rest_s(1.0) == pytest.approx(3.0)


def test_pieces_that_end_together_do_not_rest_together() -> None:
    pace = Pace(0.5, _Clock().time)
    assert [pace.rest_s(0.1) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])


def test_idleness_is_not_saved_up() -> None:
    clock = _Clock()
    pace = Pace(0.5, clock.time)
    pace.rest_s(0.1)
    clock.now_s += 50.0
    assert pace.rest_s(0.1) == pytest.approx(0.1)


def test_with_all_of_the_time_there_is_no_rest() -> None:
    assert Pace(1.0, _Clock().time).rest_s(5.0) == 0.0
