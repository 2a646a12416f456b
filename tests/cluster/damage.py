"""Damage to what a stopped node has on its disk."""

from collections.abc import Callable
from pathlib import Path

import lmdb


def flip(
    directory: Path, database: bytes, wanted: Callable[[bytes, bytes], bool]
) -> tuple[bytes, bytes]:
    """Flip a bit in the first record that is wanted; its key, and its value as it was."""
    env = lmdb.open(str(directory), max_dbs=4, map_size=1 << 32)
    records = env.open_db(database)
    with env.begin(write=True) as transaction, transaction.cursor(records) as cursor:
        for key, value in ((bytes(k), bytes(v)) for k, v in cursor):
            if wanted(key, value):
                transaction.put(key, value[:-1] + bytes([value[-1] ^ 4]), db=records)
                break
        else:
            raise AssertionError("there is no such record")
    env.close()
    return key, value
