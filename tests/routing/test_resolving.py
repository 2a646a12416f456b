"""The router's decisions, one question and answer at a time; GlobalTable is the test's own word."""

from collections.abc import Sequence
from typing import Any

import pytest

from globaltable.errors import (
    ConnectFailed,
    DeadlineExceeded,
    InvalidArgument,
    LimitExceeded,
    NoQuorum,
    NotBound,
    OutcomeUnknown,
)
from globaltable.model import Binding
from globaltable.routing.config import Layer, parse
from globaltable.routing.context import NO_CONTEXT, Context
from globaltable.routing.header import NoSigningKey
from globaltable.routing.resolution import (
    Answer,
    Ask,
    NoHome,
    NoUnit,
    Resolution,
    Resolving,
    RouteChange,
    Source,
    Verb,
)
from globaltable.routing.resolving import FALLBACK_TIMEOUT_S, OUTAGE_S, Resolver
from globaltable.routing.route import Route

CONFIG = """
namespace = "test"
endpoints = ["127.0.0.1:7101"]
region = "sh"
[units.A]
region = "bj"
[units.B]
region = "sh"
[dimensions.edge]
layer = "L0"
ttl_s = 10
[dimensions.user]
layer = "L1"
rules = [{ by = "table", units = { ann = "A" } }]
[dimensions.chat]
layer = "L2"
table = "routing.chat"
policy = "new"
ttl_s = 100
grace_s = 1000
[dimensions.room]
layer = "L2"
table = "routing.room"
policy = "new"
unreachable = "provisional"
[policies]
new.first_of = [{ home = "user" }, { nearest = {} }, { unit = "B" }]
"""
NOW_S = 1_000_000.0
CUT_OFF = ConnectFailed("nobody answers")


class Seal:
    """Signs so that a test can read what was signed, and when; `fails` stands for a lost key."""

    def __init__(self) -> None:
        self.fails = False

    def sign(self, route: Route, now_s: float) -> bytes:
        if self.fails:
            raise NoSigningKey("none")
        return f"{route.unit}@{route.version} {now_s:.0f}-{route.expires_at_s}".encode()


def _resolver(*, signed: bool = False) -> Resolver:
    return Resolver(parse(CONFIG), signer=Seal() if signed else None)


def _play(resolving: Resolving, *answers: Binding | Exception | None) -> tuple[Any, list[Ask]]:
    """Answer one question after another; the end, and what was asked."""
    asked: list[Ask] = []
    told = iter(answers)
    try:
        ask = next(resolving)
        while True:
            asked.append(ask)
            answer = next(told)
            if isinstance(answer, Exception):
                ask = resolving.throw(answer)
            else:
                ask = resolving.send(Answer(answer))
    except StopIteration as end:
        assert not [*told], "more answers than questions"
        return end.value, asked


def _resolve(
    resolver: Resolver,
    *answers: Binding | Exception | None,
    dimension: str = "chat",
    key: str = "k",
    context: Context = NO_CONTEXT,
    now_s: float = NOW_S,
    create: bool = True,
) -> tuple[Resolution, Sequence[Verb]]:
    told, asked = _play(resolver.resolving(dimension, key, context, now_s, create=create), *answers)
    assert isinstance(told, Resolution)
    return told, [ask.verb for ask in asked]


def _bound(unit: str, version: int = 1, *, created: bool = False) -> Binding:
    return Binding(unit, version, 7, created)


def _route(unit: str, version: int = 1, at_s: float = NOW_S) -> Route:
    return Route("chat", "k", unit, version, int(at_s) + 100)


READ, BARRIER, BIND = Verb.READ, Verb.READ_BEHIND_BARRIER, Verb.BIND


