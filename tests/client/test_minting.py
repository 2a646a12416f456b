"""Keys that the library makes: valid, never the same, and in the groups that are wanted."""

import random
import secrets
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable import limits
from globaltable.client import _minting
from globaltable.client._minting import DRAWN_BITS, MINTED_CHARACTERS, Wanted, mint
from globaltable.model import qualified_name
from globaltable.topology import one_node_each, spread
from globaltable.validation import require_key

TABLE = "im.session"


@st.composite
def _wanted(draw: st.DrawFn) -> Wanted:
    slots = draw(st.sampled_from([16, 1_000, 4_096, 65_536]))
    groups = draw(st.integers(1, min(slots, 300)))
    among = draw(st.sets(st.integers(0, groups - 1), min_size=1))
    return Wanted(slots, range(groups), frozenset(among))


_PREFIXES = st.text(max_size=20).filter(lambda text: text.isprintable())


@given(_wanted(), _PREFIXES, st.randoms(use_true_random=False))
def test_a_key_falls_into_a_group_that_is_wanted(
    wanted: Wanted, prefix: str, chance: random.Random
) -> None:
    """As the servers reckon it (`Topology`)."""
    key = mint(TABLE, prefix, wanted, chance.getrandbits)
    require_key(key)
    assert key.startswith(prefix) and len(key) == len(prefix) + MINTED_CHARACTERS
    topology = spread("test", one_node_each("abc"), len(wanted.owners), 3, wanted.slots)
    assert topology.group_of(qualified_name(TABLE, key)) in wanted.among


@pytest.mark.parametrize("drawn", [0, 1, 2**DRAWN_BITS - 1])
@pytest.mark.parametrize("group", range(64))
def test_whatever_is_drawn(drawn: int, group: int) -> None:
    key = mint(TABLE, "", Wanted(4_096, range(64), {group}), lambda bits: drawn)
    assert spread("test", one_node_each("abc"), 64, 3).group_of(qualified_name(TABLE, key)) == group


@given(_wanted(), st.randoms(use_true_random=False))
def test_the_work_is_bounded_and_little_on_average(wanted: Wanted, chance: random.Random) -> None:
    tries = 0

    class _Counting(frozenset[int]):
        def __contains__(self, group: object) -> bool:
            nonlocal tries
            tries += 1
            return super().__contains__(group)

    counted = wanted._replace(among=_Counting(wanted.among))
    for _ in range(20):
        mint(TABLE, "", counted, chance.getrandbits)
    assert tries <= 20 * 10 * -(-len(wanted.owners) // len(wanted.among))


def test_the_search_ends_where_there_is_nothing_to_be_found() -> None:
    """No answer of a node leads to it; none could make a create hang all the same."""
    tries = 0

    class _Never(frozenset[int]):
        def __contains__(self, group: object) -> bool:
            nonlocal tries
            tries += 1
            return False

    require_key(mint(TABLE, "", Wanted(4_096, range(8), _Never({1})), secrets.randbits))
    assert tries == 64 * 8


@pytest.mark.parametrize(
    "wanted", [None, Wanted(4_096, range(8), ()), Wanted(4_096, range(8), {3})]
)
def test_no_two_keys_are_the_same(wanted: Wanted | None) -> None:
    assert len({mint(TABLE, "", wanted, secrets.randbits) for _ in range(10_000)}) == 10_000


def test_a_key_shows_every_bit_that_was_drawn() -> None:
    """So that what is random in it is all of the 140 bits, less the choice of a group."""
    seen = {mint(TABLE, "", None, _fixed(1 << bit)) for bit in range(DRAWN_BITS)}
    assert len(seen) == DRAWN_BITS == 140
    assert len(set(_minting._ALPHABET)) == 32


def _fixed(number: int) -> Callable[[int], int]:
    def draw(bits: int) -> int:
        assert bits == DRAWN_BITS
        return number

    return draw


def test_the_longest_prefix_leaves_room_for_the_key() -> None:
    prefix = "p" * (limits.KEY_BYTES_MAX - MINTED_CHARACTERS)
    require_key(mint(TABLE, prefix, None, secrets.randbits))
