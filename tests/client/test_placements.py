"""When a node is asked where keys should go, and what is made of its answer."""

import pytest

from globaltable.client._minting import Wanted
from globaltable.client._placements import Placements, read_placement
from globaltable.v1 import globaltable_pb2 as pb


def _answer(*cheapest: int, slots: int = 4_096, groups: int = 8) -> bytes:
    return pb.PlacementResponse(slots=slots, groups=groups, cheapest=cheapest).SerializeToString()


def _known(at: float = 100.0) -> Placements:
    placements = Placements(2)
    assert not placements.look(0, at)
    assert placements.take_due() == [0]
    placements.answered(0, _answer(1, 2))
    return placements


def test_a_node_is_asked_once_and_what_it_says_is_known() -> None:
    placements = Placements(2)
    assert not placements.look(0, 100.0) and not placements.look(0, 100.1)
    assert placements.take_due() == [0] and placements.take_due() == []
    assert placements.wanted(0) is None
    placements.answered(0, _answer(1, 2))
    assert placements.look(0, 100.2)
    assert placements.wanted(0) == Wanted(4_096, 8, {1, 2})
    assert placements.take_due() == []


def test_what_one_says_is_not_what_another_would() -> None:
    placements = _known()
    assert not placements.look(1, 100.0)
    assert placements.wanted(1) is None


def test_it_is_asked_again_after_some_seconds_while_its_word_stands() -> None:
    placements = _known()
    assert placements.look(0, 104.9) and placements.take_due() == []
    assert placements.look(0, 105.0) and placements.take_due() == [0]
    assert placements.look(0, 300.0) and placements.take_due() == []
    assert placements.wanted(0) == Wanted(4_096, 8, {1, 2})
    placements.answered(0, _answer(5))
    assert placements.wanted(0) == Wanted(4_096, 8, {5})


def test_it_is_asked_soon_after_something_failed_but_not_at_once() -> None:
    placements = _known()
    placements.doubt(0)
    assert placements.look(0, 100.9) and placements.take_due() == []
    assert placements.look(0, 101.0) and placements.take_due() == [0]
    placements.answered(0, _answer(5))
    assert placements.look(0, 102.5) and placements.take_due() == []


def test_a_node_that_does_not_say_is_not_waited_for_and_is_asked_soon_again() -> None:
    placements = Placements(1)
    assert not placements.look(0, 100.0)
    placements.take_due()
    placements.failed(0)
    assert placements.look(0, 100.5) and placements.take_due() == []
    assert placements.look(0, 101.0) and placements.take_due() == [0]
    assert placements.wanted(0) is None


def test_what_it_said_before_it_failed_to_stands() -> None:
    placements = _known()
    placements.look(0, 106.0)
    placements.take_due()
    placements.failed(0)
    assert placements.wanted(0) == Wanted(4_096, 8, {1, 2})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        _answer(1, slots=0),
        _answer(0, groups=0),
        _answer(1, slots=4),
        _answer(1, slots=2**32 - 1),
        _answer(8, 9),
        _answer(),
    ],
    ids=["empty", "garbage", "no slots", "no groups", "too few", "too many", "no such", "none"],
)
def test_an_answer_that_names_no_group_there_could_be_is_none(data: bytes) -> None:
    assert read_placement(data) is None


def test_groups_that_there_are_not_are_left_out() -> None:
    assert read_placement(_answer(7, 8)) == Wanted(4_096, 8, {7})
