"""What a group holds of a slot: which step leads where, and what no order of steps can bring
about."""

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from globaltable.deal import NOTHING, Deal
from globaltable.errors import Corrupt, StepRefused
from globaltable.holdings import (
    ABSENT,
    DEALT,
    NO_MOVES,
    NO_ROWS_DIGEST,
    Adoption,
    Holding,
    Holdings,
    HoldingState,
    Moves,
    adopted,
    copying,
    dropping,
    keepers,
    reclaimed,
    refused,
    released,
)

A, B = 0, 1
NO_ROWS = (0, NO_ROWS_DIGEST)

COPYING = Holding(HoldingState.COPYING, 3, A, 20, digest=NO_ROWS_DIGEST, through=9)
HELD = Holding(HoldingState.HELD, 3, A, 30, released_at=9, adopted=3)
RECLAIMED = Holding(HoldingState.HELD, 3, -1, 30)
RELEASED = Holding(HoldingState.RELEASED, 3, B, 40, adopted=1)
DROPPED = Holding(HoldingState.DROPPED, 3, B, 50, adopted=1)
EMPTIED = DROPPED._replace(emptied=True)
REFUSED = Holding(HoldingState.REFUSED, 3, A, 60)

Step = Callable[[Holding, int], Holding]

STEPS: dict[str, Step] = {
    "release": lambda holding, hop: released(holding, hop, B, 99),
    "copy": lambda holding, hop: copying(holding, hop, A, 0, 99),
    "adopt": lambda holding, hop: adopted(holding, hop, A, 9, NO_ROWS, 99),
    "refuse": lambda holding, hop: refused(holding, hop, A, 99),
    "reclaim": lambda holding, hop: reclaimed(holding, hop, 99),
    "drop": lambda holding, hop: dropping(holding, hop, 99),
}

SAME = "same"
LEADS: list[tuple[str, Holding, int, HoldingState | str]] = [
    ("release", DEALT, 1, HoldingState.RELEASED),
    ("release", HELD, 4, HoldingState.RELEASED),
    ("release", RECLAIMED, 4, HoldingState.RELEASED),
    ("release", RELEASED, 3, SAME),
    ("copy", ABSENT, 1, HoldingState.COPYING),
    ("copy", COPYING, 3, SAME),
    ("copy", COPYING, 4, HoldingState.COPYING),
    ("copy", EMPTIED, 4, HoldingState.COPYING),
    ("copy", REFUSED._replace(emptied=True), 4, HoldingState.COPYING),
    ("adopt", COPYING, 3, HoldingState.HELD),
    ("adopt", HELD, 3, SAME),
    ("refuse", ABSENT, 1, HoldingState.REFUSED),
    ("refuse", COPYING, 3, HoldingState.REFUSED),
    ("refuse", COPYING, 4, HoldingState.REFUSED),
    ("refuse", COPYING, 2, SAME),
    ("refuse", REFUSED, 3, SAME),
    ("refuse", REFUSED, 2, SAME),
    ("refuse", EMPTIED, 4, HoldingState.REFUSED),
    ("reclaim", RELEASED, 3, HoldingState.HELD),
    ("reclaim", RECLAIMED, 3, SAME),
    ("drop", RELEASED, 3, HoldingState.DROPPED),
    ("drop", DROPPED, 3, SAME),
    ("drop", REFUSED, 3, SAME),
]

OUT_OF_ORDER: list[tuple[str, Holding, int]] = [
    ("release", ABSENT, 1),
    ("release", HELD, 3),
    ("release", RELEASED, 4),
    ("release", COPYING, 4),
    ("release", REFUSED, 4),
    ("copy", DEALT, 1),
    ("copy", HELD, 4),
    ("copy", COPYING, 2),
    ("copy", RELEASED, 4),
    ("copy", DROPPED, 4),
    ("copy", EMPTIED, 3),
    ("copy", REFUSED, 4),
    ("copy", REFUSED._replace(emptied=True), 3),
    ("adopt", ABSENT, 1),
    ("adopt", COPYING, 4),
    ("adopt", COPYING, 2),
    ("adopt", REFUSED, 3),
    ("adopt", RECLAIMED, 3),
    ("refuse", DEALT, 1),
    ("refuse", HELD, 3),
    ("refuse", RELEASED, 4),
    ("refuse", DROPPED, 1),
    ("reclaim", RELEASED, 2),
    ("reclaim", DROPPED, 3),
    ("reclaim", HELD, 3),
    ("drop", HELD, 3),
    ("drop", RELEASED, 2),
    ("drop", COPYING, 3),
    ("drop", ABSENT, 0),
]


