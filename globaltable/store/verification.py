"""Whether everything a stopped node has stored is what was written: every record is read.

Invariants: nothing is changed, but that a directory which was never used is laid out; a damage
found is reported, and the rest is verified all the same.
"""

from pathlib import Path
from typing import Final, NamedTuple

from globaltable.errors import Corrupt, StorageError
from globaltable.history import History
from globaltable.store.lmdb_log import LmdbLogStore
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.store.log import LogImage, LogStore
from globaltable.store.table import ROOT_STATE, TableStore
from globaltable.table_state import TableState
from globaltable.wire.rows import decode_row

_BEHIND_ALL_ROWS: Final = b"\xff" * 300
"""No slot is as large, so no row's key."""


class Finding(NamedTuple):
    """What was found of one group; `damages` name the first damaged record of log and of table."""

    group: int
    entries: int
    rows: int
    rebuilding: bool
    damages: tuple[str, ...]


class Report(NamedTuple):
    """`unreadable` says which environments could not be opened; there are no findings then."""

    findings: tuple[Finding, ...] = ()
    unreadable: tuple[str, ...] = ()

    @property
    def damaged(self) -> list[int]:
        return [finding.group for finding in self.findings if finding.damages]

    @property
    def is_whole(self) -> bool:
        return not self.damaged and not self.unreadable


def verify(directory: Path, groups: int) -> Report:
    """Every record of every group in a data directory that the caller holds (`identity`)."""
    unreadable: list[str] = []
    log = table = None
    try:
        try:
            log = LmdbLogStore(directory / "log")
        except StorageError as error:
            unreadable.append(str(error))
        try:
            table = LmdbTableStore(directory / "table")
        except StorageError as error:
            unreadable.append(str(error))
        if log is None or table is None:
            return Report((), tuple(unreadable))
        return Report(tuple(verify_group(log, table, group) for group in range(groups)))
    finally:
        for store in (log, table):
            if store is not None:
                store.close()


def verify_group(log: LogStore, table: TableStore, group: int) -> Finding:
    """The checksum and the shape of every record of one group, and that log and table meet."""
    damages: list[str] = []
    image: LogImage | None = None
    try:
        image = log.load(group)
    except Corrupt as error:
        damages.append(str(error))
    rows, state = 0, None
    try:
        rows, state = _verify_table(table, group)
    except Corrupt as error:
        damages.append(str(error))
    entries = image.entries if image is not None else ()
    if state is not None and entries and entries[0].index > state.applied:
        damages.append(
            f"the log begins at {entries[0].index} but the table ends at {state.applied}; entries "
            "between are missing"
        )
    # Between the log's mark and the table's end, what is left of a discarded replica is void.
    void = image is not None and image.hard_state.joining
    if image is not None and state is not None and not entries and state != ROOT_STATE and not void:
        damages.append(f"the table is at {state.applied} but there is no log")
    rebuilding = image is not None and image.hard_state.rebuilding
    return Finding(group, len(entries), rows, rebuilding, tuple(damages))


def _verify_table(table: TableStore, group: int) -> tuple[int, TableState]:
    stored = table.image(group)
    History(stored.state.floor, stored.history)
    rows = 0
    for _, data in table.rows(group).scan(b"", _BEHIND_ALL_ROWS):
        decode_row(data)
        rows += 1
    return rows, stored.state
