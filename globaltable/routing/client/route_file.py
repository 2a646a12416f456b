"""A client's hottest routes, kept in a file over restarts."""

from functools import partial
from pathlib import Path

from globaltable.routing.client import kept_file
from globaltable.routing.route_cache import RouteCache
from globaltable.routing.stored_routes import FILE_BYTES_MAX, encode_routes, load_routes


def save(cache: RouteCache, path: Path) -> None:
    """Keep the routes of `cache` in `path`. Raises `StorageError`.

    Where an event loop uses the cache, encode there (`encode_routes`) and write in a thread
    (`kept_file.replace`).
    """
    kept_file.replace(path, encode_routes(cache))


def load(cache: RouteCache, path: Path) -> int:
    """Put what `path` holds into `cache`; how many routes. A damaged file is warned of, and none
    of it is used."""
    return kept_file.load(path, FILE_BYTES_MAX, partial(load_routes, cache)) or 0
