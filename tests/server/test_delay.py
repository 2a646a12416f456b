"""Injected latency: in order, not before its time, and accounted for."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from globaltable.server.delay import DelayLine

DELAY_S = 0.03


class _Outlet:
    """Where a delay line ends: what came out, and when."""

    def __init__(self, count: int) -> None:
        self.data: list[bytes] = []
        self.at: list[float] = []
        self.complete = asyncio.Event()
        self._count = count

    def release(self, data: list[bytes]) -> None:
        self.data += data
        self.at += [time.monotonic()] * len(data)
        if len(self.data) >= self._count:
            self.complete.set()


@pytest.fixture
def lines() -> Iterator[list[DelayLine]]:
    """Lines to be closed at the end."""
    lines: list[DelayLine] = []
    yield lines
    for line in lines:
        line.close()


async def test_it_keeps_the_order_and_the_asked_delay(lines: list[DelayLine]) -> None:
    outlet = _Outlet(40)
    line = DelayLine(DELAY_S, outlet.release)
    lines.append(line)
    put_at = []
    for number in range(40):
        put_at.append(time.monotonic())
        line.put(bytes((number,)))
        if number % 10 == 9:
            await asyncio.sleep(0.005)
    async with asyncio.timeout(5):
        await outlet.complete.wait()
    assert outlet.data == [bytes((number,)) for number in range(40)]
    waited_s = [out - put for put, out in zip(put_at, outlet.at, strict=True)]
    assert min(waited_s) >= DELAY_S
    assert min(waited_s) < 2 * DELAY_S
    assert line.bytes == 0


async def test_it_counts_the_bytes_it_holds_and_drops_them_when_closed() -> None:
    outlet = _Outlet(1)
    line = DelayLine(DELAY_S, outlet.release)
    line.put(b"12345")
    line.put(b"678")
    assert line.bytes == 8
    line.close()
    line.close()
    assert line.bytes == 0
    await asyncio.sleep(2 * DELAY_S)
    assert outlet.data == []


async def test_it_can_be_closed_from_within_a_release(lines: list[DelayLine]) -> None:
    outlet = _Outlet(1)

    def release(data: list[bytes]) -> None:
        outlet.release(data)
        line.close()

    line = DelayLine(0.001, release)
    lines.append(line)
    line.put(b"1")
    async with asyncio.timeout(5):
        await outlet.complete.wait()
    assert outlet.data == [b"1"]
