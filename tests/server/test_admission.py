"""Of a request those ops are begun that their caller may ask for; each other is told why."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from globaltable.model import Binding, Outcome, OutcomeStatus
from globaltable.server.admission import Admitted, admit
from globaltable.server.audit import AuditLog
from globaltable.server.callers import Caller
from globaltable.server.identities import Identity, Kind
from globaltable.server.ops import OpColumns
from globaltable.server.permissions import Permissions
from globaltable.server.security import Allowance, AuditFiles, Permission, Right
from globaltable.v1 import globaltable_pb2 as pb

BIND, MOVE, UNBIND = pb.OP_KIND_BIND, pb.OP_KIND_MOVE, pb.OP_KIND_UNBIND
DENIED, OVERLOADED = OutcomeStatus.PERMISSION_DENIED, OutcomeStatus.OVERLOADED


class Log(AuditLog):
    """Keeps what it is told."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, AuditFiles(), "a", time.monotonic)
        super().close()
        self.entries: list[tuple[str, str, str, dict[str, Any]]] = []
        self.why_not = ""

    @property
    def refusal(self) -> str:
        return self.why_not

    def note(self, who: str, act: str, outcome: str, details: Any) -> None:
        self.entries.append((who, act, outcome, dict(details)))


class Desk:
    """One client's requests, and what it is told."""

    def __init__(self, directory: Path, *rights: Right, **allowance: Any) -> None:
        self.log = Log(directory)
        grant = Permissions([Permission(("web",), frozenset(rights), ("t",))]).of("web")
        identity = Identity("im", Kind.CLIENT, "web")
        self.caller = Caller(identity, grant, Allowance(**allowance), self.log, 0.0)
        self.outcomes: dict[int, Outcome] = {}

    def _told(self, positions: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        for place, outcome in zip(positions, outcomes, strict=True):
            assert place not in self.outcomes, "each is told of once"
            self.outcomes[place] = outcome

    def ask(self, *kinds: int, table: str = "t", now_s: float = 0.0) -> Admitted:
        self.outcomes.clear()
        count = len(kinds)
        keys = [f"k{place}" for place in range(count)]
        columns = OpColumns(table, 7, kinds, keys, ["A"] * count, [3] * count, range(count))
        return admit(self.caller, columns, self._told, now_s)

    @property
    def statuses(self) -> dict[int, OutcomeStatus]:
        return {place: outcome.status for place, outcome in self.outcomes.items()}


def test_what_it_has_the_right_to_is_left_as_it_is(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Right.BIND)
    admitted = desk.ask(BIND, BIND)
    assert admitted.columns.keys == ["k0", "k1"] and desk.outcomes == {}
    assert desk.log.entries == [], "binds are not audited"


@pytest.mark.parametrize(
    ("rights", "kinds", "left", "denied"),
    [
        ((Right.BIND,), (BIND, MOVE, BIND, UNBIND), ["k0", "k2"], {1, 3}),
        ((Right.MOVE,), (BIND, MOVE, UNBIND), ["k1", "k2"], {0}),
        ((Right.READ,), (BIND, MOVE), [], {0, 1}),
        ((Right.BIND,), (BIND, 0, 99), ["k0", "k1", "k2"], set()),
    ],
    ids=["no move", "no bind", "read only", "no kind is refused for what it is"],
)
def test_the_others_are_told_and_spoil_none(
    tmp_path: Path, rights: tuple[Right, ...], kinds: tuple[int, ...], left: list[str], denied: Any
) -> None:
    desk = Desk(tmp_path, *rights)
    admitted = desk.ask(*kinds)
    assert list(admitted.columns.keys) == left
    assert desk.statuses == dict.fromkeys(denied, DENIED)
    if left:
        count = admitted.columns.ops
        done = Outcome(OutcomeStatus.APPLIED)
        admitted.told(range(count), [done] * count)
    assert desk.outcomes.keys() == set(range(len(kinds)))


def test_another_table_is_denied_and_named(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Right.BIND)
    assert desk.ask(BIND, table="u").columns.ops == 0
    assert desk.outcomes[0].detail == "client web has no right to bind in table 'u'"
    assert desk.log.entries == [
        ("client web", "bind", "PERMISSION_DENIED", {"table": "u", "ops": 1})
    ]


def test_moves_and_unbinds_are_noted_with_what_they_came_to(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Right.BIND, Right.MOVE)
    admitted = desk.ask(BIND, MOVE, UNBIND)
    conflict = Outcome(OutcomeStatus.VERSION_CONFLICT, Binding("B", 5, 90))
    admitted.told([2, 1], [conflict, Outcome(OutcomeStatus.APPLIED, Binding("A", 4, 91))])
    admitted.told([0], [Outcome(OutcomeStatus.APPLIED, Binding("A", 1, 92, True))])
    now = {"unit": "B", "version": 5, "revision": 90}
    moved = {"unit": "A", "version": 4, "revision": 91}
    key = {"table": "t", "to": "A", "version": 3}
    assert desk.log.entries == [
        ("client web", "unbind", "VERSION_CONFLICT", {**key, "key": "k2", "now": now}),
        ("client web", "move", "APPLIED", {**key, "key": "k1", "now": moved}),
    ]


def test_while_the_audit_log_cannot_be_written_nothing_is_moved_but_all_is_bound(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path, Right.BIND, Right.MOVE)
    desk.log.why_not = "the disk is full"
    admitted = desk.ask(BIND, MOVE, UNBIND)
    assert list(admitted.columns.keys) == ["k0"]
    assert desk.statuses == {1: OVERLOADED, 2: OVERLOADED}
    assert desk.outcomes[1].detail == "the disk is full" and admitted.retry_delay_s > 0


def test_over_its_rate_it_is_told_when_to_ask_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Right.BIND, ops_per_s=10.0, burst_ops=4)
    assert desk.ask(*[BIND] * 4).columns.ops == 4
    admitted = desk.ask(BIND, BIND)
    assert admitted.columns.ops == 0 and desk.statuses == {0: OVERLOADED, 1: OVERLOADED}
    assert admitted.retry_delay_s == pytest.approx(0.2)
    assert "over the 10 ops a second" in desk.outcomes[0].detail
    assert desk.ask(BIND, BIND, now_s=0.21).columns.ops == 2
