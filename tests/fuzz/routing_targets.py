"""What routing decodes: headers that came with a message, records of keys, files of before."""

from typing import Any, Final

import msgpack

from globaltable.errors import Corrupt
from globaltable.routing.envelope import seal
from globaltable.routing.header import HeaderRefused, HeaderSigner, HeaderVerifier, to_text
from globaltable.routing.key_rotation import new_record
from globaltable.routing.keyring import (
    KeyRecord,
    Keyring,
    decode_record,
    encode_record,
    key_id_of_name,
    record_name,
)
from globaltable.routing.route import Route
from globaltable.routing.route_cache import CachedRoute, RouteCache
from globaltable.routing.signatures import Algorithm, KeyTerms, RootSecret
from globaltable.routing.stored_keys import decode_keys, encode_keys
from globaltable.routing.stored_routes import FORMAT_VERSION, MAGIC, encode_routes, load_routes
from tests.fuzz.mutations import Grammar
from tests.fuzz.subject import Subject, Target

_AUDIENCE: Final = "im/chat"
_NOW_S: Final = 1_900_000_000
_ROOT: Final = RootSecret(bytes(32))
_ROUTES: Final = [
    Route("chat", "cid:1001", "unit-a", 1, _NOW_S + 600),
    Route("document", "é" * 20, "b", 2**62, _NOW_S + 1),
]


def _record(key_id: int, algorithm: Algorithm) -> KeyRecord:
    terms = KeyTerms(key_id, _NOW_S - 60, _NOW_S + 60, _NOW_S + 99_999)
    return new_record(terms, _ROOT, algorithm, _AUDIENCE)


_RECORDS: Final = [_record(n, algorithm) for n, algorithm in enumerate(Algorithm, 1)]
_RINGS: Final = [Keyring(_AUDIENCE, [record], [_ROOT]) for record in _RECORDS]
_RING: Final = Keyring(_AUDIENCE, _RECORDS, [_ROOT])
_HEADERS: Final = [HeaderSigner(ring).sign(r, _NOW_S) for r in _ROUTES for ring in _RINGS]


def _header() -> Subject:
    verifier = HeaderVerifier(_RING)
    return Subject(_HEADERS, lambda data: verifier.verify(data, _NOW_S))


def _signed() -> Subject:
    """Whatever is in it, it is genuine: what comes behind the check of the signature."""
    ring = _RINGS[0]
    verifier, key = HeaderVerifier(ring), ring.find(1)
    assert key is not None and key.signs is not None
    sign = key.signs.sign
    bodies = [HeaderSigner(ring).sign(route, _NOW_S)[:-16] for route in _ROUTES]
    return Subject(bodies, lambda data: verifier.verify(data + sign(data), _NOW_S))


def _text() -> Subject:
    verifier = HeaderVerifier(_RING)

    def decode(data: bytes) -> Route:
        return verifier.verify_text(data.decode("latin-1"), _NOW_S)

    return Subject([to_text(header).encode() for header in _HEADERS], decode)


def _key_record() -> Subject:
    """The name of its binding, a line end, and its unit."""

    def encode(record: KeyRecord) -> bytes:
        return f"{record_name(_AUDIENCE, record.key_id)}\n{encode_record(record)}".encode()

    def decode(data: bytes) -> KeyRecord:
        name, _, unit = data.decode(errors="surrogateescape").partition("\n")
        record = decode_record(_AUDIENCE, name, unit)
        assert record.key_id == key_id_of_name(_AUDIENCE, name)
        Keyring(_AUDIENCE, [record], [_ROOT])
        return record

    return Subject([encode(record) for record in _RECORDS], decode, lambda r: decode(encode(r)))


def _key_file() -> Subject:
    def decode(data: bytes) -> Any:
        return decode_keys(_AUDIENCE, data)

    seed = encode_keys(_AUDIENCE, _RECORDS)
    return Subject([seed], decode, lambda records: decode(encode_keys(_AUDIENCE, records)))


def _route_file() -> Subject:
    """With a checksum that is right, whatever is in it."""
    cached = [CachedRoute(route, header) for route, header in zip(_ROUTES, _HEADERS, strict=False)]

    def load(content: bytes) -> list[CachedRoute]:
        cache = RouteCache(entries_max=100)
        load_routes(cache, content)
        return list(cache)

    rows = [[(*route, header) for route, header in some] for some in (cached, cached[:1], [])]
    seeds = [msgpack.packb(some, use_bin_type=True) for some in rows]
    return Subject(
        seeds,
        lambda data: load(seal(MAGIC, FORMAT_VERSION, data)),
        lambda value: load(encode_routes(value)),
    )


TARGETS = (
    Target("route header", _header, (HeaderRefused,), Grammar.PLAIN),
    Target("signed route header", _signed, (HeaderRefused,), Grammar.PLAIN),
    Target("route header as text", _text, (HeaderRefused,), Grammar.TEXT),
    Target("header key record", _key_record, (Corrupt,), Grammar.TEXT),
    Target("file of header keys", _key_file, (Corrupt,), Grammar.MSGPACK),
    Target("file of routes", _route_file, (Corrupt,), Grammar.MSGPACK),
)