@pytest.mark.parametrize(("step", "before", "hop", "after"), LEADS)
def test_a_step_in_order_leads_on_and_one_taken_already_changes_nothing(
    step: str, before: Holding, hop: int, after: HoldingState | str
) -> None:
    once = STEPS[step](before, hop)
    assert once is before if after == SAME else once.state is after
    assert STEPS[step](once, hop) is once


@pytest.mark.parametrize(("step", "before", "hop"), OUT_OF_ORDER)
def test_a_step_out_of_order_is_refused_and_says_where_the_slot_stands(
    step: str, before: Holding, hop: int
) -> None:
    with pytest.raises(StepRefused, match=before.state.name):
        STEPS[step](before, hop)


class TestAnAdoptionIsOfTheWhole:
    def test_not_of_what_was_copied_up_to_before_the_release(self) -> None:
        with pytest.raises(StepRefused, match="after revision 9 has not been copied"):
            adopted(COPYING, 3, A, 10, NO_ROWS, 99)

    def test_not_of_fewer_rows(self) -> None:
        with pytest.raises(StepRefused, match="0 rows are staged that are not the 1 rows"):
            adopted(COPYING, 3, A, 9, (1, NO_ROWS_DIGEST), 99)

    def test_not_of_other_rows(self) -> None:
        with pytest.raises(StepRefused, match="rows are staged that are not"):
            adopted(COPYING, 3, A, 9, (0, b"\1" * 16), 99)

    def test_not_of_another_group(self) -> None:
        with pytest.raises(StepRefused, match="comes from group 0, not from 1"):
            adopted(COPYING, 3, B, 9, NO_ROWS, 99)


class TestACopy:
    def test_that_leaves_out_what_was_changed_between_is_refused(self) -> None:
        with pytest.raises(StepRefused, match="between revisions 9 and 10"):
            copying(COPYING, 3, A, 10, 99)

    def test_of_another_group_at_the_same_hop_is_refused(self) -> None:
        with pytest.raises(StepRefused, match="comes from group 0, not from 1"):
            copying(COPYING, 3, B, 0, 99)

    def test_at_a_higher_hop_begins_a_pass_over_all_of_it(self) -> None:
        begun = copying(COPYING._replace(rows=7), 5, B, 0, 99)
        assert (begun.hop, begun.group, begun.through, begun.rows) == (5, B, 0, 7)


def test_what_is_never_adopted_is_what_may_be_reclaimed() -> None:
    assert REFUSED.never_adopts(3) and REFUSED.never_adopts(2) and not REFUSED.never_adopts(4)
    assert COPYING.never_adopts(2) and not COPYING.never_adopts(3)
    assert not HELD.never_adopts(3) and not HELD.never_adopts(4)
    assert not RELEASED._replace(adopted=2).never_adopts(2)
    assert RELEASED.never_adopts(2)
    assert not ABSENT.never_adopts(1)


class TwoGroups(RuleBasedStateMachine):
    """One slot, and whoever moves it between two groups, who may know of each what it was long ago,
    but keeps to what `holdings` asks of him. Rows are left out: what is copied is always whole."""

    def __init__(self) -> None:
        super().__init__()
        self.known = [[DEALT], [ABSENT]]
        self.revision = 0

    def _take(self, group: int, step: Callable[[Holding], Holding]) -> None:
        self.revision += 1
        before = self.known[group][-1]
        try:
            after = step(before)
        except StepRefused:
            return
        assert after.hop >= before.hop and after.adopted >= before.adopted
        if after.state is HoldingState.DROPPED or after.state is HoldingState.REFUSED:
            after = after._replace(emptied=True)
        self.known[group].append(after)

    def _seen(self, data: st.DataObject, group: int) -> Holding:
        return data.draw(st.sampled_from(self.known[group]))

    @rule(group=st.sampled_from((A, B)), hop=st.integers(1, 5))
    def release(self, group: int, hop: int) -> None:
        self._take(group, lambda held: released(held, hop, 1 - group, self.revision))

    @rule(group=st.sampled_from((A, B)), hop=st.integers(1, 5))
    def copy(self, group: int, hop: int) -> None:
        def step(held: Holding) -> Holding:
            begun = copying(held, hop, 1 - group, 0, self.revision)
            return begun._replace(through=2**62)

        self._take(group, step)

    @rule(group=st.sampled_from((A, B)), hop=st.integers(1, 5))
    def refuse(self, group: int, hop: int) -> None:
        self._take(group, lambda held: refused(held, hop, 1 - group, self.revision))

    @rule(group=st.sampled_from((A, B)), data=st.data())
    def adopt(self, group: int, data: st.DataObject) -> None:
        other = self._seen(data, 1 - group)
        if other.state is HoldingState.RELEASED:
            self._take(
                group,
                lambda held: adopted(
                    held, other.hop, 1 - group, other.revision, NO_ROWS, self.revision
                ),
            )

    @rule(group=st.sampled_from((A, B)), data=st.data())
    def reclaim(self, group: int, data: st.DataObject) -> None:
        here, other = self._seen(data, group), self._seen(data, 1 - group)
        if here.state is HoldingState.RELEASED and other.never_adopts(here.hop):
            self._take(group, lambda held: reclaimed(held, here.hop, self.revision))

    @rule(group=st.sampled_from((A, B)), data=st.data())
    def drop(self, group: int, data: st.DataObject) -> None:
        here, other = self._seen(data, group), self._seen(data, 1 - group)
        released_here = here.state is HoldingState.RELEASED and other.adopted >= here.hop
        if released_here or here.state is HoldingState.REFUSED:
            self._take(group, lambda held: dropping(held, here.hop, self.revision))

    @invariant()
    def one_group_at_most_serves_it(self) -> None:
        states = [known[-1].state for known in self.known]
        assert states.count(HoldingState.HELD) <= 1

    @invariant()
    def it_is_not_lost(self) -> None:
        """Some group serves it, or has all of its rows and may come to."""
        here, there = (known[-1] for known in self.known)
        kept = (HoldingState.HELD, HoldingState.RELEASED)
        assert here.state in kept or there.state in kept


