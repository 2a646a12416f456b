"""Policies: what each form proposes, how it is written, and what is refused."""

import json
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.errors import ConfigError
from globaltable.routing import policies as forms
from globaltable.routing.context import NO_CONTEXT, Context
from globaltable.routing.fleet import Fleet, Selection
from globaltable.routing.policies import Policy, Question
from globaltable.routing.policy_text import (
    DEPTH_MAX,
    PARTS_MAX,
    TEXT_BYTES_MAX,
    parse,
    parse_json,
    require_known,
    to_json,
    to_plain,
)
from globaltable.routing.static_rules import ByTable
from tests.routing.fleets import FLEET

HOMES = {"user": (ByTable({"ann": "B", "bob": "C"}),)}
EVERYWHERE: dict[str, Any] = {"weighted": {}}


def _proposed(
    policy: dict[str, Any],
    context: Context = NO_CONTEXT,
    fleet: Fleet = FLEET,
    key: str = "cid:1",
) -> str | None:
    return parse("p", policy).propose(Question("chat", key, context, fleet, HOMES))


def _attributes(**attributes: str) -> Context:
    return Context(attributes=attributes)


TIERS = {"switch": "tier", "cases": {"vip": {"unit": "V"}}, "else": {"unit": "A"}}
KINDS = {"switch": "kind", "cases": {"education": {"unit": "C"}}}


@pytest.mark.parametrize(
    ("policy", "context", "unit"),
    [
        ({"unit": "B"}, NO_CONTEXT, "B"),
        ({"unit": "Z"}, NO_CONTEXT, None),
        ({"home": "user"}, Context(creator="bob"), "C"),
        ({"home": "user"}, Context(creator="zoe"), None),
        ({"home": "user"}, NO_CONTEXT, None),
        ({"home": "team"}, Context(creator="bob"), None),
        ({"nearest": {}}, Context(region="sh"), "B"),
        ({"nearest": {}}, NO_CONTEXT, None),
        ({"nearest": {"tags": ["vip"]}}, Context(region="sh"), "V"),
        ({"weighted": {"units": ["C"]}}, NO_CONTEXT, "C"),
        ({"weighted": {"regions": ["nowhere"]}}, NO_CONTEXT, None),
        (TIERS, _attributes(tier="vip"), "V"),
        (TIERS, _attributes(tier="free"), "A"),
        (TIERS, NO_CONTEXT, "A"),
        (KINDS, _attributes(kind="education"), "C"),
        (KINDS, _attributes(kind="sport"), None),
        ({"first_of": [KINDS, {"home": "user"}, {"unit": "A"}]}, Context(creator="ann"), "B"),
        ({"first_of": [KINDS, {"home": "user"}]}, NO_CONTEXT, None),
        ({"excluding": {"regions": ["sz"]}, "policy": {"unit": "C"}}, NO_CONTEXT, None),
        ({"excluding": {"units": ["C"]}, "policy": {"nearest": {}}}, Context(region="sz"), "V"),
    ],
)
def test_what_each_form_proposes(
    policy: dict[str, Any], context: Context, unit: str | None
) -> None:
    assert _proposed(policy, context) == unit


@pytest.mark.parametrize(
    ("policy", "context"),
    [
        ({"unit": "B"}, NO_CONTEXT),
        ({"home": "user"}, Context(creator="ann")),
        ({"nearest": {"units": ["B"]}}, Context(region="bj")),
        ({"weighted": {"units": ["B"]}}, NO_CONTEXT),
    ],
)
def test_no_form_proposes_a_unit_that_may_be_given_nothing_new(
    policy: dict[str, Any], context: Context
) -> None:
    assert _proposed(policy, context) == "B"
    assert _proposed(policy, context, FLEET.with_drained("B")) is None
    assert _proposed(policy, context, FLEET.with_unhealthy("B")) is None


