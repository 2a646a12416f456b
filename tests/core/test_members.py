"""Which step leads from what the members are to what they are to be, from wherever they stand."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.errors import ConfigError, ProtocolError
from globaltable.members import Members, Standing, leader_must_go, next_step
from globaltable.wire.members import decode_members, encode_members
from globaltable.wire.packing import pack

NAMES = ("a", "b", "c", "d", "e", "f", "g")


def _members(voters: str, learners: str = "") -> Members:
    return Members(tuple(voters), tuple(learners))


def _up(members: Members, leader: str, down: str = "") -> Standing:
    up = [name for name in members.names if name not in down]
    return Standing(leader, up, [name for name in members.learners if name in up])


def _path(present: Members, wanted: Members, leader: str, down: str = "") -> list[str]:
    """All steps, the leader's own removal included, as the successor takes it."""
    path = []
    while present != wanted:
        step = next_step(present, wanted, _up(present, leader, down))
        if step is None:
            assert leader_must_go(present, wanted, leader), (present, wanted, leader)
            leader = next(n for n in wanted.voters if n in present.voters and n not in down)
            path.append(f"to {leader}")
            continue
        assert not present.why_not(step)
        assert leader in step.voters
        present = step
        path.append(f"{''.join(present.voters)}+{''.join(present.learners)}")
        assert len(path) < 40, path
    return path


class TestAStep:
    def test_grows_by_learners_that_are_given_the_vote_one_by_one(self) -> None:
        path = _path(_members("abc"), _members("abcde"), "a")
        assert path == ["abc+de", "abcd+e", "abcde+"]

    def test_shrinks_one_by_one(self) -> None:
        assert _path(_members("abcde"), _members("abc"), "a") == ["abce+", "abc+"]

    def test_replaces_by_adding_before_removing(self) -> None:
        path = _path(_members("abc"), _members("abd"), "a")
        assert path == ["abc+d", "abcd+", "abd+"]

    def test_replaces_who_is_down(self) -> None:
        path = _path(_members("abc"), _members("abd"), "a", down="c")
        assert path == ["abc+d", "abcd+", "abd+"]

    def test_the_leader_goes_last_and_by_anothers_hand(self) -> None:
        path = _path(_members("abc"), _members("bcd"), "a")
        assert path == ["abc+d", "abcd+", "to b", "bcd+"]

    def test_of_those_to_go_who_is_down_goes_first(self) -> None:
        step = next_step(_members("abcde"), _members("abc"), _up(_members("abcde"), "a", down="e"))
        assert step == _members("abcd")

    def test_a_voter_may_become_a_learner(self) -> None:
        path = _path(_members("abcd"), _members("abc", "d"), "a")
        assert path == ["abc+d"]

    def test_no_vote_for_who_is_not_ready(self) -> None:
        present = _members("abc", "d")
        standing = Standing("a", "abcd", ())
        assert next_step(present, _members("abcd"), standing) is None

    def test_none_whose_majority_is_not_up(self) -> None:
        present = _members("abc", "d")
        assert next_step(present, _members("abcd"), Standing("a", "ad", "d")) is None
        assert next_step(_members("abcd"), _members("abd"), Standing("a", "ac", "")) is None

    def test_what_is_undone_amid_it_leads_back(self) -> None:
        assert _path(_members("abcd", "e"), _members("abc"), "a") == ["abc+e", "abc+"]


@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True),
    st.sampled_from([c for n in (1, 3, 5) for c in combinations(NAMES, n)]),
    st.lists(st.sampled_from(NAMES), max_size=3, unique=True),
    st.lists(st.sampled_from(NAMES), max_size=3, unique=True),
)
def test_from_any_members_steps_lead_to_any_others(
    voters: list[str], wanted_voters: tuple[str, ...], had: list[str], learn: list[str]
) -> None:
    present = Members(tuple(voters), tuple(n for n in had if n not in voters))
    wanted = Members(wanted_voters, tuple(n for n in learn if n not in wanted_voters))
    for leader in present.voters:
        path = _path(present, wanted, leader)
        least = min(len(present.voters), len(wanted.voters))
        sizes = [len(step.split("+")[0]) for step in path if not step.startswith("to ")]
        assert min([least, *sizes]) == least, "fewer voters than needed on the way"


@pytest.mark.parametrize(
    ("voters", "learners"), [("", "a"), ("aa", ""), ("ab", "b"), ((" " * 256,), ""), (("",), "")]
)
def test_what_are_no_members_is_refused(voters: str | tuple[str], learners: str) -> None:
    with pytest.raises(ConfigError):
        Members(tuple(voters), tuple(learners))
    with pytest.raises(ProtocolError):
        decode_members(pack([list(voters), list(learners)]))


@pytest.mark.parametrize("value", [7, [], [["a"]], [["a"], [1]], ["a", []], [["a"], [], []]])
def test_what_does_not_decode_is_refused(value: object) -> None:
    with pytest.raises(ProtocolError):
        decode_members(pack(value))


def test_they_are_the_same_in_any_order_and_come_back_as_they_were() -> None:
    assert _members("abc", "de") == _members("cba", "ed")
    assert len({_members("abc"), _members("cab")}) == 1
    assert decode_members(encode_members(_members("cab", "d"))) == _members("abc", "d")
    assert _members("abc") != _members("ab", "c")
