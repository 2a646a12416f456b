"""Geos: which regions may hold the rows of which tables.

A *geo* is some of the regions, and the tables that are kept to them. It has groups of its own, all
of whose replicas stand in its regions, and which share all slots of its tables among themselves.
Tables of no geo are in the default one, whose name is empty and which is everywhere; so is what the
cluster keeps about itself.

Invariants, checked where they are made: a geo names regions and tables, each once, and no two geos
(`require_apart`) have a table in common. A table's geo is a function of its name, and never changes
while a cluster lives (`topology_change` has no such change): no row can be left behind elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from globaltable.errors import ConfigError, InvalidArgument
from globaltable.model import SYSTEM_TABLE
from globaltable.validation import require_table

ANY_ENDING: Final = "*"
"""Behind a beginning: every table whose name begins so, also one that is yet to come."""


@dataclass(frozen=True, slots=True)
class Geo:
    """A geo: where it may be, and what is in it."""

    name: str
    regions: tuple[str, ...]
    """Where its replicas may stand. A region may be without nodes for a while."""
    tables: tuple[str, ...]
    """Names; or beginnings of names, each with a `*` behind it."""

    def __post_init__(self) -> None:
        if not (self.name or self.regions or self.tables):
            return
        for what, values in (("regions", self.regions), ("tables", self.tables)):
            if not values or len(set(values)) != len(values):
                raise ConfigError(
                    f"geo {self.name!r} has {what} {list(values)}: name some, and each once"
                )
        for table in self.tables:
            try:
                require_table(table.removesuffix(ANY_ENDING))
            except InvalidArgument as error:
                raise ConfigError(f"geo {self.name!r}: {error}") from error

    def allows(self, region: str) -> bool:
        """Whether a replica of it may stand in a region."""
        return not self.regions or region in self.regions

    def has(self, table: str) -> bool:
        """Whether a table is kept to it."""
        return table != SYSTEM_TABLE and any(_covers(named, table) for named in self.tables)


EVERYWHERE: Final = Geo("", (), ())
"""The default geo: of what no other has."""


def _covers(named: str, table: str) -> bool:
    if named.endswith(ANY_ENDING):
        return table.startswith(named.removesuffix(ANY_ENDING))
    return table == named


def require_apart(geos: Sequence[Geo]) -> None:
    """Raises `ConfigError` if two have a name, or a table that there is or may be, in common."""
    for one, other in combinations(geos, 2):
        if one.name == other.name:
            raise ConfigError(f"there are two geos named {one.name!r}")
        for a in one.tables:
            for b in other.tables:
                # One of two beginnings that share a name is the beginning of the other.
                if _covers(a, b.removesuffix(ANY_ENDING)) or _covers(b, a.removesuffix(ANY_ENDING)):
                    raise ConfigError(
                        f"table {a!r} of geo {one.name} and {b!r} of geo {other.name} share names; "
                        "a table is in one geo"
                    )


def geo_of(geos: Sequence[Geo], table: str) -> Geo:
    """The geo that a table is in."""
    return next((geo for geo in geos if geo.has(table)), EVERYWHERE)