class TestRules:
    def test_l0_is_the_nearest_unit_that_serves(self) -> None:
        resolver = _resolver()
        told = resolver.at_once("edge", "any", Context(region="bj"), NOW_S)
        assert told == (Route("edge", "any", "A", 0, 1_000_010), Layer.L0, Source.RULE, None)
        assert resolver.at_once("edge", "any", NO_CONTEXT, NOW_S)[0].unit == "B"  # type: ignore[index]
        resolver.fleet = resolver.fleet.with_drained("A")
        assert resolver.at_once("edge", "x", Context(region="bj"), NOW_S)[0].unit == "B"  # type: ignore[index]
        resolver.fleet = resolver.fleet.with_drained("AB")
        with pytest.raises(NoUnit, match="A is drained, B is drained"):
            resolver.at_once("edge", "x", NO_CONTEXT, NOW_S)

    def test_l1_is_a_rule_however_the_unit_fares(self) -> None:
        resolver = _resolver()
        resolver.fleet = resolver.fleet.with_drained("A")
        told = resolver.at_once("user", "ann", NO_CONTEXT, NOW_S)
        assert told is not None
        assert (told.route.unit, told.layer, told.source) == ("A", Layer.L1, Source.RULE)
        with pytest.raises(NoHome, match="no rule of 'user' knows 'bob'"):
            resolver.at_once("user", "bob", NO_CONTEXT, NOW_S)

    def test_what_is_no_question_is_refused(self) -> None:
        resolver = _resolver()
        with pytest.raises(InvalidArgument, match="'chats' is no dimension"):
            resolver.at_once("chats", "k", NO_CONTEXT, NOW_S)
        with pytest.raises(InvalidArgument, match="key is empty"):
            resolver.at_once("chat", "", NO_CONTEXT, NOW_S)
        context = Context(attributes={str(number): "x" for number in range(17)})
        with pytest.raises(LimitExceeded, match="17 attributes"):
            resolver.at_once("chat", "k", context, NOW_S)
        with pytest.raises(InvalidArgument, match="'user' is of layer L1: nothing is bound"):
            _resolve(resolver, dimension="user")


class TestAsking:
    def test_a_bound_key_is_read_and_then_known(self) -> None:
        resolver = _resolver()
        told, asked = _resolve(resolver, _bound("B", 3))
        assert told == (_route("B", 3), Layer.L2, Source.READ, None)
        assert asked == [READ]
        again = resolver.at_once("chat", "k", NO_CONTEXT, NOW_S + 99)
        assert again == (_route("B", 3), Layer.L2, Source.CACHE, None)
        assert resolver.at_once("chat", "k", NO_CONTEXT, NOW_S + 100) is None

    @pytest.mark.parametrize(
        ("context", "unit"),
        [(Context(creator="ann"), "A"), (Context(region="bj"), "A"), (NO_CONTEXT, "B")],
    )
    def test_a_new_key_is_bound_where_the_policy_proposes(
        self, context: Context, unit: str
    ) -> None:
        resolving = _resolver().resolving("chat", "k", context, NOW_S)
        told, asked = _play(resolving, None, _bound(unit, created=True))
        assert asked[1] == Ask(BIND, "routing.chat", "k", unit)
        assert told == (_route(unit), Layer.L2, Source.CREATED, None)

    def test_the_bind_decides_not_the_proposal(self) -> None:
        told, _ = _resolve(_resolver(), None, _bound("A"))
        assert (told.route.unit, told.source) == ("A", Source.READ)

    def test_without_create_nothing_is_bound(self) -> None:
        with pytest.raises(NotBound):
            _resolve(_resolver(), None, create=False)

    def test_a_policy_without_an_opinion_is_said_to_have_none(self) -> None:
        resolver = _resolver()
        resolver.fleet = resolver.fleet.with_drained("AB")
        with pytest.raises(NoUnit, match="policy 'new' has no unit for 'k': A is drained"):
            _resolve(resolver, None)

    @pytest.mark.parametrize("behind", [_bound("A", 1), None])
    def test_a_replica_that_is_behind_what_is_known_is_asked_behind_a_barrier(
        self, behind: Binding | None
    ) -> None:
        resolver = _resolver()
        _resolve(resolver, _bound("B", 2))
        told, asked = _resolve(resolver, behind, _bound("B", 2), now_s=NOW_S + 200)
        assert asked == [READ, BARRIER]
        assert told.route == _route("B", 2, NOW_S + 200)

    def test_a_key_that_was_unbound_is_forgotten_and_bound_anew(self) -> None:
        resolver = _resolver()
        _resolve(resolver, _bound("A", 2))
        told, asked = _resolve(
            resolver, None, None, _bound("B", 4, created=True), now_s=NOW_S + 200
        )
        assert asked == [READ, BARRIER, BIND]
        assert told.route == _route("B", 4, NOW_S + 200)

    def test_after_a_recovery_from_a_survivor_the_lower_version_is_the_truth(self) -> None:
        resolver = _resolver()
        _resolve(resolver, _bound("A", 9))
        told, _ = _resolve(resolver, _bound("B", 7), _bound("B", 7), now_s=NOW_S + 200)
        assert told.route == _route("B", 7, NOW_S + 200)

    def test_what_a_watch_told_meanwhile_is_not_gone_behind(self) -> None:
        resolver = _resolver()
        resolving = resolver.resolving("chat", "k", NO_CONTEXT, NOW_S)
        next(resolving)
        _resolve(resolver, _bound("A", 1))
        moved = ("k", "B", 2)
        resolver.changed("routing.chat", *moved, NOW_S + 1)
        with pytest.raises(StopIteration) as end:
            resolving.send(Answer(_bound("A", 1)))
        assert end.value.value.route == _route("B", 2, NOW_S + 1)


