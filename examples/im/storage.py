"""One unit's messages, in SQLite.

A chat's rows are a copy of it, held at a version of its binding. Only the unit that owns the chat
adds to them; a move takes them along, and what is left behind is removed once the chat is known to
live elsewhere at a higher version. So a copy is never removed that has come back since.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

SCHEMA = """
    CREATE TABLE IF NOT EXISTS chats (
        chat TEXT PRIMARY KEY,
        held_at INTEGER NOT NULL,           -- the version at which these rows are the chat's
        left_at INTEGER NOT NULL DEFAULT 0  -- the version at which it was known to live elsewhere
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS messages (
        chat TEXT NOT NULL,
        number INTEGER NOT NULL,
        message_id TEXT NOT NULL,
        text TEXT NOT NULL,
        unit TEXT NOT NULL,
        PRIMARY KEY (chat, number),
        UNIQUE (chat, message_id)
    ) WITHOUT ROWID;
"""

Result = TypeVar("Result")


class Row(NamedTuple):
    """One message of a chat."""

    number: int
    message_id: str
    text: str
    unit: str


class Gone(Exception):
    """This copy of the chat is of the past: it lives elsewhere, and its rows went with it."""


class Storage:
    """All calls run on one thread, so they take effect in the order in which they are made."""

    def __init__(self, path: Path, unit: str) -> None:
        self._unit = unit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="storage")
        self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sql.execute("PRAGMA synchronous = FULL")  # what is committed survives a power cut
        self._sql.executescript(SCHEMA)

    def close(self) -> None:
        self._thread.shutdown()
        self._sql.close()

    async def add(self, chat: str, message_id: str, text: str, version: int) -> int:
        """Store a message, and return its number: the one it has, if it was stored before.

        `version` is that of the permit: the chat was ours at it.
        """
        return await self._run(lambda: self._add(chat, message_id, text, version))

    def _add(self, chat: str, message_id: str, text: str, version: int) -> int:
        known = self._sql.execute(
            "SELECT number FROM messages WHERE chat = ? AND message_id = ?", (chat, message_id)
        ).fetchone()
        if known is not None:
            return int(known[0])
        self._hold(chat, version)
        (last,) = self._sql.execute(
            "SELECT coalesce(max(number), 0) FROM messages WHERE chat = ?", (chat,)
        ).fetchone()
        self._sql.execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?)",
            (chat, last + 1, message_id, text, self._unit),
        )
        return int(last) + 1

    def _hold(self, chat: str, version: int) -> None:
        row = self._sql.execute("SELECT left_at FROM chats WHERE chat = ?", (chat,)).fetchone()
        if row is not None and version < row[0]:
            raise Gone(f"{chat!r} is known to have left at version {row[0]}, after {version}")
        self._sql.execute(
            "INSERT INTO chats (chat, held_at) VALUES (?, ?) ON CONFLICT (chat)"
            " DO UPDATE SET held_at = max(held_at, excluded.held_at)",
            (chat, version),
        )

    async def read(self, chat: str, after: int = 0) -> list[Row]:
        """The messages after a number, in order."""
        return await self._run(lambda: self._read(chat, after))

    def _read(self, chat: str, after: int) -> list[Row]:
        rows = self._sql.execute(
            "SELECT number, message_id, text, unit FROM messages"
            " WHERE chat = ? AND number > ? ORDER BY number",
            (chat, after),
        )
        return [Row(*row) for row in rows]

    async def export(self, chat: str, version: int) -> list[Row]:
        """All of a chat for the unit that it goes to. Raises Gone if it went before."""

        def export() -> list[Row]:
            self._hold(chat, version)
            return self._read(chat, 0)

        return await self._run(export)

    async def take_in(self, chat: str, version: int, rows: Iterable[Row]) -> None:
        """Replace what is here of a chat by what its last owner held at `version`."""

        def take_in() -> None:
            self._hold(chat, version)
            self._sql.execute("DELETE FROM messages WHERE chat = ?", (chat,))
            self._sql.executemany(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?)", [(chat, *row) for row in rows]
            )

        await self._run(take_in)

    async def held(self) -> list[str]:
        """The chats that have rows here, ours or not."""
        return await self._run(
            lambda: [row[0] for row in self._sql.execute("SELECT DISTINCT chat FROM messages")]
        )

    async def remove_left(self, living_elsewhere: Mapping[str, int]) -> None:
        """Remove the rows of chats that live elsewhere at these versions; newer copies stay."""

        def remove() -> None:
            for chat, version in living_elsewhere.items():
                changed = self._sql.execute(
                    "UPDATE chats SET left_at = ? WHERE chat = ? AND held_at < ?",
                    (version, chat, version),
                ).rowcount
                if changed:
                    self._sql.execute("DELETE FROM messages WHERE chat = ?", (chat,))

        await self._run(remove)

    async def _run(self, work: Callable[[], Result]) -> Result:
        """Do it in one transaction, on the thread."""

        def transaction() -> Result:
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                result = work()
            except BaseException:
                self._sql.execute("ROLLBACK")
                raise
            self._sql.execute("COMMIT")
            return result

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)


def messages_at(path: Path) -> dict[str, list[Row]]:
    """All that a unit's file holds, by chat: for whoever checks it."""
    with sqlite3.connect(path) as sql:
        held: dict[str, list[Row]] = {}
        for chat, *row in sql.execute("SELECT * FROM messages ORDER BY chat, number"):
            held.setdefault(chat, []).append(Row(*row))
    sql.close()
    return held
