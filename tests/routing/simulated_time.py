"""An event loop on simulated time: sleeping costs nothing, and the same seed gives the same run."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

OVER_S: Final = 1_000.0


class _Selector(selectors.SelectSelector):
    """Waits for nothing but time, which passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing is left to happen")
        self.now_s += max(0.0, timeout)
        if self.now_s > OVER_S:
            raise RuntimeError(f"the run has not ended after {OVER_S} simulated seconds")
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._time = _Selector()
        super().__init__(self._time)

    def time(self) -> float:
        return self._time.now_s


def run_simulated(main: Coroutine[Any, Any, T]) -> T:
    """Run it to its end, on a loop of its own."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)