def test_new_sessions_are_spread_by_capacity() -> None:
    policy = {"excluding": {"tags": ["vip"]}, "policy": EVERYWHERE}
    counts = Counter(_proposed(policy, key=f"cid:{number}") for number in range(2_000))
    assert set(counts) == {*"ABC"}
    assert counts["A"] / 2_000 == pytest.approx(0.5, abs=0.04)


def _nested(levels: int) -> dict[str, Any]:
    policy: dict[str, Any] = {"unit": "A"}
    for _ in range(levels):
        policy = {"first_of": [policy]}
    return policy


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (7, "p = 7: give a policy, one of unit, home"),
        ({}, "give a policy"),
        ({"unit": 7}, "p.unit = 7: give a string"),
        ({"unit": "A", "home": "user"}, "p.home is not a known setting; known here: unit"),
        ({"weighted": {"unit": ["A"]}}, "p.weighted.unit is not a known setting"),
        ({"weighted": {"units": []}}, "p.weighted.units = []: give a list that is not empty"),
        ({"weighted": {"units": [7]}}, "p.weighted.units = 7: give a string"),
        (
            {"first_of": [{"unit": "A"}, {"unti": "B"}]},
            "p.first_of[1] = {'unti': 'B'}: give",
        ),
        ({"switch": "kind"}, "p.cases is missing"),
        ({"switch": "kind", "cases": {"e": 3}}, "p.cases.e = 3: give a policy"),
        ({"switch": "kind", "cases": {"e": {"unit": "A"}}, "else": 3}, "p.else = 3: give a policy"),
        ({"excluding": {}, "policy": {"unit": "A"}}, "p.excluding is empty"),
        ({"excluding": {"units": ["A"]}}, "p.policy is missing"),
        (_nested(DEPTH_MAX), f"nested over {DEPTH_MAX} levels"),
        ({"first_of": [{"unit": "A"}] * PARTS_MAX}, f"at most {PARTS_MAX}"),
    ],
)
def test_a_policy_that_is_malformed_is_refused_by_name(policy: object, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse("p", policy)
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_json("p", json.dumps(policy))


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '"x"', "NaN", '{"unit":"' + "x" * TEXT_BYTES_MAX + '"}']
)
def test_text_that_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_json("p", text)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"first_of": [{"unit": "Z"}]}, "'Z' is no unit; those there are: A, B, C, V"),
        ({"home": "team"}, "home = 'team' is no dimension of layer L1; those there are: user"),
        ({"weighted": {"regions": ["bj", "xx"]}}, "regions names xx, which no unit has"),
        ({"nearest": {"tags": ["big"]}}, "tags names big, which no unit has; those there are: vip"),
        ({"excluding": {"units": ["Z"]}, "policy": EVERYWHERE}, "'Z' is no unit"),
    ],
)
def test_who_sets_a_policy_is_told_of_what_it_names_that_there_is_not(
    policy: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        require_known("p", parse("p", policy), FLEET, HOMES)


_WORDS = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=8)
_NAMES = st.frozensets(_WORDS, max_size=3)
_SELECTIONS = st.builds(Selection, _NAMES, _NAMES, _NAMES)
_LEAVES = st.one_of(
    st.builds(forms.To, _WORDS),
    st.builds(forms.Home, _WORDS),
    st.builds(forms.Weighted, _SELECTIONS),
    st.builds(forms.Nearest, _SELECTIONS),
)


def _compound(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    named = _SELECTIONS.filter(lambda selection: not selection.is_everything)
    return st.one_of(
        st.builds(forms.FirstOf, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(forms.Excluding, named, inner),
        st.builds(
            forms.Switch,
            _WORDS,
            st.dictionaries(_WORDS, inner, min_size=1, max_size=3),
            st.none() | inner,
        ),
    )


@given(st.recursive(_LEAVES, _compound, max_leaves=6))
def test_a_policy_reads_as_it_was_written(policy: Policy) -> None:
    assert parse_json("p", to_json(policy)) == policy
    assert parse("p", to_plain(policy)) == policy
