"""What is kept over restarts is whole, or it is ignored with a warning."""

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.errors import Corrupt, StorageError
from globaltable.routing import envelope
from globaltable.routing.client import kept_file, route_file
from globaltable.routing.route import Route
from globaltable.routing.route_cache import CachedRoute, RouteCache
from globaltable.routing.stored_keys import decode_keys, encode_keys
from globaltable.routing.stored_routes import (
    FILE_BYTES_MAX,
    FORMAT_VERSION,
    MAGIC,
    decode_routes,
    encode_routes,
    load_routes,
)
from tests.routing.rings import AUDIENCE, record

ROUTES = [
    CachedRoute(Route("chat", f"cid:{n}", "A", n + 1, 2_000), b"header" if n % 2 else None)
    for n in range(5)
]


def filled() -> RouteCache:
    cache = RouteCache()
    for cached in ROUTES:
        cache.put(*cached)
    return cache


def test_a_restart_begins_with_the_hottest_routes(tmp_path: Path) -> None:
    path = tmp_path / "routes"
    cache = filled()
    cache.find("chat", "cid:0", 0)
    route_file.save(cache, path)
    assert os.stat(path).st_mode & 0o077 == 0
    again = RouteCache(entries_max=2)
    assert route_file.load(again, path) == 5
    assert {cached.route.key for cached in again} == {"cid:0", "cid:4"}
    assert [p.name for p in tmp_path.iterdir()] == ["routes"]


def test_what_is_newer_than_the_file_stays() -> None:
    cache = RouteCache()
    newer = Route("chat", "cid:1", "B", 9, 2_000)
    cache.put(newer)
    assert load_routes(cache, encode_routes(ROUTES)) == 4
    cached = cache.find("chat", "cid:1", 0)
    assert cached and cached.route == newer


GOOD = encode_routes(ROUTES)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_any_damage_is_noticed(at: int, change: int) -> None:
    damaged = bytearray(GOOD)
    damaged[at] ^= change
    for content in (bytes(damaged), GOOD[:at], GOOD + b"\0"):
        with pytest.raises(Corrupt):
            decode_routes(content)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [None],
        [[]],
        [["chat", "k", "A", 1]],
        [["chat", "k", "A", "1", 2, None]],
        [["chat", b"k", "A", 1, 2, None]],
        [["chat", "k", "A", 1, 2, "text"]],
        [["chat", "k", "A", 1, 2, b"h" * 474]],
        [["chat", "k", "A", 1, 2, None], ["chat", "k", "", 1, 2, None]],
        [["chat", "k", "A", True, 2, None], ["chat", "k", "A", 0, 2, None]],
    ],
)
def test_a_whole_file_of_something_else_changes_nothing(value: object) -> None:
    cache = filled()
    with pytest.raises(Corrupt):
        load_routes(cache, envelope.wrap(MAGIC, FORMAT_VERSION, value))
    assert sorted(cache) == sorted(ROUTES)


def test_another_kind_or_version_is_not_taken_for_this_one() -> None:
    with pytest.raises(Corrupt, match="begins with"):
        decode_routes(envelope.wrap(b"GTxx", FORMAT_VERSION, []))
    with pytest.raises(Corrupt, match="format 2"):
        decode_routes(envelope.wrap(MAGIC, 2, []))


@pytest.mark.parametrize("content", [b"", b"x" * 100, GOOD[:-1], b"\0" * 40])
def test_a_damaged_file_is_ignored_with_a_warning(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "routes"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert route_file.load(RouteCache(), path) == 0
    assert str(path) in caplog.text and "ignored" in caplog.text


def test_a_file_that_is_not_there_is_no_reason_to_warn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert route_file.load(RouteCache(), tmp_path / "none") == 0
    assert not caplog.text


def test_a_file_beyond_its_bound_is_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "routes"
    with path.open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    assert route_file.load(RouteCache(), path) == 0
    assert "over" in caplog.text


def test_a_disk_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "routes"
    route_file.save(filled(), path)
    with pytest.raises(StorageError, match="cannot be written"):
        kept_file.replace(tmp_path / "none" / "routes", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError):
        kept_file.replace(tmp_path / "folder", b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "routes"]
    assert path.read_bytes() == encode_routes(filled())


def test_key_records_are_kept_for_their_audience() -> None:
    records = [record(1), record(2)]
    content = encode_keys(AUDIENCE, records)
    assert decode_keys(AUDIENCE, content) == records
    with pytest.raises(Corrupt):
        decode_keys("im/room", content)
    with pytest.raises(Corrupt):
        decode_keys(AUDIENCE, envelope.wrap(b"GTkr", 1, [["a", 1]]))
    with pytest.raises(Corrupt):
        decode_keys(AUDIENCE, encode_routes([]))