class TestHeaders:
    def test_what_was_read_is_signed_and_lives_from_before_the_question(self) -> None:
        told, asked = _resolve(_resolver(signed=True), _bound("B", 3))
        assert asked == [READ]
        assert told.header == b"B@3 1000000-1000100"

    def test_a_bind_is_signed(self) -> None:
        told, asked = _resolve(_resolver(signed=True), None, _bound("B", created=True))
        assert asked == [READ, BIND]
        assert told.header == b"B@1 1000000-1000100"

    def test_a_change_that_a_watch_told_is_signed(self) -> None:
        resolver = _resolver(signed=True)
        _resolve(resolver, _bound("A", 1))
        moved = ("k", "B", 2)
        told = resolver.changed("routing.chat", *moved, NOW_S + 5)
        assert told == RouteChange("chat", "k", "B", 2)
        cached = resolver.at_once("chat", "k", NO_CONTEXT, NOW_S + 6)
        assert cached is not None
        assert (cached.route.unit, cached.header) == ("B", b"B@2 1000005-1000105")
        assert resolver.route_of(told, NOW_S + 6) == (cached.route, cached.header)

    def test_what_is_gone_on_with_past_its_expiry_is_not_signed_anew(self) -> None:
        resolver = _resolver(signed=True)
        _resolve(resolver, _bound("A", 1))
        told, _ = _resolve(resolver, CUT_OFF, now_s=NOW_S + 500)
        assert (told.source, told.header) == (Source.GRACE, b"A@1 1000000-1000100")

    def test_without_a_key_to_sign_with_routes_are_given_out_bare_and_it_is_counted(self) -> None:
        resolver = Resolver(parse(CONFIG), signer=(seal := Seal()))
        seal.fails = True
        told, _ = _resolve(resolver, _bound("B"))
        assert (told.route.unit, told.header) == ("B", None)
        assert resolver.unsigned == {"NoSigningKey": 1}
        cached = resolver.at_once("chat", "k", NO_CONTEXT, NOW_S)
        assert cached is not None
        assert not resolver.is_due(cached, NOW_S), "not at once again"
        assert resolver.is_due(cached, NOW_S + OUTAGE_S)


class TestRenewal:
    def test_routers_do_not_renew_all_at_one_moment(self) -> None:
        due_s = set()
        for salt in range(0, 1_024, 64):
            resolver = Resolver(parse(CONFIG), salt=salt)
            _resolve(resolver, _bound("B"))
            for age_s in range(100):
                told = resolver.at_once("chat", "k", NO_CONTEXT, NOW_S + age_s)
                assert told is not None
                if resolver.is_due(told, NOW_S + age_s):
                    due_s.add(age_s)
                    break
        assert min(due_s) >= 75 and max(due_s) <= 91 and len(due_s) > 8

    def test_rules_are_never_due(self) -> None:
        resolver = _resolver()
        told = resolver.at_once("user", "ann", NO_CONTEXT, NOW_S)
        assert told is not None
        assert not resolver.is_due(told, NOW_S + 1_000)


