"""Whatever order answers, failures, moves and late changes come in, a router's answers are right.

GlobalTable is a model: the truth of each key, a replica that is behind it, a watch that delivers
later still. Several resolves are under way at once, each of which is answered, or told of a
failure, one question at a time, and however late: the deadlines are the shell's, and a router
that was paused is answered past them. So the age of a route counts from when its asking began.
"""

from collections import deque
from typing import NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from globaltable.errors import ConnectFailed, NoQuorum, OutcomeUnknown, Unavailable
from globaltable.model import Binding
from globaltable.routing.config import Layer, parse
from globaltable.routing.context import NO_CONTEXT
from globaltable.routing.resolution import Answer, Ask, Resolution, Resolving, Source, Verb
from globaltable.routing.resolving import Resolver
from globaltable.routing.route import Route

CONFIG = """
namespace = "test"
endpoints = ["127.0.0.1:7101"]
[units.A]
region = "bj"
[units.B]
region = "sh"
[dimensions.chat]
layer = "L2"
table = "t"
policy = "new"
ttl_s = 10
grace_s = 30
unreachable = "provisional"
[policies]
new = { weighted = {} }
"""
TTL_S = 10
"""As the dimension has it."""
KEYS = st.sampled_from(["k1", "k1", "k1", "k2"])
UNITS = st.sampled_from("AB")


class Truth(NamedTuple):
    """A key's unit, None for none, and version; and all that it has ever been."""

    unit: str | None
    version: int
    past: tuple[tuple[str, int], ...]


class Flight(NamedTuple):
    key: str
    resolving: Resolving
    ask: Ask
    held_before: int
    """The version that was kept when it began."""
    begun_s: float


class Seal:
    def sign(self, route: Route, now_s: float) -> bytes:
        assert now_s <= route.expires_at_s - 9, "it lives from before the question"
        return f"{route.unit}@{route.version}".encode()


class Routed(RuleBasedStateMachine):
    resolver_type: type[Resolver] = Resolver

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0
        self.truth = {key: Truth(None, 0, ()) for key in ("k1", "k2")}
        self.replica = dict.fromkeys(("k1", "k2"), (None, 0))  # type: dict[str, tuple[str | None, int]]
        self.watch: deque[tuple[str, str | None, int]] = deque()
        self.flights: list[Flight] = []
        self.provisional: dict[str, str] = {}

    @initialize()
    def begin(self) -> None:
        self.resolver = self.resolver_type(parse(CONFIG), signer=Seal())

    # --- GlobalTable -----------------------------------------------------------------------------

    def _set(self, key: str, unit: str | None) -> None:
        old = self.truth[key]
        past = old.past if unit is None else (*old.past, (unit, old.version + 1))
        self.truth[key] = Truth(unit, old.version + 1, past)
        self.watch.append((key, unit, old.version + 1))

    @rule(key=KEYS, unit=UNITS)
    def somebody_moves_or_binds(self, key: str, unit: str) -> None:
        self._set(key, unit)

    @precondition(lambda self: any(one.unit for one in self.truth.values()))
    @rule(key=KEYS)
    def somebody_unbinds(self, key: str) -> None:
        if self.truth[key].unit is not None:
            self._set(key, None)

    @rule(key=KEYS)
    def the_replica_catches_up(self, key: str) -> None:
        self.replica[key] = self.truth[key][:2]

    @precondition(lambda self: self.watch)
    @rule(count=st.integers(1, 3))
    def the_watch_tells(self, count: int) -> None:
        for _ in range(min(count, len(self.watch))):
            key, unit, version = self.watch.popleft()
            self.resolver.changed("t", key, unit, version, self.now_s)

    @rule(s=st.sampled_from([0.1, 3.0, 11.0, 50.0]))
    def time_passes(self, s: float) -> None:
        self.now_s += s

    # --- callers ---------------------------------------------------------------------------------

    def _version_kept(self, key: str) -> int:
        cached = self.resolver.cache.last_known("chat", key)
        return cached.route.version if cached is not None else 0

    @rule(key=KEYS)
    def somebody_resolves(self, key: str) -> None:
        told = self.resolver.at_once("chat", key, NO_CONTEXT, self.now_s)
        if told is not None:
            self._check(key, told)
            if not self.resolver.is_due(told, self.now_s):
                return
        if len(self.flights) < 4:
            held = self._version_kept(key)
            resolving = self.resolver.resolving("chat", key, NO_CONTEXT, self.now_s)
            self._go_on(key, resolving, None, held, self.now_s)

    def _go_on(
        self,
        key: str,
        resolving: Resolving,
        answer: Answer | Exception | None,
        held: int,
        begun_s: float,
    ) -> None:
        try:
            if answer is None:
                ask = next(resolving)
            elif isinstance(answer, Exception):
                ask = resolving.throw(answer)
            else:
                ask = resolving.send(answer)
        except StopIteration as end:
            self._check(key, end.value, held, begun_s)
        except Unavailable:
            assert isinstance(answer, Exception), "refused though nobody failed"
        else:
            self.flights.append(Flight(key, resolving, ask, held, begun_s))

    @precondition(lambda self: self.flights)
    @rule(at=st.integers(0, 3))
    def a_question_is_answered(self, at: int) -> None:
        key, resolving, ask, held, begun_s = self.flights.pop(at % len(self.flights))
        binding: Binding | None
        match ask.verb:
            case Verb.READ:
                unit, version = self.replica[key]
                binding = None if unit is None else Binding(unit, version, 1)
            case Verb.READ_BEHIND_BARRIER:
                unit, version = self.truth[key][:2]
                binding = None if unit is None else Binding(unit, version, 1)
            case Verb.BIND:
                created = self.truth[key].unit is None
                if created:
                    if key in self.provisional:
                        assert ask.unit == self.provisional[key], "its messages are there"
                    self._set(key, ask.unit)
                unit, version = self.truth[key][:2]
                assert unit is not None
                binding = Binding(unit, version, 1, created)
                self.provisional.pop(key, None)
        self._go_on(key, resolving, Answer(binding), held, begun_s)

    @precondition(lambda self: self.flights)
    @rule(at=st.integers(0, 3), error=st.sampled_from([ConnectFailed, NoQuorum, OutcomeUnknown]))
    def a_question_fails(self, at: int, error: type[Exception]) -> None:
        key, resolving, ask, held, begun_s = self.flights.pop(at % len(self.flights))
        if error is OutcomeUnknown and ask.verb is not Verb.BIND:
            error = ConnectFailed
        self._go_on(key, resolving, error("it failed"), held, begun_s)

    @rule(key=KEYS)
    def somebody_resolves_and_is_answered_soon(self, key: str) -> None:
        # Other rules can do that, too, but seldom do: and most of what is to go wrong comes after.
        under_way = len(self.flights)
        self.somebody_resolves(key)
        for _ in Verb:
            if len(self.flights) > under_way:
                self.a_question_is_answered(under_way)
        assert len(self.flights) == under_way, "it asked a question twice"

    # --- what is promised ------------------------------------------------------------------------

    def _check(self, key: str, told: Resolution, held: int = 0, begun_s: float = 0.0) -> None:
        route = told.route
        assert (route.dimension, route.key) == ("chat", key)
        if told.source is Source.PROVISIONAL:
            assert (route.version, told.header) == (0, None)
            if key in self.provisional:
                assert route.unit == self.provisional[key], "it stays where it was placed"
            self.provisional[key] = route.unit
            return
        pair = (route.unit, route.version)
        assert pair in self.truth[key].past, "GlobalTable never said so"
        assert told.header == f"{route.unit}@{route.version}".encode()
        if told.source is Source.CREATED:
            assert pair[1] > held
        elif self.truth[key].unit is not None:
            assert route.version >= held, "it went back to an older version"
        if told.source is Source.CACHE:
            assert route.expires_at_s > self.now_s, "it had expired"
        elif told.source in (Source.READ, Source.CREATED):
            assert route.expires_at_s >= int(begun_s + TTL_S), "it is older than its question"
        assert route.expires_at_s <= self.now_s + TTL_S, "it lives longer than any may"

    @invariant()
    def what_is_kept_has_been_said(self) -> None:
        if hasattr(self, "resolver"):
            for cached in self.resolver.cache:
                route = cached.route
                assert (route.unit, route.version) in self.truth[route.key].past


