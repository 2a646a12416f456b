"""The fence, rule by rule (`globaltable/routing/fence.py`), and any order of what may happen."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from globaltable.errors import InvalidArgument
from globaltable.routing.fence import (
    RETRY_AFTER_S,
    Closed,
    Drained,
    Fence,
    Moving,
    NotConfirmed,
    Reception,
    Verdict,
)
from globaltable.routing.lease import Lease
from globaltable.routing.route import Route

D, K = "chat", "cid:1"


class Rows(dict[tuple[str, str], int]):
    """A store that is in memory."""

    def closed_version(self, dimension: str, key: str) -> int:
        return self.get((dimension, key), 0)


def fence_of(rows: Rows | None = None, **how: Any) -> Fence:
    fence = Fence("A", Lease(60.0), rows if rows is not None else Rows(), **how)
    fence.lease.granted(0.0)
    return fence


def route(unit: str, version: int) -> Route:
    return Route(D, K, unit, version, 1_000)


def verdict(fence: Fence, given: Route | None = None, now_s: float = 1.0) -> Verdict:
    return fence.admit(D, K, given, now_s).verdict


def close(fence: Fence, rows: Rows, version: int, to: str = "B") -> None:
    assert fence.drain(D, K, version, 1.0) is Drained.EMPTY
    rows[D, K] = version
    fence.close([Closed(D, K, version, to)], 1.0)


def test_a_header_of_this_unit_admits_a_key_that_is_new_to_it() -> None:
    fence = fence_of()
    assert verdict(fence) is Verdict.ASK
    admission = fence.admit(D, K, route("A", 3), 1.0)
    assert admission[:3] == (Verdict.SERVE, "A", 3)
    assert verdict(fence) is Verdict.SERVE, "and then it is known without a header"


def test_a_header_of_another_unit_is_forwarded_and_then_answered_with_the_route() -> None:
    fence = fence_of()
    assert fence.admit(D, K, route("B", 3), 1.0)[:3] == (Verdict.FORWARD, "B", 3)
    assert fence.admit(D, K, None, 1.0)[:3] == (Verdict.MOVED, "B", 3)
    assert fence.admit(D, K, route("A", 2), 1.0)[:3] == (Verdict.MOVED, "B", 3)


def test_a_header_of_before_a_move_is_refused_for_ever() -> None:
    """A 1, then B 2: rule 1, and after a restart too."""
    rows = Rows()
    fence = fence_of(rows)
    assert verdict(fence, route("A", 1)) is Verdict.SERVE
    close(fence, rows, 1)
    assert verdict(fence, route("A", 1)) is not Verdict.SERVE
    fence.learned(D, K, "B", 2, 2.0)
    assert fence.admit(D, K, route("A", 1), 3.0)[:3] == (Verdict.MOVED, "B", 2)
    assert verdict(fence_of(rows), route("A", 1)) is Verdict.ASK


def test_a_session_that_came_back_is_served_at_its_new_version_only() -> None:
    """A 1, B 2, A 3."""
    rows = Rows()
    fence = fence_of(rows)
    close(fence, rows, 1)
    fence.learned(D, K, "B", 2, 2.0)
    assert fence.admit(D, K, route("A", 3), 3.0)[:3] == (Verdict.SERVE, "A", 3)
    restarted = fence_of(rows)
    assert verdict(restarted, route("A", 1)) is Verdict.ASK
    assert verdict(restarted, route("A", 3), 2.0) is Verdict.SERVE


def test_what_is_under_way_holds_a_drain_up_and_new_messages_are_told_to_come_again() -> None:
    idle: list[bool] = []
    fence = fence_of(on_idle=lambda: idle.append(True))
    fence.admit(D, K, route("A", 1), 1.0)
    with fence.enter(D, K, 1) as permit:
        assert fence.drain(D, K, 1, 1.0) is Drained.UNDER_WAY
        admission = fence.admit(D, K, route("A", 1), 1.0)
        assert admission.verdict is Verdict.MOVING and admission.retry_after_s == RETRY_AFTER_S
        with pytest.raises(Moving), fence.enter(D, K, 1):
            pass
        assert not fence.is_empty(D, K)
        permit.confirm(1.0)  # it was accepted before, and is part of what is handed over
    assert idle and fence.is_empty(D, K)
    fence.let_go(D, K)
    assert verdict(fence) is Verdict.SERVE, "a drain that was given up leaves nothing behind"


def test_two_drains_of_one_key_do_not_let_go_for_each_other() -> None:
    fence = fence_of()
    fence.admit(D, K, route("A", 1), 1.0)
    fence.drain(D, K, 1, 1.0)
    fence.drain(D, K, 1, 1.0)
    fence.let_go(D, K)
    assert verdict(fence) is Verdict.MOVING, "the other may be persisting by now"


def test_a_late_drain_is_of_the_past() -> None:
    rows = Rows()
    fence = fence_of(rows)
    close(fence, rows, 1)
    fence.admit(D, K, route("A", 3), 1.0)
    assert fence.drain(D, K, 1, 1.0) is Drained.SUPERSEDED
    assert fence.drain(D, K, 2, 1.0) is Drained.SUPERSEDED
    assert verdict(fence) is Verdict.SERVE


def test_without_the_lease_nothing_is_served() -> None:
    fence = fence_of()
    assert verdict(fence, route("A", 1), 59.9) is Verdict.SERVE
    assert verdict(fence, route("A", 1), 60.0) is Verdict.LAPSED
    fence.lease.granted(50.0)
    assert verdict(fence, route("A", 1), 60.0) is Verdict.SERVE


def test_a_message_is_confirmed_under_the_lease_it_was_entered_with() -> None:
    fence = fence_of()
    fence.admit(D, K, route("A", 1), 1.0)
    with fence.enter(D, K, 1) as permit:
        permit.confirm(59.0)
        with pytest.raises(NotConfirmed):
            permit.confirm(60.0)
        fence.lose_lease()
        fence.lease.granted(60.0)
        with pytest.raises(NotConfirmed):
            permit.confirm(61.0)


def test_a_unit_whose_lease_was_taken_serves_only_what_it_claims() -> None:
    """Rule 5: neither header nor GlobalTable's word, for a move by force may follow either."""
    fence = fence_of()
    fence.admit(D, K, route("A", 1), 1.0)
    epoch = fence.lease.epoch
    fence.lose_lease()
    fence.lease.granted(1.0)
    assert verdict(fence, route("A", 1)) is Verdict.ASK
    fence.learned(D, K, "A", 1, 1.0)
    fence.claimed(D, K, 2, epoch, 1.0)
    assert verdict(fence, route("A", 2)) is Verdict.ASK, "a claim of before the loss proves nothing"
    fence.claimed(D, K, 3, fence.lease.epoch, 1.0)
    assert fence.admit(D, K, route("A", 1), 1.0)[:3] == (Verdict.SERVE, "A", 3)


