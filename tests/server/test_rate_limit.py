"""A bucket grants its rate and its burst, and never more over any time."""

from hypothesis import given
from hypothesis import strategies as st

from globaltable.server.rate_limit import TokenBucket


def test_a_burst_at_once_and_then_the_rate() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=5, now_s=100.0)
    assert bucket.take(5, 100.0) == 0.0
    assert bucket.take(1, 100.0) == 0.1
    assert bucket.take(1, 100.05) > 0.0
    assert bucket.take(1, 100.11) == 0.0


def test_one_that_is_larger_than_the_burst_is_granted_and_waited_for_afterwards() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=5, now_s=0.0)
    assert bucket.take(25, 0.0) == 0.0
    assert bucket.take(1, 0.0) == 2.1
    assert bucket.take(5, 2.4) > 0.0
    assert bucket.take(5, 2.5) == 0.0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=5, now_s=10.0)
    assert bucket.take(5, 10.0) == 0.0
    assert bucket.take(1, 0.0) > 0.0
    assert bucket.take(1, 10.0) > 0.0


@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0, 3, allow_subnormal=False)), max_size=50),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_over_any_time_no_more_than_the_rate_a_burst_and_the_last(
    requests: list[tuple[int, float]], rate: int, burst: int
) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now_s, granted, last = 0.0, 0, 0
    for count, after_s in requests:
        now_s += after_s
        wait_s = bucket.take(count, now_s)
        if wait_s == 0.0:
            granted, last = granted + count, count
        elif wait_s < 1e6:
            now_s += wait_s + 1e-6
            assert bucket.take(count, now_s) == 0.0, "what was said to be granted then, is"
            granted, last = granted + count, count
        assert granted <= burst + rate * now_s + last + 1e-3
