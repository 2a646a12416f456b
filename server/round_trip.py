"""How long a link's round trip takes, told from how long single ones took.

What a ping takes beyond the way is how busy both ends are, and is never negative: so of the last
few the least counts. A way that changes is another after as many; what is left of the noise is
smoothed.
"""

from collections import deque
from typing import Final

WINDOW: Final = 5
"""Pings of which the least counts."""
_SMOOTHING: Final = 0.2
"""The weight of what is new."""


class RoundTrip:
    """Of one link, over all its connections."""

    __slots__ = ("_last", "samples", "smooth_s")

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=WINDOW)
        self.smooth_s = 0.0
        """0.0 until one was measured."""
        self.samples = 0

    def took(self, seconds: float) -> None:
        """One has come back."""
        assert seconds >= 0, seconds
        self._last.append(seconds)
        least_s = min(self._last)
        if self.samples:
            self.smooth_s += _SMOOTHING * (least_s - self.smooth_s)
        else:
            self.smooth_s = least_s
        self.samples += 1
