"""Subscriptions: everybody is told the latest of what they hold, within bounds."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from globaltable.errors import LimitExceeded, Overloaded
from globaltable.routing.resolution import RouteChange
from globaltable.routing.subscriptions import Held, Subscriber, Subscriptions

KEYS = st.sampled_from("abc")
WHO = st.integers(0, 2)


def _change(key: str, version: int) -> RouteChange:
    return RouteChange("chat", key, f"unit-{version}", version)


class Fanned(RuleBasedStateMachine):
    """Keys change, subscribers come, hold, read slowly, let go and leave."""

    def __init__(self) -> None:
        super().__init__()
        self.subscriptions = Subscriptions(held_max=3)
        self.versions = dict.fromkeys("abc", 1)
        self.subscribers = [Subscriber(lambda: None) for _ in range(3)]
        self.owed: list[dict[str, int]] = [{}, {}, {}]
        """Of each subscriber, the latest version of each key that it holds and was not told of."""
        self.holds: list[set[str]] = [set(), set(), set()]
        for one in self.subscribers:
            self.subscriptions.add(one)

    @rule(key=KEYS)
    def change(self, key: str) -> None:
        self.versions[key] += 1
        self.subscriptions.changed(_change(key, self.versions[key]))
        for who, holds in enumerate(self.holds):
            if key in holds:
                self.owed[who][key] = self.versions[key]

    @rule(key=KEYS)
    def change_comes_again(self, key: str) -> None:
        self.subscriptions.changed(_change(key, max(1, self.versions[key] - 1)))

    @rule(who=WHO, key=KEYS)
    def hold(self, who: int, key: str) -> None:
        held = Held("chat", key, self.versions[key])
        self.subscriptions.hold(self.subscribers[who], [held])
        self.holds[who].add(key)

    @rule(who=WHO, key=KEYS)
    def release(self, who: int, key: str) -> None:
        self.subscriptions.release(self.subscribers[who], [("chat", key)])
        self.holds[who].discard(key)
        self.owed[who].pop(key, None)

    @rule(who=WHO, count=st.integers(1, 3))
    def read(self, who: int, count: int) -> None:
        told = self.subscribers[who].take(count)
        assert len(told) == min(count, len(self.owed[who]))
        for change in told:
            assert self.owed[who].pop(change.key) == change.version

    @rule(who=WHO)
    def leave_and_return(self, who: int) -> None:
        self.subscriptions.remove(self.subscribers[who])
        self.subscribers[who] = Subscriber(lambda: None)
        self.subscriptions.add(self.subscribers[who])
        self.owed[who], self.holds[who] = {}, set()

    @invariant()
    def what_is_held_is_counted_and_indexed(self) -> None:
        assert self.subscriptions.held_total == sum(map(len, self.holds))
        assert set(self.subscriptions.held("chat")) == set.union(*self.holds)
        assert self.subscriptions.held("room") == []


TestFanned = Fanned.TestCase
TestFanned.settings = settings(max_examples=40, stateful_step_count=30)


def test_whoever_waits_is_woken_once_there_is_something_that_it_does_not_know() -> None:
    woken: list[int] = []
    subscriptions = Subscriptions()
    subscriber = Subscriber(lambda: woken.append(1))
    subscriptions.add(subscriber)
    subscriptions.hold(subscriber, [Held("chat", "a", 3)])
    for version in (2, 3):
        subscriptions.changed(_change("a", version))
    subscriptions.changed(_change("b", 9))
    assert not woken
    subscriptions.changed(_change("a", 4))
    assert woken
    assert subscriber.take(9) == [_change("a", 4)]


def test_bounds_are_kept_and_what_is_refused_changes_nothing() -> None:
    subscriptions = Subscriptions(held_max=2, held_total_max=3, subscribers_max=2)
    one, other = (Subscriber(lambda: None) for _ in range(2))
    subscriptions.add(one)
    subscriptions.add(other)
    with pytest.raises(Overloaded, match="2 streams are open"):
        subscriptions.add(Subscriber(lambda: None))
    subscriptions.hold(one, [Held("chat", "a", 0), Held("chat", "b", 0)])
    with pytest.raises(LimitExceeded, match="3 keys to follow on one stream; at most 2"):
        subscriptions.hold(one, [Held("chat", "c", 0)])
    subscriptions.hold(one, [Held("chat", "a", 7)])
    with pytest.raises(Overloaded, match="2 keys are followed"):
        subscriptions.hold(other, [Held("chat", "a", 0), Held("chat", "b", 0)])
    assert other.versions == {}
    assert subscriptions.held_total == 2
    subscriptions.remove(one)
    assert (subscriptions.held_total, subscriptions.held("chat")) == (0, [])
