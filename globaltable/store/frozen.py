"""All rows of a table at one revision: the flushed ones, under what lay in memory.

Invariant: keys ascend, each once, and where both have one it is memory's row that counts.
"""

from bisect import bisect_left, bisect_right
from typing import Final

from globaltable.store.table import RowSource
from globaltable.table_state import Frozen

_KEYS_AT_ONCE: Final = 1_000
"""Of those behind the last flushed row."""


class FrozenRows:
    def __init__(self, source: RowSource, frozen: Frozen) -> None:
        """`source` was opened after the table was frozen, and before anything later was flushed."""
        self._source = source
        self._over = frozen.rows
        self._keys = sorted(frozen.rows)
        self._at = 0

    def seek(self, key: bytes) -> None:
        """Go on with the first row that is not before this key."""
        self._source.seek(key)
        self._at = bisect_left(self._keys, key)

    def next_rows(self, bytes_max: int) -> list[tuple[bytes, bytes]]:
        """About so many bytes of them; none behind the last."""
        while True:
            rows = self._next_rows(bytes_max)
            present = [row for row in rows if row[1]]
            if present or not rows:
                return present

    def _next_rows(self, bytes_max: int) -> list[tuple[bytes, bytes]]:
        """With those that have been deleted in memory, which are empty."""
        flushed = self._source.next_rows(bytes_max)
        if flushed:
            end = bisect_right(self._keys, flushed[-1][0], self._at)
        else:
            end = min(len(self._keys), self._at + _KEYS_AT_ONCE)
        if end == self._at:
            return flushed
        rows = dict(flushed)
        rows.update((key, self._over[key]) for key in self._keys[self._at : end])
        self._at = end
        return sorted(rows.items())