class TestOutage:
    @pytest.mark.parametrize("error", [CUT_OFF, NoQuorum("no"), DeadlineExceeded("late")])
    def test_a_known_session_goes_on_past_its_expiry(self, error: Exception) -> None:
        resolver = _resolver()
        _resolve(resolver, _bound("A", 2))
        told, asked = _resolve(resolver, error, now_s=NOW_S + 500)
        assert told == (_route("A", 2), Layer.L2, Source.GRACE, None)
        assert asked == [READ]

    def test_while_it_lasts_known_sessions_wait_for_nobody(self) -> None:
        resolver = _resolver()
        _resolve(resolver, _bound("A", 2))
        _resolve(resolver, CUT_OFF, now_s=NOW_S + 500)
        told, asked = _resolve(resolver, now_s=NOW_S + 500 + OUTAGE_S / 2)
        assert (told.source, asked) == (Source.GRACE, [])
        told, asked = _resolve(resolver, _bound("A", 2), now_s=NOW_S + 500 + OUTAGE_S)
        assert (told.source, asked) == (Source.READ, [READ])

    def test_while_it_lasts_answers_are_at_once_and_somebody_asks_now_and_then(self) -> None:
        resolver = _resolver()
        _resolve(resolver, _bound("A", 2))
        assert resolver.at_once("chat", "k", NO_CONTEXT, NOW_S + 500) is None
        _resolve(resolver, CUT_OFF, now_s=NOW_S + 500)
        told = resolver.at_once("chat", "k", NO_CONTEXT, NOW_S + 500)
        assert told == Resolution(_route("A", 2), Layer.L2, Source.GRACE)
        assert not resolver.is_due(told, NOW_S + 500)
        assert resolver.is_due(told, NOW_S + 500 + OUTAGE_S)
        assert resolver.at_once("chat", "other", NO_CONTEXT, NOW_S + 500) is None
        assert resolver.at_once("chat", "k", NO_CONTEXT, NOW_S + 1_100) is None, "out of grace"
        _resolve(resolver, _bound("A", 1), key="other", now_s=NOW_S + 600)
        assert resolver.at_once("chat", "k", NO_CONTEXT, NOW_S + 600) is None, "it is over"

    def test_who_was_placed_is_told_so_at_once(self) -> None:
        resolver = _resolver()
        _resolve(resolver, CUT_OFF, dimension="room")
        told = resolver.at_once("room", "k", NO_CONTEXT, NOW_S)
        assert told is not None
        assert (told.route.unit, told.source) == ("B", Source.PROVISIONAL)

    def test_who_has_something_to_fall_back_upon_does_not_wait_long(self) -> None:
        resolver = _resolver()
        _, (first,) = _play(resolver.resolving("chat", "k", NO_CONTEXT, NOW_S), _bound("A"))
        _, (second,) = _play(resolver.resolving("chat", "k", NO_CONTEXT, NOW_S + 200), _bound("A"))
        assert (first.timeout_s, second.timeout_s) == (None, FALLBACK_TIMEOUT_S)

    def test_after_the_grace_it_is_refused(self) -> None:
        resolver = _resolver()
        _resolve(resolver, _bound("A", 2))
        with pytest.raises(ConnectFailed):
            _resolve(resolver, CUT_OFF, now_s=NOW_S + 1_100)

    def test_a_new_session_is_refused_where_the_dimension_says_so(self) -> None:
        with pytest.raises(ConnectFailed):
            _resolve(_resolver(), CUT_OFF)
        with pytest.raises(OutcomeUnknown):
            _resolve(_resolver(), None, OutcomeUnknown("it may have happened"))

    @pytest.mark.parametrize("answers", [(CUT_OFF,), (None, NoQuorum("no"))])
    def test_a_new_session_is_placed_provisionally_where_the_dimension_says_so(
        self, answers: tuple[Binding | Exception | None, ...]
    ) -> None:
        resolver = _resolver(signed=False)
        told, _ = _resolve(resolver, *answers, dimension="room")
        assert (told.route.unit, told.route.version) == ("B", 0)
        assert (told.source, told.header) == (Source.PROVISIONAL, None)
        assert len(resolver.cache) == 0, "not kept as a route"

    def test_it_stays_where_it_was_placed_and_is_bound_there_once_that_can_be_done(self) -> None:
        resolver = _resolver()
        _resolve(resolver, CUT_OFF, dimension="room")
        resolver.fleet = resolver.fleet.with_drained("B")
        told, asked = _resolve(resolver, dimension="room", context=Context(region="bj"))
        assert (told.route.unit, asked) == ("B", [])
        resolving = resolver.resolving("room", "k", NO_CONTEXT, NOW_S + 9)
        told, (_, bind) = _play(resolving, None, _bound("B", created=True))
        assert bind.unit == "B"
        assert told.source is Source.CREATED

    def test_somebody_else_may_have_been_first(self) -> None:
        resolver = _resolver()
        _resolve(resolver, CUT_OFF, dimension="room")
        told, _ = _resolve(resolver, None, _bound("A"), dimension="room", now_s=NOW_S + 9)
        assert (told.route.unit, told.source) == ("A", Source.READ)

    def test_a_lookup_is_never_answered_with_a_placement(self) -> None:
        with pytest.raises(ConnectFailed):
            _resolve(_resolver(), CUT_OFF, dimension="room", create=False)


