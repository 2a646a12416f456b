"""Where slots have come to, as nodes tell each other: the latest counts, however late it comes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.deal import NOTHING, Deal
from globaltable.errors import ProtocolError
from globaltable.holdings import Holding, Holdings, HoldingState
from globaltable.server.slot_claims import Claim, SlotClaims
from globaltable.server.slot_routes import SlotRoutes
from globaltable.server.topology_word import TopologyWord, decode_word, encode_word
from globaltable.slot_change import grow
from globaltable.topology import Topology, one_node_each, spread
from globaltable.wire.packing import pack

SLOTS = 8
TOPOLOGY: Topology = grow(spread("test", one_node_each("abc"), 2, 3, SLOTS), 3, empty=True)

claims = st.lists(
    st.builds(Claim, st.just(""), st.integers(0, SLOTS - 1), st.integers(1, 9), st.integers(0, 2)),
    max_size=20,
    unique_by=lambda claim: claim[:3],
)


@given(claims, st.integers(0, 2**32))
def test_all_come_to_know_the_same(told: list[Claim], seed: int) -> None:
    one, other = SlotClaims(), SlotClaims()
    one.hear(told)
    random.Random(seed).shuffle(told)
    for claim in told:
        other.hear([claim])
        other.hear([claim])
    assert sorted(one.all()) == sorted(other.all()) and one.moves == other.moves
    assert one.owners(TOPOLOGY, "") == other.owners(TOPOLOGY, "")


def test_a_node_tells_what_its_own_groups_hold_once() -> None:
    routes, known = SlotRoutes(TOPOLOGY), SlotClaims()
    source, target = Holdings(Deal(0, 2), SLOTS), Holdings(NOTHING, SLOTS)
    routes.learn(0, source)
    routes.learn(2, target)
    known.look(routes)
    assert not known.take_untold() and known.owners(TOPOLOGY, "") == [0, 1] * 4
    released = source.changed(4, Holding(HoldingState.RELEASED, 1, 2, 10), 0)
    routes.moved(0, released, [4])
    known.look(routes)
    assert known.take_untold() == [Claim("", 4, 2, 2)] and not known.take_untold()
    assert known.owners(TOPOLOGY, "")[4] == 2 == routes.of_table("t")[4]
    known.hear([Claim("", 6, 4, 1)])
    assert not known.take_untold(), "what is heard is told by whose it is"
    # It is never adopted, and taken back.
    routes.moved(0, released.changed(4, Holding(HoldingState.HELD, 1, -1, 12), 0), [4])
    known.look(routes)
    assert known.take_untold() == [Claim("", 4, 3, 0)]
    assert known.owners(TOPOLOGY, "") == [0, 1, 0, 1, 0, 1, 1, 1]
    assert known.moves == 3 + 4


def test_what_a_late_replica_says_changes_nothing() -> None:
    routes = SlotRoutes(TOPOLOGY)
    target = Holdings(NOTHING, SLOTS).changed(
        4, Holding(HoldingState.HELD, 1, 0, 20, released_at=10, adopted=1), 0
    )
    routes.learn(2, target)
    routes.learn(0, Holdings(Deal(0, 2), SLOTS))
    assert routes.of_table("t")[4] == 2


@given(claims)
def test_what_is_told_is_heard(told: list[Claim]) -> None:
    word = TopologyWord(3, 7, {0: 3}, "", {}, tuple(told))
    assert decode_word(encode_word(word)) == word


@pytest.mark.parametrize(
    "bad",
    [None, {}, [1], [["", 1, 2]], [[1, 1, 2, 3]], [["", -1, 2, 3]], [["", 65_536, 2, 3]]],
    ids=str,
)
def test_what_is_none_is_refused(bad: object) -> None:
    with pytest.raises(ProtocolError):
        decode_word(pack([3, 7, [], "", [], bad]))
