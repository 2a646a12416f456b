"""`globaltable top`: rates are of the time between two looks, and what is not well is seen."""

import pytest
from rich.console import Console

from globaltable.cli.sheets import Look, ills_of
from globaltable.cli.top import view
from globaltable.client.values import GroupStatus, PeerStatus, Role, Status, Work
from globaltable.pace import pace, quantile

BOUNDS = (0.01, 0.02, 0.04)


@pytest.mark.parametrize(
    ("share", "counts", "seconds"),
    [
        (0.5, [0, 0, 0, 0], None),
        (0.5, [10, 0, 0, 0], 0.005),
        (0.5, [0, 10, 0, 0], 0.015),
        (0.99, [0, 0, 100, 0], 0.0398),
        (0.5, [1, 1, 0, 0], 0.01),
        (0.99, [1, 0, 0, 9], 0.04),
        (1.0, [0, 4, 0, 0], 0.02),
    ],
)
def test_a_quantile_lies_between_the_bounds_of_its_bucket(
    share: float, counts: list[int], seconds: float | None
) -> None:
    assert quantile(share, BOUNDS, counts) == pytest.approx(seconds)


def _group(number: int, role: Role, *, applied: int = 10, not_ready: str = "") -> GroupStatus:
    return GroupStatus(
        number, role, 3, "a", "a", 10, applied, 1, 10, False, "", "", 16, not_ready, 2
    )


def _status(
    node: str, *groups: GroupStatus, uptime_s: float = 10.0, work: Work | None = None
) -> Status:
    peers = (PeerStatus("b", "b", True, 0.0123), PeerStatus("c", "c", False, 0.0))
    return Status("im", node, node, "1", uptime_s, ("t",), groups, peers, 16, work or Work())


def _work(ops: int, counts: tuple[int, ...], *, failed: int = 0) -> Work:
    return Work(ops, ops, 0, failed, 0, BOUNDS, counts)


def test_the_pace_is_what_has_been_done_between_two_looks() -> None:
    before = _status("a", uptime_s=10.0, work=_work(1_000, (0, 100, 0, 0)))
    now = _status("a", uptime_s=12.0, work=_work(1_500, (10, 100, 0, 0)))
    found = pace(before, now)
    assert found is not None
    assert found.ops == 250.0
    assert found.commit_p50_s == pytest.approx(0.005), "what was before does not count"


@pytest.mark.parametrize("uptime_s", [1.0, 10.0])
def test_of_a_node_that_was_started_between_there_is_none(uptime_s: float) -> None:
    before = _status("a", uptime_s=10.0, work=_work(1_000, (0, 100, 0, 0)))
    assert pace(before, _status("a", uptime_s=uptime_s, work=_work(3, (1, 0, 0, 0)))) is None


def _text(before: Look, now: Look, groups_max: int | None = None) -> str:
    console = Console(width=160, color_system=None)
    with console.capture() as capture:
        console.print(view(before, now, ["a:1", "b:1", "c:1"], groups_max))
    return capture.get()


LOOK = Look(
    {
        "a:1": _status("a", _group(0, Role.LEADER), _group(1, Role.FOLLOWER)),
        "b:1": _status(
            "b",
            _group(0, Role.FOLLOWER, applied=7),
            _group(1, Role.FOLLOWER, not_ready="no leader is heard from"),
        ),
    },
    {"c:1": "it is away"},
)


def test_what_is_not_well_is_named_and_comes_first() -> None:
    assert ills_of(LOOK) == {
        0: "",
        1: "nobody leads it, of those who answer; b: no leader is heard from",
    }
    text = _text(LOOK, LOOK, 1)
    assert "2 of 3 nodes answer" in text
    assert "1 of 2 groups are well" in text
    assert "c:1: it is away" in text
    assert "no leader is heard from" in text
    assert "1 more, of which 0 are not well" in text
    assert "b 12.3 ms, c down" in text


def test_lag_is_told_of_who_has_applied_less_than_others_have_committed() -> None:
    (line,) = [line for line in _text(LOOK, LOOK).splitlines() if line.startswith("0 ")]
    assert "b 3" in line
    assert " 4 " in line, "ops that wait, at all nodes together"


def test_nobody_answering_is_shown_as_well() -> None:
    nobody = Look({}, {"a:1": "away"})
    assert "nobody answers" in _text(nobody, nobody)
