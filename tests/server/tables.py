"""Real tables without consensus: what a node's replicas hold, applied by hand."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from globaltable.deal import EVERYTHING, NOTHING, Deal
from globaltable.errors import NoQuorum
from globaltable.group import Changed, Replica
from globaltable.model import Batch, Op, OpKind, Outcome, qualified_name
from globaltable.server.watches import Watches
from globaltable.slot_steps import Step
from globaltable.store.table import ROOT_STATE
from globaltable.table import Table
from globaltable.table_state import TableState
from globaltable.topology import SLOTS_DEFAULT

TABLE = "im.session"


class _NoRows:
    """A disk on which nothing has been flushed."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(())


class _Held(NamedTuple):
    """As much of a replica as `Watches` asks for."""

    table: Table


class Tables:
    """The tables of some groups, and the watches of their node."""

    def __init__(self, groups: int = 1, *, dealt: bool = True) -> None:
        """Each group holds all slots, for no caller asks two of them; or, if slots were `dealt` to
        the first one only, that does."""
        deals = [EVERYTHING if dealt or not group else NOTHING for group in range(groups)]
        self.by_group = {group: _empty(ROOT_STATE, deal) for group, deal in enumerate(deals)}
        self.out_of_service: set[int] = set()
        self.watches = Watches(self._replica)
        self._batches = 0

    def _replica(self, group: int) -> Replica:
        if group in self.out_of_service:
            raise NoQuorum(f"group {group} is being joined")
        return cast(Replica, _Held(self.by_group[group]))

    def apply(self, ops: Sequence[Op], group: int = 0) -> list[Outcome]:
        """One batch: applied, and told to the watchers."""
        return self.apply_batch(self.batch(ops, group), group)

    def batch(self, ops: Sequence[Op], group: int, step: Step | None = None) -> Batch:
        """One that is made now."""
        self._batches += 1
        as_of = self.by_group[group].applied
        return Batch(self._batches.to_bytes(16, "big"), as_of, tuple(ops), step)

    def apply_batch(self, batch: Batch, group: int) -> list[Outcome]:
        table = self.by_group[group]
        applied = table.apply(table.applied + 1, 1, batch)
        if batch.step is not None:
            self.watches.moved(group, [batch.step.slot])
        self.watches.publish(group, Changed(applied.revision, applied.rows))
        return applied.outcomes

    def bind(self, *keys: str, group: int = 0, table: str = TABLE) -> int:
        """One batch that binds the keys; its revision."""
        first = (self._batches + 1) * 10_000
        self.apply(
            [
                Op(OpKind.BIND, qualified_name(table, key), "A", 0, 1, first + number)
                for number, key in enumerate(keys)
            ],
            group,
        )
        return self.by_group[group].applied

    def install_snapshot(self, applied: int, group: int = 0) -> None:
        """Put a table in its place that holds nothing of what came before."""
        self.by_group[group] = _empty(TableState(applied, 1, applied))
        self.watches.jumped(group)


def _empty(state: TableState, deal: Deal = EVERYTHING) -> Table:
    return Table(SLOTS_DEFAULT, _NoRows(), state, [], deal)
