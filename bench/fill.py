"""A cluster that holds N sessions before its nodes start, and that nobody had to bind one by one.

Rows are written through the product's own encodings and stores: what a node finds is what it would
have, had the same sessions been bound one by one, in batches of `BATCH_OPS` for each group. The
last ops of each group are applied by its `Table`, for they are what the history keeps; rows older
than that are written directly. All replicas of a group are the same, so the table is made once and
copied to the other nodes; the log of each holds one entry, where the table ends.

Invariants: session `i` has the same key, unit and row in every fill of a cluster; an empty
directory is filled, or none (`ConfigError`).
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from globaltable.errors import ConfigError
from globaltable.history import HISTORY_OPS_MAX
from globaltable.model import Batch, Op, OpKind, OutcomeStatus, qualified_name
from globaltable.raft.journal import NO_OP
from globaltable.row_keys import row_key
from globaltable.server.config import Config
from globaltable.store import identity
from globaltable.store.lmdb_log import LmdbLogStore
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.store.log import Entry, HardState, LogWrite
from globaltable.store.table import ROOT_STATE
from globaltable.table import Table
from globaltable.table_state import Flush, TableState
from globaltable.topology import Topology
from globaltable.wire.rows import Row, encode_row

BATCH_OPS: Final = 32
"""Ops in each log entry that is passed over."""

TAIL_OPS: Final = HISTORY_OPS_MAX + 2 * BATCH_OPS
"""Of each group, applied by its table: more than the history keeps, so that it is whole."""

_FLUSH_ROWS: Final = 400_000
_TERM: Final = 1
_CLIENT_ID: Final = 0x66696C6C
_UNITS: Final = ("A", "B", "C", "D")
_SCATTER: Final = 0x9E37_79B9_7F4A_7C15
"""Odd, so that no two sessions share a key; large, so that neighbours are far apart."""


def filled_key(number: int) -> str:
    """The key of a session; neighbours stand nowhere near each other on the disk."""
    return f"{number * _SCATTER & 2**64 - 1:016x}"


def filled_unit(number: int) -> str:
    return _UNITS[number % len(_UNITS)]


def fill(config: Config, sessions: int, table: str | None = None, tail_ops: int = TAIL_OPS) -> None:
    """Write the data directories of all nodes of a cluster, none of which has been started."""
    table = table if table is not None else config.tables[0]
    for node in config.nodes:
        if node.data_dir.exists() and any(node.data_dir.iterdir()):
            raise ConfigError(f"{node.data_dir} is not empty; fill a new cluster")
    topology = config.topology()
    numbers = _numbers_by_group(topology, table, sessions)
    first, *others = config.nodes
    held = _claim(config, first.name, first.data_dir)
    try:
        states = _fill_table(topology, table, numbers, first.data_dir / "table", tail_ops)
        _begin_logs(states, first.data_dir / "log")
    finally:
        os.close(held)
    for other in others:
        held = _claim(config, other.name, other.data_dir)
        try:
            for name in ("table", "log"):
                (other.data_dir / name).mkdir()
                target = other.data_dir / name / "data.mdb"
                shutil.copyfile(first.data_dir / name / "data.mdb", target)
                with target.open("rb+") as file:
                    os.fsync(file.fileno())
        finally:
            os.close(held)


def _claim(config: Config, node: str, directory: Path) -> int:
    return identity.claim(
        directory, cluster=config.fence, node=node, groups=config.groups_in_all, slots=config.slots
    )


def _numbers_by_group(topology: Topology, table: str, sessions: int) -> list[Sequence[int]]:
    """Which sessions each group holds, in the order in which they were bound."""
    if len(topology.groups) == 1:
        return [range(sessions)]
    numbers: list[list[int]] = [[] for _ in topology.groups]
    group_of = topology.group_of
    for number in range(sessions):
        numbers[group_of(qualified_name(table, filled_key(number)))].append(number)
    return list(numbers)


def _fill_table(
    topology: Topology,
    table: str,
    numbers: list[Sequence[int]],
    directory: Path,
    tail_ops: int,
) -> list[TableState]:
    states = []
    with closing(LmdbTableStore(directory)) as store:
        bulks = [max(0, len(own) - tail_ops) // BATCH_OPS * BATCH_OPS for own in numbers]
        # Some of every group at a time, as in life, so that pages are split as they are in life.
        share = max(BATCH_OPS, _FLUSH_ROWS // len(numbers) // BATCH_OPS * BATCH_OPS)
        for start in range(0, max(bulks, default=0), share):
            flushes = []
            for group, own in enumerate(numbers):
                end = min(start + share, bulks[group])
                if start < end:
                    flushes.append((group, _bulk(topology.slots, table, own, start, end)))
            store.flush(flushes)
            store.refresh()
        for group, own in enumerate(numbers):
            store.refresh()
            image = store.image(group)
            machine = Table(topology.slots, store.rows(group), image.state, image.history)
            for revision, batch in _batches(table, own, bulks[group]):
                applied = machine.apply(revision, _TERM, batch)
                assert all(one.status is OutcomeStatus.APPLIED for one in applied.outcomes)
            flush = machine.begin_flush()
            if flush is not None:
                store.flush([(group, flush)])
            states.append(flush.state if flush is not None else image.state)
    return states


def _revision(position: int) -> int:
    """Of the op at a position among its group's."""
    return ROOT_STATE.applied + 1 + position // BATCH_OPS


def _bulk(slots: int, table: str, own: Sequence[int], start: int, end: int) -> Flush:
    rows = {}
    for position in range(start, end):
        number = own[position]
        row = Row(filled_unit(number), 1, _revision(position), _CLIENT_ID, number)
        rows[row_key(qualified_name(table, filled_key(number)), slots)] = encode_row(row)
    last = _revision(end - 1)
    # Of a history that begins behind these, nothing is kept.
    return Flush(rows, [], TableState(last, _TERM, last))


def _batches(table: str, own: Sequence[int], start: int) -> Iterator[tuple[int, Batch]]:
    for first in range(start, len(own), BATCH_OPS):
        revision = _revision(first)
        ops = tuple(
            Op(
                OpKind.BIND,
                qualified_name(table, filled_key(number)),
                filled_unit(number),
                0,
                _CLIENT_ID,
                number,
            )
            for number in own[first : first + BATCH_OPS]
        )
        yield revision, Batch(revision.to_bytes(16, "big"), revision - 1, ops)


def _begin_logs(states: list[TableState], directory: Path) -> None:
    """Each log as it is once everything has been flushed, and cut."""
    writes = [
        LogWrite(
            group,
            None,
            None,
            (Entry(NO_OP, state.applied, state.applied_term),),
            HardState(max(_TERM, state.applied_term), None),
        )
        for group, state in enumerate(states)
    ]
    log = LmdbLogStore(directory)
    try:
        log.commit(writes)
    finally:
        log.close()
