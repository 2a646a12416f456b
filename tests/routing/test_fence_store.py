"""What the fence must not forget is on the disk, and is one process's."""

import sqlite3
from pathlib import Path

import pytest

from globaltable.errors import Corrupt, StorageError
from globaltable.routing.client.fence_store import FenceStore
from globaltable.routing.fence import Closed


async def test_what_was_closed_is_closed_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "unit" / "fence.db"
    store = FenceStore(path, "A")
    assert store.is_new and not store.distrust
    assert store.closed_version("chat", "k") == 0
    await store.close_rows([Closed("chat", "k", 3, "B"), Closed("chat", "other", 1, "")])
    await store.close_rows([Closed("chat", "k", 2, "C")])
    assert store.closed_version("chat", "k") == 3, "a late row does not turn it back"
    await store.begin_to_distrust()
    identity = store.identity
    store.close()
    store.close()
    again = FenceStore(path, "A")
    assert not again.is_new and again.distrust and again.identity == identity
    assert again.closed_version("chat", "k") == 3
    assert again.closed_version("room", "k") == 0
    again.close()


def test_a_store_is_one_units_and_one_processes(tmp_path: Path) -> None:
    path = tmp_path / "fence.db"
    store = FenceStore(path, "A")
    with pytest.raises(StorageError, match="in use"):
        FenceStore(path, "A")
    store.close()
    with pytest.raises(StorageError, match="the fence of 'A', not of 'B'"):
        FenceStore(path, "B")


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fence.db"
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises((Corrupt, StorageError)):
        FenceStore(path, "A")


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fence.db"
    FenceStore(path, "A").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE facts SET value = '9' WHERE name = 'format'")
    connection.close()
    with pytest.raises(Corrupt, match="format"):
        FenceStore(path, "A")


async def test_a_write_that_fails_says_so(tmp_path: Path) -> None:
    store = FenceStore(tmp_path / "fence.db", "A")
    with pytest.raises(StorageError):
        await store.close_rows([Closed("chat", "k", 0, "B")])
    store.close()
