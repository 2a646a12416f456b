"""Nothing is permitted but what a permission names."""

import pytest

from globaltable.server.permissions import Permissions
from globaltable.server.security import Permission, Right

R, B, M, A = Right.READ, Right.BIND, Right.MOVE, Right.ADMIN


def _of(client: str, *permissions: Permission) -> set[tuple[str, Right]]:
    grant = Permissions(permissions).of(client)
    return {(t, right) for t in ("t", "u", "new") for right in (R, B, M) if grant.may(right, t)}


@pytest.mark.parametrize(
    ("permissions", "may"),
    [
        ([], set()),
        ([Permission(("other",), frozenset((R, B, M, A)), ("*",))], set()),
        ([Permission(("web",), frozenset((R,)), ("t",))], {("t", R)}),
        (
            [
                Permission(("web",), frozenset((R,)), ("t",)),
                Permission(("*",), frozenset((B,)), ("u",)),
                Permission(("app", "web"), frozenset((M,)), ("t", "u")),
            ],
            {("t", R), ("u", B), ("t", M), ("u", M)},
        ),
        ([Permission(("web",), frozenset((B,)), ("*",))], {("t", B), ("u", B), ("new", B)}),
        ([Permission(("web",), frozenset((A,)))], set()),
    ],
    ids=["none", "another's", "one", "several add up", "all tables", "admin reads nothing"],
)
def test_what_is_named_and_nothing_else(
    permissions: list[Permission], may: set[tuple[str, Right]]
) -> None:
    assert _of("web", *permissions) == may


@pytest.mark.parametrize(
    ("rights", "tables", "is_admin", "is_empty"),
    [((A,), (), True, False), ((R, A), ("t",), True, False), ((R,), ("t",), False, False)],
)
def test_admin_is_of_the_cluster(
    rights: tuple[Right, ...], tables: tuple[str, ...], is_admin: bool, is_empty: bool
) -> None:
    grant = Permissions([Permission(("web",), frozenset(rights), tables)]).of("web")
    assert (grant.is_admin, grant.is_empty) == (is_admin, is_empty)


def test_who_is_not_named_has_nothing() -> None:
    assert Permissions([Permission(("web",), frozenset((R,)), ("t",))]).of("webb").is_empty
