"""What a unit's fence must not forget, in SQLite: what it closed, who it is, whether it distrusts.

Responsible for one promise: what a call has returned from is on the disk. One process at a time has
the store; a second is refused, for both would believe to be the same holder of the unit's lease.

A row is about 100 bytes, and is kept for good: a header of before a move may turn up at any time.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from globaltable.errors import Corrupt, StorageError
from globaltable.routing.fence import Closed

FORMAT: Final = 1
_SYNC_WAIT_S: Final = 5.0

_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS closed (
        dimension TEXT NOT NULL,
        key TEXT NOT NULL,
        version INTEGER NOT NULL CHECK (version > 0),
        unit TEXT NOT NULL,
        PRIMARY KEY (dimension, key)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_CLOSE: Final = """
    INSERT INTO closed (dimension, key, version, unit) VALUES (?, ?, ?, ?)
    ON CONFLICT (dimension, key) DO UPDATE SET version = excluded.version, unit = excluded.unit
    WHERE excluded.version > closed.version
"""


class FenceStore:
    """The store at `path`, made if there is none. Close it in the end.

    Reads are of one row and made where they are called, some 10 µs each; writes are synced, on a
    thread. Raises StorageError if the disk fails or the store is in use, Corrupt if it is damaged.
    """

    def __init__(self, path: Path, unit: str) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(f"{path}: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StorageError(
                f"{path} is in use by another process; a unit's fence is one process's"
            ) from None
        self._connections: list[sqlite3.Connection] = []
        self._writing = threading.Lock()
        try:
            with self._failures():
                # Two: a read need not wait for the sync of a write.
                self._reader, self._writer = self._connect(), self._connect()
                self._found(unit)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_SYNC_WAIT_S, isolation_level=None, check_same_thread=False
        )
        self._connections.append(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _found(self, unit: str) -> None:
        self._writer.executescript(_SCHEMA)
        facts = self._facts()
        self.is_new = not facts
        """Whether it was made just now: what an earlier one held, if there was one, is lost."""
        if self.is_new:
            facts = {
                "format": str(FORMAT),
                "unit": unit,
                "identity": secrets.token_hex(8),
                "distrust": "no",
            }
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
            self._writer.execute("COMMIT")
        if facts.get("format") != str(FORMAT) or facts.get("distrust") not in ("no", "yes"):
            raise Corrupt(f"{self._path} is no fence of format {FORMAT}: {facts}")
        if facts["unit"] != unit:
            raise StorageError(f"{self._path} is the fence of {facts['unit']!r}, not of {unit!r}")
        self.identity = facts["identity"]
        self.distrust = facts["distrust"] == "yes"

    def _facts(self) -> dict[str, str]:
        return dict(self._writer.execute("SELECT name, value FROM facts").fetchall())

    def closed_version(self, dimension: str, key: str) -> int:
        """The highest version that is durably closed; 0 if there is none."""
        with self._failures():
            row = self._reader.execute(
                "SELECT version FROM closed WHERE dimension = ? AND key = ?", (dimension, key)
            ).fetchone()
        return int(row[0]) if row is not None else 0

    async def close_rows(self, rows: Sequence[Closed]) -> None:
        """Return when the rows are durable. After an error they may be or not."""
        await asyncio.to_thread(self._write, _CLOSE, [tuple(row) for row in rows])

    async def begin_to_distrust(self) -> None:
        """Return when it is durable that the unit lost its lease once."""
        facts = [("yes", "distrust")]
        await asyncio.to_thread(self._write, "UPDATE facts SET value = ? WHERE name = ?", facts)
        self.distrust = True

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        # Whoever waits for a write may be cancelled, and the write goes on: the next one waits.
        with self._writing, self._failures():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                self._writer.executemany(statement, rows)
                self._writer.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            kind = StorageError if isinstance(error, sqlite3.OperationalError) else Corrupt
            raise kind(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Close the files. May be called twice."""
        with self._writing:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
