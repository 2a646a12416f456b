"""The smallest part of an input that still fails, found by leaving out pieces."""

import time
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 5.0


def minimised(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """`data` with every piece left out that is not needed to fail; as far as patience goes."""
    until = time.monotonic() + PATIENCE_S
    size = len(data) // 2
    while size and time.monotonic() < until:
        at = 0
        while at < len(data) and time.monotonic() < until:
            without = data[:at] + data[at + size :]
            if fails(without):
                data = without
            else:
                at += size
        size //= 2
    return data