TestTwoGroups = TwoGroups.TestCase
TestTwoGroups.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class TestHoldings:
    def test_what_was_dealt_is_held_until_it_is_moved(self) -> None:
        dealt = Holdings(Deal(1, 4), 16)
        assert dealt.held == {1, 5, 9, 13}
        assert dealt.claim(1) == (0, None) and dealt.claim(2) is None
        moved = dealt.changed(5, RELEASED, 0).changed(2, HELD, 0)
        assert moved.held == {1, 2, 9, 13} and moved.held_since == HELD.revision
        assert moved.went_to(5) == B and moved.went_to(1) is None
        assert sorted(moved.claims) == [
            (1, 0, None),
            (2, 3, None),
            (5, 3, B),
            (9, 0, None),
            (13, 0, None),
        ]
        assert dealt.moves == NO_MOVES, "it has not changed itself"

    def test_a_group_that_was_added_holds_what_is_moved_to_it(self) -> None:
        added = Holdings(NOTHING, 16)
        assert not added.held and not added.holds_all([3]) and added.holds_all([])
        assert added.changed(3, HELD, 0).held == {3}
        assert added.changed(3, COPYING, 0).held == frozenset()

    def test_adoptions_are_kept_as_long_as_the_history_of_ops(self) -> None:
        first = Holdings(NOTHING, 16).changed(3, HELD, 0)
        assert first.adoptions == (Adoption(30, 3, A, 9),)
        second = first.changed(4, HELD._replace(revision=70), 29)
        assert [one.revision for one in second.adoptions] == [30, 70]
        assert second.changed(3, RELEASED, 30).adoptions == (Adoption(70, 4, A, 9),)
        assert first.changed(3, RECLAIMED._replace(hop=4), 0).adoptions == first.adoptions

    def test_what_is_kept_of_a_slot_that_there_is_not_is_damage(self) -> None:
        """Of a snapshot from a peer, say: whoever goes by it would be led astray."""
        with pytest.raises(Corrupt, match="slot 16, and there are 16"):
            Holdings(NOTHING, 16, Moves({16: HELD}))

    @given(st.integers(1, 64), st.integers(0, 63))
    def test_equal_moves_make_equal_holdings(self, of: int, index: int) -> None:
        moves = Moves({5: HELD, 7: RELEASED}, (Adoption(30, 5, A, 9),))
        one, other = (Holdings(Deal(index, of), 64, moves) for _ in range(2))
        assert (one.held, one.held_since, one.moves) == (other.held, other.held_since, other.moves)


class TestWhoseRowsCount:
    """What is left of groups after a disaster is as of different times."""

    @pytest.mark.parametrize(
        ("at_a", "at_b", "right"),
        [
            (DEALT, ABSENT, A),
            (DEALT, COPYING, A),
            (RELEASED, COPYING, A),
            (RELEASED, HELD, B),
            (DEALT, HELD, B),
            (DROPPED, HELD, B),
            (DROPPED, COPYING, B),
            (RECLAIMED, REFUSED, A),
            (RELEASED, REFUSED, A),
        ],
    )
    def test_of_one_slot(self, at_a: Holding, at_b: Holding, right: int) -> None:
        known = {
            A: Holdings(Deal(0, 1), 4, Moves({3: at_a}) if at_a is not DEALT else NO_MOVES),
            B: Holdings(NOTHING, 4, Moves({3: at_b}) if at_b is not ABSENT else NO_MOVES),
        }
        assert keepers(known) == {0: A, 1: A, 2: A, 3: right}
