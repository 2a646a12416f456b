"""What a client hands out is read whole from the wire, and what cannot be true is refused."""

import pytest

from globaltable.client.values import (
    Change,
    ChangeKind,
    GroupStatus,
    PeerStatus,
    Role,
    Status,
    Work,
    read_binding,
    read_change,
    read_status,
)
from globaltable.errors import ProtocolError
from globaltable.model import Binding
from globaltable.v1 import globaltable_pb2 as pb


class TestNumbers:
    """The names are the client's, the numbers are the wire's."""

    def test_kinds_of_change(self) -> None:
        assert {f"CHANGE_KIND_{kind.name}": int(kind) for kind in ChangeKind} == {
            name: number for name, number in pb.ChangeKind.items() if number
        }

    def test_roles(self) -> None:
        assert {f"ROLE_{role.name}": int(role) for role in Role} == dict(pb.Role.items())


class TestBinding:
    @pytest.mark.parametrize("created", [False, True])
    def test_it_is_read_whole(self, created: bool) -> None:
        message = pb.Binding(unit="A", version=2**63 - 1, revision=2**40)
        assert read_binding(message, created) == Binding("A", 2**63 - 1, 2**40, created)

    @pytest.mark.parametrize(
        ("message", "words"),
        [
            (pb.Binding(), "unit '' at version 0"),
            (pb.Binding(version=3), "unit '' at version 3"),
            (pb.Binding(unit="A"), "unit 'A' at version 0"),
        ],
    )
    def test_one_to_no_unit_or_without_a_version_is_none(
        self, message: pb.Binding, words: str
    ) -> None:
        with pytest.raises(ProtocolError, match=words):
            read_binding(message)


class TestChange:
    @pytest.mark.parametrize("kind", ChangeKind)
    def test_it_is_read_whole(self, kind: ChangeKind) -> None:
        name = f"CHANGE_KIND_{kind.name}"
        message = pb.Change(kind=name, key="cid:λ", unit="A", version=3, revision=2**40, group=7)
        change = read_change(message)
        assert change == Change(kind, "cid:λ", "A", 3, 2**40, 7)
        assert change.kind is kind

    @pytest.mark.parametrize("kind", [0, 4, 99])
    def test_one_of_no_known_kind_is_refused(self, kind: int) -> None:
        with pytest.raises(ProtocolError, match=f"unknown kind {kind}"):
            read_change(pb.Change(kind=kind, key="k"))  # type: ignore[arg-type]


class TestStatus:
    WHOLE = pb.StatusResponse(
        cluster="im",
        node="a-1",
        region="a",
        version="0.1.0",
        uptime_s=12.5,
        tables=["im.session", "im.doc"],
        groups=[
            pb.GroupStatus(
                group=3,
                role=pb.ROLE_LEADER,
                term=9,
                leader_region="a",
                preferred_region="b",
                commit_revision=100,
                applied_revision=99,
                first_log_index=10,
                last_log_index=101,
                failed=True,
                failure="the disk is full",
                rebuilding="waits for an answer of b",
                not_ready="it is being rebuilt",
                pending_ops=7,
            )
        ],
        peers=[pb.PeerStatus(node="b-1", region="b", connected=True, round_trip_s=0.03)],
        slots=4096,
        work=pb.WorkStatus(
            ops=9,
            applied=5,
            overloaded=1,
            failed=2,
            keys_read=4,
            commit_bounds_s=[0.01, 0.02],
            commit_counts=[1, 2, 3],
        ),
    )

    def test_it_is_read_whole(self) -> None:
        assert read_status(self.WHOLE) == Status(
            cluster="im",
            node="a-1",
            region="a",
            version="0.1.0",
            uptime_s=12.5,
            tables=("im.session", "im.doc"),
            groups=(
                GroupStatus(
                    group=3,
                    role=Role.LEADER,
                    term=9,
                    leader_region="a",
                    preferred_region="b",
                    commit_revision=100,
                    applied_revision=99,
                    first_log_index=10,
                    last_log_index=101,
                    failed=True,
                    failure="the disk is full",
                    rebuilding="waits for an answer of b",
                    not_ready="it is being rebuilt",
                    pending_ops=7,
                ),
            ),
            peers=(PeerStatus("b-1", "b", True, 0.03),),
            slots=4096,
            work=Work(9, 5, 1, 2, 4, (0.01, 0.02), (1, 2, 3)),
        )

    @pytest.mark.parametrize(
        ("bounds", "counts"), [([0.1], [1]), ([], [1]), ([2.0, 1.0], [0, 0, 0])]
    )
    def test_counts_that_are_not_of_their_bounds_are_refused(
        self, bounds: list[float], counts: list[int]
    ) -> None:
        work = pb.WorkStatus(commit_bounds_s=bounds, commit_counts=counts)
        with pytest.raises(ProtocolError):
            read_status(pb.StatusResponse(work=work))

    def test_every_field_of_the_wire_has_its_place(self) -> None:
        """One added to the service and forgotten here would be lost without a word."""
        for message, value in (
            (pb.StatusResponse, Status),
            (pb.GroupStatus, GroupStatus),
            (pb.PeerStatus, PeerStatus),
            (pb.WorkStatus, Work),
            (pb.Change, Change),
        ):
            assert set(value._fields) == {field.name for field in message.DESCRIPTOR.fields}

    def test_a_role_of_the_future_is_unspecified_and_no_error(self) -> None:
        """A newer node's status is still worth showing."""
        message = pb.StatusResponse(groups=[pb.GroupStatus(role=9)])  # type: ignore[arg-type]
        assert read_status(message).groups[0].role is Role.UNSPECIFIED

    def test_a_node_that_says_nothing_is_a_status_of_nothing(self) -> None:
        assert read_status(pb.StatusResponse()) == Status("", "", "", "", 0.0, (), (), (), 0)


def test_values_show_what_they_are() -> None:
    change = Change(ChangeKind.MOVED, "k", "B", 2, 70, 0)
    assert repr(change) == (
        "Change(kind=<ChangeKind.MOVED: 2>, key='k', unit='B', version=2, revision=70, group=0)"
    )
    assert hash(change) == hash(Change(ChangeKind.MOVED, "k", "B", 2, 70, 0))
