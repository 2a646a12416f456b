"""A fleet: who may be given something new, and who is nearest."""

import pytest

from globaltable.errors import ConfigError
from globaltable.routing.fleet import EVERYTHING, Selection, UnitState
from tests.routing.fleets import FLEET


def _names(selection: Selection = EVERYTHING, *, drained: str = "", unhealthy: str = "") -> str:
    fleet = FLEET.with_drained(drained).with_unhealthy(unhealthy)
    return "".join(unit.name for unit in fleet.available(selection))


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (EVERYTHING, "ABCV"),
        (Selection(units=frozenset("AC")), "AC"),
        (Selection(regions=frozenset(["sz"])), "CV"),
        (Selection(tags=frozenset(["vip"])), "V"),
        (Selection(units=frozenset("A"), tags=frozenset(["vip"])), "AV"),
        (Selection(units=frozenset("Z")), ""),
    ],
)
def test_a_selection_is_what_any_of_its_names_names(selection: Selection, names: str) -> None:
    assert _names(selection) == names


def test_drained_and_unhealthy_units_are_given_nothing_new() -> None:
    assert _names(drained="A", unhealthy="C") == "BV"
    fleet = FLEET.with_drained("A").with_unhealthy("AC")
    assert [fleet.state(name) for name in "ABC"] == [
        UnitState.DRAINED,
        UnitState.SERVING,
        UnitState.UNHEALTHY,
    ]


def test_if_every_unit_seems_unhealthy_it_is_the_prober_that_is_cut_off() -> None:
    assert _names(unhealthy="ABCV") == "ABCV"
    assert _names(drained="A", unhealthy="ABCV") == "BCV"


@pytest.mark.parametrize(
    ("region", "names"), [("bj", "A"), ("sz", "CV"), ("elsewhere", "ABCV"), ("sh", "B")]
)
def test_the_nearest_units_are_those_at_the_least_round_trip(region: str, names: str) -> None:
    assert "".join(unit.name for unit in FLEET.nearest(region)) == names


def test_the_next_nearest_stands_in_for_one_that_is_away() -> None:
    assert [unit.name for unit in FLEET.with_drained("A").nearest("bj")] == ["B"]
    assert not FLEET.with_drained("ABCV").nearest("bj")


def test_a_name_of_no_unit_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"x\.unit = 'Z' is no unit; those there are: A, B, C, V"):
        FLEET.require("x.unit", "Z")
