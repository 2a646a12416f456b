"""The rows of one group: what has changed lies in memory, over what has been flushed.

Responsible for where a row is found, newest first: changed since the last flush, on its way to the
disk, on the disk. It knows row keys and bytes, and nothing of what they mean.

Invariants: a row that is deleted lies in memory as an empty one until it is flushed as such. At
most one flush is under way, and what is in it is not changed.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

_GONE: Final = b""
"""In memory, of a row that has been deleted, and may still be on the disk."""


class FlushedRows(Protocol):
    """The rows of one group that have reached the disk."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with `start <= key < end`, ascending."""
        ...


class LayeredRows:
    """See the module's head."""

    def __init__(self, flushed: FlushedRows) -> None:
        self._flushed = flushed
        self._changed: dict[bytes, bytes] = {}
        self._flushing: dict[bytes, bytes] | None = None

    # --- reads -----------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """A row; None if there is none, not even a tombstone."""
        data = self._changed.get(key)
        if data is None and self._flushing is not None:
            data = self._flushing.get(key)
        if data is None:
            data = self._flushed.get(key)
        return data or None

    def has_none(self, keys: Iterable[bytes]) -> bool:
        """Whether none of these rows is there, nor deleted and not yet flushed as such."""
        return (
            self._changed.keys().isdisjoint(keys)
            and (self._flushing is None or self._flushing.keys().isdisjoint(keys))
            and not any(map(self._flushed.get, keys))
        )

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with `start <= key < end`, ascending. Valid until a row changes."""
        over = {
            key: data
            for layer in (self._flushing or {}, self._changed)
            for key, data in layer.items()
            if start <= key < end
        }
        return _merged(self._flushed.scan(start, end), over, sorted(over))

    def scanner(self) -> Callable[[bytes, bytes], Iterator[tuple[bytes, bytes]]]:
        """`scan` for many ranges: it sorts what is not yet flushed only once."""
        over = self.unflushed()
        keys = sorted(over)

        def scan(start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
            fresh = keys[bisect_left(keys, start) : bisect_left(keys, end)]
            return _merged(self._flushed.scan(start, end), over, fresh)

        return scan

    def unflushed(self) -> dict[bytes, bytes]:
        """What lies in memory; an empty one has been deleted."""
        return {**(self._flushing or {}), **self._changed}

    @property
    def changed_count(self) -> int:
        """Of rows that wait for the next flush."""
        return len(self._changed)

    @property
    def unflushed_count(self) -> int:
        """Of rows kept in memory because they are not known to be on the disk."""
        return len(self._changed) + len(self._flushing or ())

    # --- changes ---------------------------------------------------------------------------------

    def put(self, key: bytes, data: bytes) -> None:
        self._changed[key] = data

    def put_all(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        self._changed.update(rows)

    def delete(self, key: bytes) -> None:
        self._changed[key] = _GONE

    # --- flushing --------------------------------------------------------------------------------

    def begin_flush(self) -> dict[bytes, bytes]:
        """What has changed since the last flush; an empty one is to be deleted."""
        assert self._flushing is None, "one flush at a time"
        self._flushing, self._changed = self._changed, {}
        return self._flushing

    def end_flush(self) -> None:
        """It is durable and visible through `FlushedRows`."""
        assert self._flushing is not None, "no flush is under way"
        self._flushing = None


def _merged(
    flushed: Iterable[tuple[bytes, bytes]], over: Mapping[bytes, bytes], keys: Sequence[bytes]
) -> Iterator[tuple[bytes, bytes]]:
    """Flushed rows under those in memory, of which `keys` are the ones in question, ascending."""
    at = 0
    for key, data in flushed:
        while at < len(keys) and keys[at] < key:
            if over[keys[at]]:
                yield keys[at], over[keys[at]]
            at += 1
        if at < len(keys) and keys[at] == key:
            at += 1
            data = over[key]
        if data:
            yield key, data
    for key in keys[at:]:
        if over[key]:
            yield key, over[key]