TestRouted = Routed.TestCase
TestRouted.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


class Believing(Resolver):
    """Takes a replica at its word, though more was known here."""

    def _read(self, dimension, key, known, now_s, timeout_s):  # type: ignore[no-untyped-def]
        self.cache.forget(dimension.name, key)
        return super()._read(dimension, key, None, now_s, timeout_s)


class Forgetful(Resolver):
    """Places a session by the policy again each time, and elsewhere."""

    def _proposed(self, dimension, key, context):  # type: ignore[no-untyped-def]
        unit = super()._proposed(dimension, key, context)
        self._placed.clear()
        self.fleet = self.config.fleet.with_drained({unit})
        return unit


class Proposing(Resolver):
    """Takes its own proposal for what was bound."""

    def _bind(self, dimension, key, unit, now_s, timeout_s):  # type: ignore[no-untyped-def]
        told = yield from super()._bind(dimension, key, unit, now_s, timeout_s)
        return told._replace(route=told.route._replace(unit=unit))


class Unrenewed(Resolver):
    """Answers with what was kept of a version, when that is what it was told."""

    def _learnt(self, dimension, key, binding, asked_s, source):  # type: ignore[no-untyped-def]
        known = self.cache.last_known(dimension.name, key)
        told = super()._learnt(dimension, key, binding, asked_s, source)
        if known is None or known.route.version != told.route.version:
            return told
        return told._replace(route=known.route, header=known.header)


class Late(Resolver):
    """Lets what it hands out live for longer than the dimension says."""

    @staticmethod
    def _route(dimension, key, unit, version, asked_s):  # type: ignore[no-untyped-def]
        return Route(dimension.name, key, unit, version, int(asked_s + 2 * dimension.ttl_s))


class Hoarding(Resolver):
    """Answers with what was kept, expired or not, without asking."""

    def at_once(self, dimension, key, context, now_s):  # type: ignore[no-untyped-def]
        known = self.cache.last_known(dimension, key)
        if known is None:
            return super().at_once(dimension, key, context, now_s)
        return Resolution(known.route, Layer.L2, Source.CACHE, known.header)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [Believing, Forgetful, Proposing, Unrenewed, Late, Hoarding])
def test_what_is_left_out_is_noticed(mutant: type[Resolver]) -> None:
    class Mutated(Routed):
        resolver_type = mutant

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Mutated,
            settings=settings(
                max_examples=3_000,
                stateful_step_count=40,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
            ),
        )
