"""How much somebody may ask for in a time: a token bucket, told the time.

Tokens come at a steady rate, up to a bound. A request for more than the bound is granted once the
bucket is full, and leaves it in debt: so no request is refused for good, and the rate holds over
any longer time.
"""


class TokenBucket:
    """`rate_per_s` tokens a second, at most `burst` at once; full at first."""

    __slots__ = ("_at_s", "_burst", "_rate_per_s", "_tokens")

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        assert rate_per_s > 0 and burst > 0, (rate_per_s, burst)
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._at_s = now_s

    def take(self, count: float, now_s: float) -> float:
        """Take tokens: 0.0 if they were granted, else, and none taken, the seconds after which they
        would be, if nobody else takes any."""
        self._tokens = min(
            self._burst, self._tokens + max(0.0, now_s - self._at_s) * self._rate_per_s
        )
        self._at_s = max(self._at_s, now_s)
        wanted = min(count, self._burst)
        if self._tokens < wanted:
            return (wanted - self._tokens) / self._rate_per_s
        self._tokens -= count
        return 0.0
