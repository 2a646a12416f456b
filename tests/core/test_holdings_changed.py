"""What a group holds is the same whether it is kept up change by change or made from what is
stored: replicas come to it in either way, and must decide alike."""

from hypothesis import given
from hypothesis import strategies as st

from globaltable.deal import Deal
from globaltable.holdings import Holding, Holdings, HoldingState

SLOTS = 12

changes = st.lists(
    st.tuples(
        st.integers(0, SLOTS - 1),
        st.sampled_from(HoldingState),
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 9),
    ),
    max_size=30,
)


@given(changes, st.sampled_from([Deal(0, 1), Deal(1, 3), Deal(0, 0)]))
def test_what_is_held_is_the_same_either_way(
    made: list[tuple[int, HoldingState, int, int, int]], deal: Deal
) -> None:
    holdings = Holdings(deal, SLOTS)
    for revision, (slot, state, hop, adopted, back) in enumerate(made, 10):
        holding = Holding(state, hop, 1, revision - back, adopted=adopted)
        holdings = holdings.changed(slot, holding, floor=revision - 5)
        stored = Holdings(deal, SLOTS, holdings.moves)
        assert (stored.held, stored.held_since, stored.moved, stored.adoptions) == (
            holdings.held, holdings.held_since, holdings.moved, holdings.adoptions
        )  # fmt: skip
