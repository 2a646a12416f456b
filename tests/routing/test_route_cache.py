"""The client's cache: never back to an older version, bounded, and the hot ones stay."""

import random
import tracemalloc
from collections import OrderedDict
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.errors import InvalidArgument, LimitExceeded
from globaltable.routing.header import HEADER_BYTES_MAX
from globaltable.routing.route import Route
from globaltable.routing.route_cache import BYTES_MIN, CachedRoute, RouteCache

NOW_S = 1_000


def route(key: str = "k", version: int = 1, unit: str = "A", expires_at_s: int = 2_000) -> Route:
    return Route("chat", key, unit, version, expires_at_s)


def known(cache: RouteCache, key: str = "k", now_s: float = NOW_S) -> Route | None:
    cached = cache.find("chat", key, now_s)
    return cached and cached.route


def test_a_route_is_found_with_its_header_until_it_expires() -> None:
    cache = RouteCache()
    assert known(cache) is None
    assert cache.put(route(), b"header")
    assert cache.find("chat", "k", 1_999.9) == CachedRoute(route(), b"header")
    assert cache.find("chat", "k", 2_000) is None
    assert cache.find("room", "k", NOW_S) is None
    assert cache.last_known("chat", "k") == CachedRoute(route(), b"header")


@pytest.mark.parametrize(
    ("second", "taken"),
    [
        (route(version=3, expires_at_s=1_500), True),
        (route(version=1, expires_at_s=3_000), False),
        (route(version=2, expires_at_s=3_000), True),
        (route(version=2, expires_at_s=2_000), True),
        (route(version=2, expires_at_s=1_500), False),
    ],
)
def test_the_higher_version_stays_and_of_one_version_what_lives_longer(
    second: Route, taken: bool
) -> None:
    cache = RouteCache()
    first = route(version=2)
    cache.put(first)
    assert cache.put(second, b"header") is taken
    assert cache.last_known("chat", "k") == (
        CachedRoute(second, b"header") if taken else CachedRoute(first)
    )


def test_an_older_version_is_not_taken_even_if_the_newer_one_has_expired() -> None:
    cache = RouteCache()
    cache.put(route(version=3, expires_at_s=1_001))
    assert not cache.put(route(version=2, expires_at_s=9_000))
    assert known(cache, now_s=1_002) is None


def test_a_route_that_was_outdated_does_not_come_back() -> None:
    """A unit says that the key has moved; the replica asked next may not know of it yet."""
    cache = RouteCache()
    cache.put(route(version=1))
    cache.outdate("chat", "k", 2)
    assert known(cache) is None and cache.last_known("chat", "k") is None
    assert not cache.put(route(version=1, expires_at_s=9_000))
    assert cache.put(route(version=2, unit="B"))
    cache.outdate("chat", "k", 2)
    assert known(cache) == route(version=2, unit="B"), "it is not below"
    cache.outdate("chat", "other", 5)
    assert not cache.put(route("other", version=4))


def test_a_key_that_is_not_bound_is_not_asked_for_again_for_a_while() -> None:
    cache = RouteCache()
    assert not cache.is_unbound("chat", "k", NOW_S)
    assert cache.put_unbound("chat", "k", NOW_S + 5)
    assert cache.is_unbound("chat", "k", NOW_S + 4.9)
    assert not cache.is_unbound("chat", "k", NOW_S + 5)
    assert cache.put(route())
    assert not cache.is_unbound("chat", "k", NOW_S), "it is bound now"


def test_a_replica_that_is_behind_does_not_unbind_what_is_known() -> None:
    cache = RouteCache()
    cache.put(route(version=3))
    assert not cache.put_unbound("chat", "k", NOW_S + 5)
    assert not cache.put_unbound("chat", "k", NOW_S + 5, version=3)
    assert known(cache) == route(version=3)
    assert cache.put_unbound("chat", "k", NOW_S + 5, version=4)
    assert cache.is_unbound("chat", "k", NOW_S) and not cache.put(route(version=3))
    assert not cache.put_unbound("chat", "k", NOW_S + 50, version=2)
    assert cache.put(route(version=5))


def test_what_is_forgotten_is_forgotten() -> None:
    cache = RouteCache()
    cache.put(route(version=3))
    cache.forget("chat", "k")
    cache.forget("chat", "k")
    assert len(cache) == 0 and cache.size_bytes == 0
    assert cache.put(route(version=1))


KEYS = st.sampled_from("abcdef")
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.integers(1, 5), st.integers(NOW_S, NOW_S + 50)),
    st.tuples(st.just("unbound"), KEYS, st.integers(0, 5), st.integers(NOW_S, NOW_S + 50)),
    st.tuples(st.just("outdate"), KEYS, st.integers(1, 5), st.just(0)),
    st.tuples(st.just("find"), KEYS, st.just(1), st.integers(NOW_S, NOW_S + 50)),
    st.tuples(st.just("forget"), KEYS, st.just(1), st.just(0)),
)


