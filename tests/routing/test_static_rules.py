"""Layer L1: the unit that a user belongs to follows from the id."""

import pytest

from globaltable.routing.static_rules import BySegment, as_rules, unit_of
from tests.routing.fleets import FLEET

RULES = as_rules(
    "rules",
    [
        {"by": "table", "units": {"u-1": "V"}},
        {"by": "segment", "separator": ".", "position": 0, "units": {"bj": "A", "sh": "B"}},
        {"by": "range", "ranges": [{"below": 100, "unit": "A"}, {"below": 200, "unit": "B"}]},
    ],
    FLEET,
)
HASH = as_rules("rules", [{"by": "hash", "weights": {"A": 1, "B": 1}}], FLEET)


@pytest.mark.parametrize(
    ("key", "unit"),
    [
        ("u-1", "V"),
        ("bj.1", "A"),
        ("sh.anything.at.all", "B"),
        ("sz.1", None),
        ("0", "A"),
        ("99", "A"),
        ("100", "B"),
        ("199", "B"),
        ("200", None),
        ("9" * 30, None),
        ("-1", None),
        ("٣", None),
        ("", None),
    ],
)
def test_the_first_rule_that_knows_the_id_decides(key: str, unit: str | None) -> None:
    assert unit_of(RULES, key) == unit


def test_a_last_range_without_a_bound_takes_the_rest() -> None:
    ranges = [{"below": 100, "unit": "A"}, {"unit": "C"}]
    rules = as_rules("rules", [{"by": "range", "ranges": ranges}], FLEET)
    assert [unit_of(rules, key) for key in ("99", "100", "1000000", "x")] == ["A", "C", "C", None]


@pytest.mark.parametrize(
    ("position", "unit"), [(0, None), (1, "A"), (-1, "B"), (2, "B"), (3, None), (-4, None)]
)
def test_a_segment_may_name_its_unit_and_is_counted_from_either_end(
    position: int, unit: str | None
) -> None:
    (rule,) = as_rules("r", [{"by": "segment", "separator": "-", "position": position}], FLEET)
    assert isinstance(rule, BySegment)
    assert rule.unit_of("u-A-B") == unit


def test_a_hash_knows_every_id_and_does_not_hang_on_how_units_fare_or_on_their_capacity() -> None:
    units = [unit_of(HASH, f"u:{number}") for number in range(1_000)]
    assert set(units) == {"A", "B"}
    assert units.count("A") == pytest.approx(500, abs=60)
