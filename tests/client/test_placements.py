"""When a node is asked where keys should go, and what is made of its answer."""

import pytest

from globaltable.client._placements import Cheapest, Placements, read_placement
from globaltable.v1 import globaltable_pb2 as pb


def _answer(*cheapest: int, expected_s: float = 0.0) -> bytes:
    return pb.PlacementResponse(cheapest=cheapest, expected_s=expected_s).SerializeToString()


def _known(at: float = 100.0) -> Placements:
    placements = Placements()
    assert not placements.look(0, at)
    assert placements.take_due() == [0]
    placements.answered(0, _answer(1, 2))
    return placements


def test_a_node_is_asked_once_and_what_it_says_is_known() -> None:
    placements = Placements()
    assert not placements.look(0, 100.0) and not placements.look(0, 100.1)
    assert placements.take_due() == [0] and placements.take_due() == []
    assert not placements.wanted([0])
    placements.answered(0, _answer(1, 2))
    assert placements.look(0, 100.2)
    assert placements.wanted([0]) == {1, 2}
    assert placements.take_due() == []


def test_what_one_says_is_not_what_another_would() -> None:
    placements = _known()
    assert not placements.look(1, 100.0)
    assert not placements.wanted([1])


def test_it_is_asked_again_after_some_seconds_while_its_word_stands() -> None:
    placements = _known()
    assert placements.look(0, 104.9) and placements.take_due() == []
    assert placements.look(0, 105.0) and placements.take_due() == [0]
    assert placements.look(0, 300.0) and placements.take_due() == []
    assert placements.wanted([0]) == {1, 2}
    placements.answered(0, _answer(5))
    assert placements.wanted([0]) == {5}


def test_it_is_asked_soon_after_something_failed_but_not_at_once() -> None:
    placements = _known()
    placements.doubt(0)
    assert placements.look(0, 100.9) and placements.take_due() == []
    assert placements.look(0, 101.0) and placements.take_due() == [0]
    placements.answered(0, _answer(5))
    assert placements.look(0, 102.5) and placements.take_due() == []


def test_a_node_that_does_not_say_is_not_waited_for_and_is_asked_soon_again() -> None:
    placements = Placements()
    assert not placements.look(0, 100.0)
    placements.take_due()
    placements.failed(0)
    assert placements.look(0, 100.5) and placements.take_due() == []
    assert placements.look(0, 101.0) and placements.take_due() == [0]
    assert not placements.wanted([0])


def test_what_it_said_before_it_failed_to_stands() -> None:
    placements = _known()
    placements.look(0, 106.0)
    placements.take_due()
    placements.failed(0)
    assert placements.wanted([0]) == {1, 2}


def test_of_nodes_as_near_those_that_are_sooner_count() -> None:
    placements = Placements()
    for number, (expected_s, group) in enumerate([(0.010, 1), (0.0102, 2), (0.02, 3)]):
        placements.look(number, 100.0)
        placements.answered(number, _answer(group, expected_s=expected_s))
    assert placements.wanted([0, 1, 2]) == {1, 2}
    assert placements.wanted([2]) == {3} and placements.wanted([3]) == frozenset()


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", _answer(), _answer(1, expected_s=float("nan")), _answer(1, expected_s=-1.0)],
    ids=["empty", "garbage", "none", "no time", "before it is asked"],
)
def test_an_answer_that_names_no_group_there_could_be_is_none(data: bytes) -> None:
    assert read_placement(data) is None


def test_groups_that_there_can_not_be_are_left_out() -> None:
    assert read_placement(_answer(7, 65_536)) == Cheapest(frozenset({7}), 0.0)