@given(steps=st.lists(STEPS, max_size=60), entries_max=st.integers(1, 6))
def test_while_a_key_is_kept_its_version_never_falls(
    steps: list[tuple[str, str, int, int]], entries_max: int
) -> None:
    cache = RouteCache(entries_max=entries_max)
    floors: dict[str, int] = {}
    for what, key, version, at_s in steps:
        before = set(cache._slots)
        match what:
            case "put":
                taken = cache.put(route(key, version, expires_at_s=at_s))
                assert not (taken and version < floors.get(key, 0))
                if taken:
                    floors[key] = version
            case "unbound":
                if cache.put_unbound("chat", key, at_s, version):
                    assert known(cache, key, 0) is None
                    floors[key] = max(version, floors.get(key, 0))
            case "outdate":
                cache.outdate("chat", key, version)
                floors[key] = max(version, floors.get(key, 0))
            case "forget":
                cache.forget("chat", key)
            case "find":
                found = known(cache, key, at_s)
                assert found is None or (found.version == floors[key] and at_s < found.expires_at_s)
        for name in before - set(cache._slots):
            del floors[name[1]]
        assert len(cache) <= entries_max
        assert {name[1] for name in cache._slots} == set(floors)
        assert cache.size_bytes == sum(slot.size for slot in cache._slots.values())
        assert len(list(cache)) == sum(slot.cached is not None for slot in cache._slots.values())


def test_its_size_is_what_python_says_it_takes() -> None:
    """So that the bound in bytes means something: within a third of what is allocated."""
    names = [
        (f"cid:{number:06}", b"h" * 120 + number.to_bytes(4, "big")) for number in range(5_000)
    ]
    tracemalloc.start()
    try:
        cache = RouteCache(entries_max=10_000)
        before = tracemalloc.get_traced_memory()[0]
        for key, header in names:
            copied = bytes(bytearray(header))
            cache.put(Route("chat", key[:3] + key[3:], "unit-" + key[-1], 1, 2_000), copied)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.75 < cache.size_bytes / taken < 1.33, (cache.size_bytes, taken)


def test_bytes_are_bounded_too_and_the_largest_entry_fits() -> None:
    """One wide character makes all of a string take four bytes each."""
    cache = RouteCache(bytes_max=BYTES_MIN)
    dimension, unit = chr(0x20000) + "d" * 60, chr(0x20000) + "u" * 60
    for number in range(300):
        key = f"{chr(0x20000)}{number:0252}"
        cache.put(Route(dimension, key, unit, 1, 2_000), b"h" * HEADER_BYTES_MAX)
        assert cache.find(dimension, key, NOW_S) and cache.size_bytes <= BYTES_MIN
    assert cache.evicted == 299


def test_a_header_longer_than_any_is_refused() -> None:
    cache = RouteCache(bytes_max=BYTES_MIN)
    with pytest.raises(LimitExceeded):
        cache.put(route(), b"h" * (HEADER_BYTES_MAX + 1))
    assert len(cache) == 0


class _Lru:
    """What it is held against."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._entries: OrderedDict[str, None] = OrderedDict()

    def hit(self, key: str) -> bool:
        found = key in self._entries
        self._entries[key] = None
        self._entries.move_to_end(key)
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)
        return found


def _hits(keys: Iterable[str], entries_max: int) -> tuple[int, int]:
    cache, lru = RouteCache(entries_max=entries_max), _Lru(entries_max)
    ours = theirs = 0
    for key in keys:
        theirs += lru.hit(key)
        if known(cache, key) is not None:
            ours += 1
        else:
            cache.put(route(key))
    return ours, theirs


def test_it_hits_more_often_than_lru_where_some_sessions_are_hot() -> None:
    """Zipf's law with an exponent of 1, and one in three asked for once: 1.27 with this seed."""
    chance = random.Random(1)
    ranks = range(1, 5_001)
    drawn = chance.choices(ranks, [1 / rank for rank in ranks], k=30_000)
    keys = [f"once:{n}" if n % 3 == 0 else f"hot:{rank}" for n, rank in enumerate(drawn)]
    ours, theirs = _hits(keys, entries_max=250)
    assert ours > 1.2 * theirs, (ours, theirs)


def test_a_scan_does_not_push_out_what_is_hot() -> None:
    cache = RouteCache(entries_max=100)
    for number in range(50):
        cache.put(route(f"hot:{number}"))
    for number in range(1_000):
        assert known(cache, f"hot:{number % 50}") is not None
        cache.put(route(f"once:{number}"))


def test_the_hottest_come_first_when_they_are_kept() -> None:
    cache = RouteCache()
    for key in "abcd":
        cache.put(route(key))
    cache.put_unbound("chat", "e", NOW_S + 5)
    known(cache, "b")
    assert [cached.route.key for cached in cache] == ["b", "d", "c", "a"]


@pytest.mark.parametrize(
    "wrong",
    [
        route(key=""),
        route(key="x" * 257),
        route(version=0),
        route(unit=""),
        Route("no table", "k", "A", 1, 2_000),
    ],
)
def test_what_is_no_route_changes_nothing(wrong: Route) -> None:
    cache = RouteCache()
    with pytest.raises(InvalidArgument):
        cache.put(wrong)
    assert len(cache) == 0


@pytest.mark.parametrize("bounds", [{"entries_max": 0}, {"bytes_max": BYTES_MIN - 1}])
def test_bounds_leave_room_for_one(bounds: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument):
        RouteCache(**bounds)