class TestWatching:
    def test_the_route_of_a_change_of_a_key_that_was_not_held_is_made_and_kept(self) -> None:
        """Whoever is told of it holds it."""
        resolver = _resolver(signed=True)
        made = resolver.route_of(RouteChange("chat", "k", "A", 3), NOW_S)
        assert made == (_route("A", 3), b"A@3 1000000-1000100")
        assert resolver.route_of(RouteChange("chat", "k", "B", 2), NOW_S) == made, "it is older"
        assert resolver.route_of(RouteChange("chat", "k", None, 4), NOW_S) is None

    def test_a_key_that_is_not_held_is_told_of_and_not_kept(self) -> None:
        resolver = _resolver()
        bound = ("k", "A", 1)
        assert resolver.changed("routing.chat", *bound, NOW_S) == ("chat", "k", "A", 1)
        assert len(resolver.cache) == 0

    def test_an_unbind_is_told_and_what_was_kept_is_let_go(self) -> None:
        resolver = _resolver()
        _resolve(resolver, _bound("A", 1))
        unbound = ("k", None, 2)
        assert resolver.changed("routing.chat", *unbound, NOW_S) == ("chat", "k", None, 2)
        assert resolver.at_once("chat", "k", NO_CONTEXT, NOW_S) is None

    def test_changes_that_come_late_turn_nothing_back(self) -> None:
        resolver = _resolver()
        _resolve(resolver, _bound("B", 5))
        resolver.changed("routing.chat", "k", "A", 4, NOW_S)
        told = resolver.at_once("chat", "k", NO_CONTEXT, NOW_S)
        assert told is not None
        assert told.route == _route("B", 5)

    def test_what_is_held_is_read_anew_after_a_gap(self) -> None:
        resolver = _resolver()
        _resolve(resolver, _bound("A", 1))
        _resolve(resolver, _bound("A", 1), dimension="room", key="r")
        assert resolver.held("routing.chat") == ["k"]
        bindings = {"k": _bound("B", 2)}
        changes = resolver.read_anew("routing.chat", ["k", "gone"], bindings, NOW_S + 1)
        assert changes == [RouteChange("chat", "k", "B", 2)]
        told = resolver.at_once("chat", "k", NO_CONTEXT, NOW_S + 1)
        assert told is not None
        assert told.route == _route("B", 2, NOW_S + 1)