def test_a_unit_that_trusts_nobody_sends_nobody_back_to_where_a_session_came_from() -> None:
    """It lived in B at 2, and is here since 3: it is claimed, and not looked for in B."""
    fence = fence_of(distrust=True)
    fence.learned(D, K, "B", 2, 1.0)
    assert verdict(fence) is Verdict.MOVED
    fence.learned(D, K, "A", 3, 1.0)
    assert verdict(fence) is Verdict.ASK
    fence.claimed(D, K, 4, fence.lease.epoch, 1.0)
    assert verdict(fence) is Verdict.SERVE


def test_data_is_taken_in_while_no_message_is_admitted() -> None:
    fence = fence_of()
    assert fence.begin_receiving(D, K, 1, 1.0) is Reception.BEGUN
    assert fence.begin_receiving(D, K, 1, 1.0) is Reception.BUSY
    assert verdict(fence, route("A", 2)) is Verdict.MOVING
    fence.end_receiving(D, K)
    assert verdict(fence, route("A", 2)) is Verdict.SERVE
    assert fence.begin_receiving(D, K, 1, 1.0) is Reception.SUPERSEDED


def test_keys_are_forgotten_but_for_those_that_are_busy() -> None:
    rows = Rows()
    fence = fence_of(rows, entries_max=2)
    close(fence, rows, 1)
    fence.admit(D, "busy", Route(D, "busy", "A", 1, 9), 1.0)
    with fence.enter(D, "busy", 1):
        for number in range(50):
            fence.admit(D, f"k{number}", Route(D, f"k{number}", "A", 1, 9), 1.0)
        assert len(fence) == 2
        assert fence.drain(D, "busy", 1, 1.0) is Drained.UNDER_WAY
    assert verdict(fence, route("A", 1)) is Verdict.ASK, "what was closed is asked of the store"


