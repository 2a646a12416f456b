"""What a route header costs: bytes, the signature, the check, and the checks that are spared.

In one process, without a network, in processor time: others at work on the machine do not count,
though the caches they leave cold do. An operation is timed in batches, large enough for the clock
to matter little; percentiles are of the batches' means. A header that is looked up is a new object
each time, as it is when it comes from a network, so that its hash is paid for. Beside ours stand
the bare cryptographic calls on as many bytes, in the same run.
"""

import gc
import hmac
import json
import random
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from nacl.bindings import crypto_sign_open
from nacl.signing import SigningKey

from globaltable.bench import machine
from globaltable.routing.header import HeaderSigner, HeaderVerifier
from globaltable.routing.hotspots import SpaceSaving
from globaltable.routing.key_rotation import new_record
from globaltable.routing.keyring import Keyring
from globaltable.routing.route import Route
from globaltable.routing.route_cache import RouteCache
from globaltable.routing.signatures import Algorithm, KeyTerms, RootSecret
from globaltable.routing.verified import VerifiedHeaders

SUMMARY: Final = "what it costs to sign, check and find routes; no network"
AUDIENCE: Final = "im/chat"
_NOW_S: Final = 1_900_000_000
_SECRET: Final = bytes(32)
_ZIPF: Final = 1.0


class Row(NamedTuple):
    """One operation. Times are in microseconds."""

    what: str
    p50_us: float
    p99_us: float
    per_second: float
    """On one core, from the mean."""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=1.0, help="for each line (%(default)s)")
    parser.add_argument("--routes", type=int, default=10_000, help="in the caches (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


def run(options: Namespace) -> int:
    before = machine.describe()
    sizes = {algorithm: len(_headers(algorithm, 1)[0]) for algorithm in Algorithm}
    names = len("chat" + _key(0) + "unit-a")
    print("  ".join(f"{name}: {value}" for name, value in before.items()))
    for algorithm, size in sizes.items():
        print(f"{_named(algorithm)}: {size} bytes, {size - names} of them besides the names")
    print(f"{'':44}{'P50':>10}{'P99':>10}{'A SECOND':>13}")
    rows = []
    for row in _rows(options.seconds, options.routes):
        rows.append(row)
        print(f"{row.what:44}{row.p50_us:7.2f} µs{row.p99_us:7.2f} µs{row.per_second:13,.0f}")
    if options.json:
        found: dict[str, Any] = {
            "machine": before,
            "bytes": {_named(algorithm): size for algorithm, size in sizes.items()},
            "rows": [row._asdict() for row in rows],
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _rows(seconds: float, routes: int) -> Iterator[Row]:
    data = bytes(100)
    yield _measure(
        "bare HMAC-SHA256", partial(hmac.digest, _SECRET, digest="sha256"), [data], seconds
    )
    signing = SigningKey(_SECRET)
    signed, public = bytes(signing.sign(data)), bytes(signing.verify_key)
    yield _measure("bare Ed25519 check", partial(crypto_sign_open, pk=public), [signed], seconds, 1)
    for algorithm in Algorithm:
        yield from _header_rows(algorithm, seconds, min(routes, 1_000))
    yield from _cache_rows(seconds, routes)


def _header_rows(algorithm: Algorithm, seconds: float, count: int) -> Iterator[Row]:
    batch = 10 if algorithm is Algorithm.HMAC_SHA256_128 else 1
    name = _named(algorithm)
    ring = _ring(algorithm)
    signer, verifier = HeaderSigner(ring), HeaderVerifier(ring)
    headers = _headers(algorithm, count)
    routes = [_route(number) for number in range(count)]
    yield _measure(f"{name}: sign", partial(signer.sign, now_s=_NOW_S), routes, seconds, batch)
    yield _measure(
        f"{name}: check", partial(verifier.verify, now_s=_NOW_S), headers, seconds, batch
    )
    seen = VerifiedHeaders(verifier)
    for header in headers:
        seen.verify(header, _NOW_S)
    yield _measure(
        f"{name}: check, seen before",
        partial(seen.verify, now_s=_NOW_S),
        headers,
        seconds,
        copied=True,
    )


def _cache_rows(seconds: float, routes: int) -> Iterator[Row]:
    cache = RouteCache(entries_max=routes)
    for number, header in enumerate(_headers(Algorithm.HMAC_SHA256_128, routes)):
        cache.put(_route(number), header)
    chance = random.Random(1)
    ranks = range(1, routes + 1)
    drawn = chance.choices(ranks, [rank**-_ZIPF for rank in ranks], k=50_000)
    keys = [_key(rank - 1) for rank in drawn]
    find = partial(cache.find, "chat", now_s=_NOW_S)
    yield _measure(f"a client's route, of {routes:,}", find, keys, seconds)
    seen = VerifiedHeaders(HeaderVerifier(_ring(Algorithm.HMAC_SHA256_128)))

    def message(key: str) -> Route:
        cached = cache.find("chat", key, _NOW_S)
        assert cached is not None and cached.header is not None
        return seen.verify(cached.header, _NOW_S)

    yield _measure("that, and its header checked, seen before", message, keys, seconds)
    sketch: SpaceSaving[str] = SpaceSaving(1_000)
    yield _measure("a hit counted, 1,000 counters", sketch.hit, keys, seconds)


def _measure(
    what: str,
    operation: Callable[[Any], object],
    inputs: Sequence[Any],
    seconds: float,
    batch: int = 100,
    *,
    copied: bool = False,
) -> Row:
    """Time an operation on its inputs in turn; `copied` ones are new objects each time."""
    supply = cycle(inputs)
    for one in islice(supply, 10 * batch):
        operation(one)
    means_us: list[float] = []
    gc.collect()
    gc.disable()  # its pauses are the whole process's
    try:
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            some = list(islice(supply, batch))
            if copied:
                some = [bytes(bytearray(one)) for one in some]
            began_ns = time.thread_time_ns()
            for one in some:
                operation(one)
            means_us.append((time.thread_time_ns() - began_ns) / 1_000 / batch)
    finally:
        gc.enable()
    means_us.sort()
    mean_us = sum(means_us) / len(means_us)
    return Row(
        what,
        means_us[len(means_us) // 2],
        means_us[min(len(means_us) - 1, len(means_us) * 99 // 100)],
        1_000_000 / mean_us,
    )


def _named(algorithm: Algorithm) -> str:
    return "HMAC" if algorithm is Algorithm.HMAC_SHA256_128 else "Ed25519"


def _key(number: int) -> str:
    return f"cid:{number:016}"


def _route(number: int) -> Route:
    return Route("chat", _key(number), "unit-a", 1, _NOW_S + 600)


def _ring(algorithm: Algorithm) -> Keyring:
    root = RootSecret(_SECRET)
    terms = KeyTerms(1, _NOW_S - 60, _NOW_S + 60, _NOW_S + 90_000)
    return Keyring(AUDIENCE, [new_record(terms, root, algorithm, AUDIENCE)], [root])


def _headers(algorithm: Algorithm, count: int) -> list[bytes]:
    signer = HeaderSigner(_ring(algorithm))
    return [signer.sign(_route(number), _NOW_S) for number in range(count)]
