"""The hottest routes of a client as the content of a file, so that a restart begins with them.

Responsible for the encoding and for what is taken in: a file says nothing that the cache would not
believe from anybody else, and a unit checks the header all the same.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from globaltable.errors import Corrupt, InvalidArgument
from globaltable.routing import envelope
from globaltable.routing.header import HEADER_BYTES_MAX
from globaltable.routing.route import Route
from globaltable.routing.route_cache import CachedRoute, RouteCache

MAGIC: Final = b"GTrc"
FORMAT_VERSION: Final = 1
ROUTES_MAX: Final = 100_000
FILE_BYTES_MAX: Final = ROUTES_MAX * 1_024
"""Above `ROUTES_MAX` of the largest."""


def encode_routes(cached: Iterable[CachedRoute]) -> bytes:
    """The content of a file of the first `ROUTES_MAX` of them."""
    rows = [(*route, header) for route, header in islice(cached, ROUTES_MAX)]
    return envelope.wrap(MAGIC, FORMAT_VERSION, rows)


def decode_routes(content: bytes) -> list[CachedRoute]:
    """The routes of a file, in its order. Raises `Corrupt`."""
    if len(content) > FILE_BYTES_MAX:
        raise Corrupt(f"{len(content)} bytes, of {FILE_BYTES_MAX} at most")
    rows = envelope.unwrap(MAGIC, FORMAT_VERSION, content)
    if not isinstance(rows, list) or len(rows) > ROUTES_MAX:
        raise Corrupt("it holds no list of routes")
    return [_cached(row) for row in rows]


def _cached(row: object) -> CachedRoute:
    match row:
        case [
            str(dimension), str(key), str(unit), int(version), int(expires_at_s),
            bytes() | None as header,
        ] if header is None or len(header) <= HEADER_BYTES_MAX:  # fmt: skip
            return CachedRoute(Route(dimension, key, unit, version, expires_at_s), header)
    raise Corrupt("it holds something that is no route")


def load_routes(cache: RouteCache, content: bytes) -> int:
    """Put the routes of a file into a cache, the coldest first; how many it took. Raises `Corrupt`,
    and has then put none."""
    routes = decode_routes(content)
    scratch = RouteCache(entries_max=1)
    try:
        for cached in routes:
            scratch.put(*cached)
    except InvalidArgument as error:
        raise Corrupt(f"it holds something that is no route: {error}") from error
    return sum(cache.put(*cached) for cached in reversed(routes))
