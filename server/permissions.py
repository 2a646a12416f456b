"""What a client may do: the permissions of the configuration, by client, table and right. Pure.

Invariant: nothing is permitted but what a permission names.
"""

from collections.abc import Iterable
from typing import Final

from globaltable.server.security import ALL_TABLES, EVERYBODY, Permission, Right

ON_TABLES: Final = frozenset(Right) - {Right.ADMIN}


class Grant:
    """All that one client is permitted."""

    __slots__ = ("_by_table", "_everywhere", "is_admin")

    def __init__(self, permissions: Iterable[Permission]) -> None:
        self.is_admin = False
        self._everywhere: frozenset[Right] = frozenset()
        self._by_table: dict[str, frozenset[Right]] = {}
        for permission in permissions:
            self.is_admin |= Right.ADMIN in permission.rights
            rights = permission.rights & ON_TABLES
            for table in permission.tables:
                if table == ALL_TABLES:
                    self._everywhere |= rights
                else:
                    self._by_table[table] = self._by_table.get(table, frozenset()) | rights

    @property
    def is_empty(self) -> bool:
        return not (self.is_admin or self._everywhere or any(self._by_table.values()))

    def may(self, right: Right, table: str) -> bool:
        """Whether it may do this to a table. `Right.ADMIN` is asked for by `is_admin`."""
        assert right is not Right.ADMIN, "it knows no tables"
        return right in self._everywhere or right in self._by_table.get(table, ())


class Permissions:
    """Those of a cluster."""

    def __init__(self, permissions: Iterable[Permission]) -> None:
        self._permissions = tuple(permissions)

    def of(self, client: str) -> Grant:
        return Grant(one for one in self._permissions if {client, EVERYBODY} & {*one.clients})
