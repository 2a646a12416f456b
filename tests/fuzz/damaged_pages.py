"""`python -m tests.fuzz.damaged_pages --flips 400`: what comes of bytes flipped in LMDB's own file.

LMDB trusts its pages. So each damaged file is opened, and read whole, in a process of its own, and
what became of it is counted: read as it was; refused by an error of ours; ended by a signal; or,
what would be worst, read as something else without a word.
"""

import argparse
import enum
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from globaltable.errors import StorageError
from globaltable.history import HistoryRecord
from globaltable.row_keys import row_key
from globaltable.store.lmdb_log import LmdbLogStore
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.store.log import HardState, LogWrite
from globaltable.table_state import Flush, TableState
from globaltable.wire.rows import Row, encode_history, encode_row
from tests.fuzz import samples
from tests.fuzz.directories import scratch

_ENTRIES: Final = 60
_PAGE_BYTES: Final = 4_096
_META_PAGES: Final = 2
_CHILD_TIMEOUT_S: Final = 20.0


class Store(enum.Enum):
    LOG = "log"
    TABLE = "table"


def fill(store: Store, directory: Path) -> None:
    """Two commits, so that the older of LMDB's two meta pages tells of an older state."""
    for commit in (1, 2):
        if store is Store.LOG:
            log = LmdbLogStore(directory)
            first = 2 if commit == 1 else _ENTRIES
            entries = tuple(samples.entry(n) for n in range(first, first + _ENTRIES - 2))
            log.commit([LogWrite(0, None, None, entries, HardState(commit, "b"))])
            log.close()
        else:
            table = LmdbTableStore(directory)
            keys = sorted(row_key(samples.name(n), samples.SLOTS) for n in range(_ENTRIES))
            rows = {key: encode_row(Row(f"unit-{commit}", commit, 5, 7, 1)) for key in keys}
            records = [
                HistoryRecord(n, 2, encode_history(samples.history_rows(n)))
                for n in range(commit * 40, commit * 40 + 30)
            ]
            state = TableState(commit * 40 + 29, 1, 1)
            table.flush([(0, Flush(rows, records, state))])
            table.close()


def read(store: Store, directory: Path) -> str:
    """All that the store holds, in words."""
    if store is Store.LOG:
        return repr(LmdbLogStore(directory).load(0))
    table = LmdbTableStore(directory)
    return repr((table.image(0), list(table.rows(0).scan(b"", b"\xff" * 8))))


def read_in_child(store: Store, directory: Path, expected: Path) -> str:
    """What becomes of a process that reads it."""
    command = [sys.executable, "-m", "tests.fuzz.damaged_pages", "--read", store.value]
    try:
        ended = subprocess.run(
            [*command, str(directory), str(expected)],
            capture_output=True, text=True, timeout=_CHILD_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "HANGS"
    if ended.returncode < 0:
        return f"ends by {signal.Signals(-ended.returncode).name}"
    if ended.returncode:
        return f"ESCAPES: {ended.stderr.strip().splitlines()[-1][:120]}"
    return ended.stdout.strip()


def _read_as_child(store: Store, directory: Path, expected: Path) -> str:
    try:
        found = read(store, directory)
    except StorageError as error:
        return f"refused by {type(error).__name__}"
    return "read as it was" if found == expected.read_text() else "READ AS SOMETHING ELSE"


def damage(data: bytes, chance: random.Random, *, in_meta: bool) -> bytes:
    """One byte of the file changed: in the two pages that say which commit is the last, or after
    them."""
    head = _META_PAGES * _PAGE_BYTES
    changed = bytearray(data)
    at = chance.randrange(_META_PAGES) * _PAGE_BYTES + chance.randrange(160)
    if not in_meta:
        at = chance.randrange(head, len(data))
        while not any(data[max(head, at - 8) : at + 8]):
            at = chance.randrange(head, len(data))  # not amid empty space
    changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


def survey(store: Store, flips: int, seed: int, *, in_meta: bool) -> Counter[str]:
    """What became of each of some damaged files."""
    base = scratch("pages")
    whole, damaged = base / "whole", base / "damaged"
    fill(store, whole)
    data = (whole / "data.mdb").read_bytes()
    expected = base / "expected"
    expected.write_text(read(store, whole))
    chance = random.Random(f"{seed}/{store.value}/{in_meta}")
    found: Counter[str] = Counter()
    for _ in range(flips):
        shutil.rmtree(damaged, ignore_errors=True)
        damaged.mkdir()
        (damaged / "data.mdb").write_bytes(damage(data, chance, in_meta=in_meta))
        found[read_in_child(store, damaged, expected)] += 1
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.damaged_pages", description=__doc__)
    parser.add_argument("--flips", type=int, default=100, help="of each of four kinds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--read", nargs=3, metavar=("STORE", "DIRECTORY", "EXPECTED"))
    options = parser.parse_args(arguments)
    if options.read:
        store, directory, expected = options.read
        print(_read_as_child(Store(store), Path(directory), Path(expected)))
        return 0
    for store in Store:
        for in_meta in (False, True):
            where = "meta pages" if in_meta else "other pages"
            found = survey(store, options.flips, options.seed, in_meta=in_meta)
            told = ", ".join(f"{what} {count}" for what, count in found.most_common())
            print(f"{store.value}/ {where}, {options.flips} flips: {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