def test_a_fence_of_no_keys_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="entries_max"):
        fence_of(entries_max=0)


class Unit(RuleBasedStateMachine):
    """One key, that GlobalTable moves between A and B by the rules, and one fence: A's.

    Whatever headers are shown, however late words arrive, A serves only the version that is A's
    and the newest, and never what it has closed."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows()
        self.fence = fence_of(self.rows)
        self.units = ["A"]
        """Of the versions from 1 on."""
        self.drains = 0
        self.closed = 0

    @property
    def version(self) -> int:
        return len(self.units)

    @property
    def is_ours(self) -> bool:
        return self.units[-1] == "A"

    def _check(self, told: Any) -> None:
        if told.verdict is Verdict.SERVE:
            assert self.is_ours and told.version == self.version > self.closed
        if told.verdict in (Verdict.MOVED, Verdict.FORWARD):
            assert self.units[told.version - 1] == told.unit == "B"

    @rule(data=st.data())
    def a_message_comes_with_any_header_there_has_been(self, data: st.DataObject) -> None:
        version = data.draw(st.integers(0, self.version))
        given = route(self.units[version - 1], version) if version else None
        self._check(self.fence.admit(D, K, given, 1.0))

    @rule(data=st.data())
    def a_word_comes_late(self, data: st.DataObject) -> None:
        version = data.draw(st.integers(1, self.version))
        self.fence.learned(D, K, self.units[version - 1], version, 1.0)

    @rule(data=st.data())
    def a_drain_begins_or_comes_late(self, data: st.DataObject) -> None:
        ours = [at for at, unit in enumerate(self.units, 1) if unit == "A"]
        if ours:
            told = self.fence.drain(D, K, data.draw(st.sampled_from(ours)), 1.0)
            self.drains += told in (Drained.EMPTY, Drained.UNDER_WAY)

    @precondition(lambda self: self.drains and self.is_ours)
    @rule()
    def the_drain_ends(self) -> None:
        self.rows[D, K] = self.closed = self.version
        self.fence.close([Closed(D, K, self.version, "B")], 1.0)
        self.drains -= 1

    @precondition(lambda self: self.drains)
    @rule()
    def the_drain_is_given_up(self) -> None:
        self.fence.let_go(D, K)
        self.drains -= 1

    @precondition(lambda self: not self.is_ours or self.closed == self.version)
    @rule(unit=st.sampled_from("AB"))
    def it_is_committed_to(self, unit: str) -> None:
        self.units.append(unit)

    @rule()
    def it_restarts(self) -> None:
        self.fence = fence_of(self.rows)
        self.drains = 0

    @invariant()
    def no_header_of_what_was_closed_is_served(self) -> None:
        for version in range(1, self.closed + 1):
            if self.units[version - 1] == "A":
                told = self.fence.admit(D, K, route("A", version), 1.0)
                assert told.verdict is not Verdict.SERVE or told.version > self.closed


TestUnit = Unit.TestCase
TestUnit.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
