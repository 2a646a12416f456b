"""Rendezvous hashing: everyone chooses the same, by capacity, and a change moves what it must."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.routing import rendezvous

UNITS = [("A", 2.0), ("B", 1.0), ("C", 1.0)]
KEYS = [f"cid:{number}" for number in range(4_000)]


def test_the_choice_stays_the_same_over_versions_and_machines() -> None:
    """Sessions of layer L1 are found by it: it is as good as a stored format."""
    assert [rendezvous.chosen(key, UNITS) for key in KEYS[:12]] == [*"CABCAAABAACA"]


def test_a_units_share_of_the_keys_is_its_share_of_the_capacity() -> None:
    shares = Counter(rendezvous.chosen(key, UNITS) for key in KEYS)
    assert shares["A"] / len(KEYS) == pytest.approx(0.5, abs=0.03)
    assert shares["B"] / len(KEYS) == pytest.approx(0.25, abs=0.03)


def test_nothing_to_choose_from() -> None:
    assert rendezvous.chosen("k", []) is None


@given(
    key=st.text(max_size=300),
    capacities=st.dictionaries(
        st.text(min_size=1, max_size=64), st.floats(1e-3, 1e9), min_size=2, max_size=8
    ),
)
def test_taking_a_unit_away_moves_only_its_own_keys(key: str, capacities: dict[str, float]) -> None:
    first, *rest = rendezvous.ranked(key, capacities.items())
    assert {first, *rest} == set(capacities)
    left = [(name, capacity) for name, capacity in capacities.items() if name != rest[0]]
    assert rendezvous.chosen(key, left) == first
    left = [(name, capacity) for name, capacity in capacities.items() if name != first]
    assert rendezvous.chosen(key, left) == rest[0]
