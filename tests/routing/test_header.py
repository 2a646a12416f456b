"""A route header is what its key signed, for this audience and this time, or it is refused."""

import hashlib
import hmac
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable import limits
from globaltable.errors import InvalidArgument
from globaltable.routing.header import (
    HEADER_BYTES_MAX,
    LIFETIME_S_MAX,
    HeaderRefused,
    HeaderSigner,
    HeaderVerifier,
    NoSigningKey,
    Refusal,
    audience_tag,
    from_text,
    key_id_of,
    to_text,
)
from globaltable.routing.key_rotation import new_record
from globaltable.routing.keyring import Keyring
from globaltable.routing.route import Route
from globaltable.routing.signatures import Algorithm, KeyTerms, RootSecret
from tests.routing.rings import AUDIENCE, DAY_S, NOW_S, ROOT, record, ring, ring_of

ROUTE = Route("chat", "cid:1001", "unit-a", 7, NOW_S + 600)
HMAC, ED25519 = Algorithm.HMAC_SHA256_128, Algorithm.ED25519
both = pytest.mark.parametrize("algorithm", list(Algorithm))


def header_of(ring: Keyring, route: Route = ROUTE, now_s: float = NOW_S) -> bytes:
    return HeaderSigner(ring).sign(route, now_s)


def refusal(verifier: HeaderVerifier, header: bytes, now_s: float = NOW_S) -> Refusal:
    before = dict(verifier.refused)
    with pytest.raises(HeaderRefused) as refused:
        verifier.verify(header, now_s)
    reason = refused.value.reason
    assert verifier.refused == before | {reason: before[reason] + 1}, "each is counted, once"
    return reason


@both
@pytest.mark.parametrize(("names", "size"), [(("chat", "cid:1001", "unit-a"), 18)])
def test_its_size_is_41_bytes_and_names_or_89(
    algorithm: Algorithm, names: tuple[str, str, str], size: int
) -> None:
    header = header_of(ring_of(algorithm), Route(*names, 1, NOW_S + 1))
    assert len(header) == size + (41 if algorithm is HMAC else 89)


def _names(bytes_max: int, alphabet: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=1, max_size=bytes_max).filter(
        lambda text: len(text.encode()) <= bytes_max
    )


routes = st.builds(
    Route,
    dimension=_names(limits.TABLE_BYTES_MAX, st.sampled_from("abcXYZ019._-é")),
    key=_names(limits.KEY_BYTES_MAX, st.characters(exclude_categories=["Cs"])),
    unit=_names(limits.UNIT_BYTES_MAX, st.characters(exclude_categories=["Cs"])),
    version=st.integers(1, limits.VERSION_MAX),
    expires_at_s=st.integers(NOW_S + 1, NOW_S + LIFETIME_S_MAX),
)


@given(route=routes, algorithm=st.sampled_from(Algorithm))
def test_what_was_signed_is_what_is_read(route: Route, algorithm: Algorithm) -> None:
    keys = ring_of(algorithm)
    header = header_of(keys, route)
    assert len(header) <= HEADER_BYTES_MAX
    verifier = HeaderVerifier(keys)
    assert verifier.verify(header, NOW_S) == route
    assert from_text(to_text(header)) == header
    assert verifier.verify_text(to_text(header), NOW_S) == route
    assert verifier.accepted == 2 and not any(verifier.refused.values())
    assert key_id_of(header) == 1


@both
def test_no_byte_of_it_can_be_changed_added_or_left_out(algorithm: Algorithm) -> None:
    verifier = HeaderVerifier(ring_of(algorithm))
    header = header_of(verifier.ring)
    for at in range(len(header)):
        for bit in (1, 128):
            changed = bytearray(header)
            changed[at] ^= bit
            refusal(verifier, bytes(changed))
    for size in range(len(header)):
        refusal(verifier, header[:size])
    refusal(verifier, header + b"\0")
    refusal(verifier, b"\0" + header)


@both
def test_names_cannot_flow_into_each_other(algorithm: Algorithm) -> None:
    """The same bytes, cut elsewhere, were not signed."""
    verifier = HeaderVerifier(ring_of(algorithm))
    header = bytearray(header_of(verifier.ring))
    header[23] += 1
    header[24] -= 1
    assert refusal(verifier, bytes(header)) is Refusal.BAD_SIGNATURE


def forged(algorithm: Algorithm) -> bytes:
    """Of somebody who knows everything but the root."""
    root = RootSecret(b"x" * 32)
    return header_of(Keyring(AUDIENCE, [record(algorithm=algorithm, root=root)], [root]))


def foreign(algorithm: Algorithm) -> bytes:
    """Of another namespace of the same cluster, with the same root and times."""
    other = "im/room"
    return header_of(ring(record(algorithm=algorithm, audience=other), audience=other))


def foreign_in_disguise(algorithm: Algorithm) -> bytes:
    """The same, with the tag of ours."""
    header = foreign(algorithm)
    return header[:1] + audience_tag(AUDIENCE) + header[3:]


def of_another_key(algorithm: Algorithm) -> bytes:
    return header_of(ring(record(2, algorithm)))


def names_another_key(algorithm: Algorithm) -> bytes:
    header = of_another_key(algorithm)
    return header[:3] + (1).to_bytes(4, "big") + header[7:]


def of_another_kind_of_key(algorithm: Algorithm) -> bytes:
    """Signed by a key of the other algorithm, which has the same number."""
    other = ED25519 if algorithm is HMAC else HMAC
    return header_of(ring_of(other), ROUTE._replace(key="k" * 100))


@both
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (forged, Refusal.BAD_SIGNATURE),
        (foreign, Refusal.FOREIGN),
        (foreign_in_disguise, Refusal.BAD_SIGNATURE),
        (of_another_key, Refusal.UNKNOWN_KEY),
        (names_another_key, Refusal.BAD_SIGNATURE),
        (of_another_kind_of_key, Refusal.BAD_SIGNATURE),
        (lambda _: b"", Refusal.MALFORMED),
        (lambda _: b"\1" * HEADER_BYTES_MAX, Refusal.FOREIGN),
        (lambda _: b"\1" * (HEADER_BYTES_MAX + 1), Refusal.OVERSIZED),
        (lambda kind: b"\2" + header_of(ring_of(kind))[1:], Refusal.MALFORMED),
        (lambda kind: header_of(ring_of(kind))[:42], Refusal.MALFORMED),
    ],
)
def test_what_was_not_signed_for_us_is_refused(
    algorithm: Algorithm, make: Callable[[Algorithm], bytes], reason: Refusal
) -> None:
    assert refusal(HeaderVerifier(ring_of(algorithm)), make(algorithm)) is reason


@both
@pytest.mark.parametrize(
    ("now_s", "reason"),
    [
        (NOW_S - 6, Refusal.NOT_YET_VALID),
        (NOW_S - 5, None),
        (NOW_S + 599.9, None),
        (NOW_S + 600, Refusal.EXPIRED),
        (NOW_S + 10 * DAY_S, Refusal.EXPIRED),
    ],
)
def test_it_counts_from_when_it_was_issued_less_the_skew_until_it_expires(
    algorithm: Algorithm, now_s: float, reason: Refusal | None
) -> None:
    verifier = HeaderVerifier(ring_of(algorithm), skew_s=5)
    header = header_of(verifier.ring)
    if reason is None:
        assert verifier.verify(header, now_s) == ROUTE
    else:
        assert refusal(verifier, header, now_s) is reason


@pytest.mark.parametrize(
    ("issued_s", "expires_s", "reason"),
    [
        (-101, 10, Refusal.KEY_PERIOD),
        (-100, 10, None),
        (-1, 10, None),
        (0, 10, Refusal.KEY_PERIOD),
        (-50, 500, None),
        (-50, 501, Refusal.KEY_PERIOD),
    ],
)
def test_a_key_that_has_signed_its_time_vouches_for_nothing_new(
    issued_s: int, expires_s: int, reason: Refusal | None
) -> None:
    """Whoever gets hold of an old key can only date back, and so not for long."""
    terms = KeyTerms(1, NOW_S - 100, NOW_S, NOW_S + 500)
    keys = ring(new_record(terms, ROOT, HMAC, AUDIENCE))
    body = _body(b"chat", b"A", b"k", 1, issued_s, expires_s)
    verifier, header = HeaderVerifier(keys), _signed_by_hand(body, keys)
    if reason is None:
        verifier.verify(header, NOW_S)
    else:
        assert refusal(verifier, header) is reason


def _signed_by_hand(body: bytes, keys: Keyring) -> bytes:
    key = keys.find(1)
    assert key and key.signs
    return body + key.signs.sign(body)


def _body(
    dimension: bytes,
    unit: bytes,
    key: bytes,
    version: int,
    issued_s: int = 0,
    expires_s: int = 9,
) -> bytes:
    numbers = b"".join(n.to_bytes(4, "big") for n in (1, NOW_S + issued_s, NOW_S + expires_s))
    sizes = bytes((len(dimension), len(unit)))
    head = b"\1" + audience_tag(AUDIENCE) + numbers + version.to_bytes(8, "big") + sizes
    return head + dimension + unit + key


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (_body(b"chat", b"A", b"k", 1), None),
        (_body(b"", b"A", b"k", 1), Refusal.MALFORMED),
        (_body(b"chat", b"", b"k", 1), Refusal.MALFORMED),
        (_body(b"chat", b"A", b"", 1), Refusal.MALFORMED),
        (_body(b"chat", b"A", b"k", 0), Refusal.MALFORMED),
        (_body(b"chat", b"A", b"k", 2**63), Refusal.MALFORMED),
        (_body(b"chat", b"\xff", b"k", 1), Refusal.MALFORMED),
        (_body(b"chat", b"A", b"k", 1, 0, LIFETIME_S_MAX), None),
        (_body(b"chat", b"A", b"k", 1, 0, LIFETIME_S_MAX + 1), Refusal.KEY_PERIOD),
    ],
)
def test_even_a_signed_header_must_make_sense(body: bytes, reason: Refusal | None) -> None:
    verifier = HeaderVerifier(ring_of(HMAC))
    header = _signed_by_hand(body, verifier.ring)
    if reason is None:
        verifier.verify(header, NOW_S)
    else:
        assert refusal(verifier, header) is reason


def test_its_hmac_is_the_standard_one_over_the_audience_and_the_body() -> None:
    """So that it can be made and checked in any language. (HKDF-Expand: RFC 5869, section 2.3.)"""
    begins_s = NOW_S - 100
    context = b"globaltable route header 1\0im/chat\0"
    terms = (1, begins_s, begins_s + DAY_S, begins_s + 2 * DAY_S)
    derived_for = context + b"\1" + b"".join(number.to_bytes(4, "big") for number in terms)
    secret = hmac.new(bytes(range(32)), derived_for + b"\1", hashlib.sha256).digest()
    header = header_of(ring(record(begins_s=begins_s)))
    body, signature = header[:-16], header[-16:]
    assert signature == hmac.new(secret, context + body, hashlib.sha256).digest()[:16]


@pytest.mark.parametrize(
    "route",
    [
        ROUTE._replace(dimension="no table"),
        ROUTE._replace(dimension=""),
        ROUTE._replace(key=""),
        ROUTE._replace(key="x" * 257),
        ROUTE._replace(unit="x" * 65),
        ROUTE._replace(version=0),
        ROUTE._replace(version=2**63),
        ROUTE._replace(expires_at_s=NOW_S),
        ROUTE._replace(expires_at_s=NOW_S + LIFETIME_S_MAX + 1),
    ],
)
def test_what_no_header_can_hold_is_not_signed(route: Route) -> None:
    with pytest.raises(InvalidArgument):
        header_of(ring_of(HMAC), route)


def test_a_header_does_not_outlive_the_record_of_its_key() -> None:
    terms = KeyTerms(1, NOW_S - 100, NOW_S + 100, NOW_S + 500)
    keys = ring(new_record(terms, ROOT, HMAC, AUDIENCE))
    with pytest.raises(InvalidArgument, match="after key 1"):
        header_of(keys)


def test_nobody_signs_without_a_key_in_its_time() -> None:
    signer = HeaderSigner(ring(record(begins_s=NOW_S + 10)))
    with pytest.raises(NoSigningKey):
        signer.sign(ROUTE, NOW_S)
    assert key_id_of(signer.sign(ROUTE, NOW_S + 10)) == 1
    with pytest.raises(NoSigningKey):
        HeaderSigner(Keyring(AUDIENCE, [record(algorithm=ED25519)])).sign(ROUTE, NOW_S)


def test_the_next_key_takes_over_when_the_time_of_one_is_over() -> None:
    one = record(1, begins_s=NOW_S - 50, signs_for_s=60)
    two = record(2, begins_s=NOW_S + 10)
    signer, verifier = HeaderSigner(ring(one, two)), HeaderVerifier(ring(one, two))
    headers = [signer.sign(ROUTE, NOW_S + n) for n in (0, 9.9, 10, 11)]
    assert [key_id_of(header) for header in headers] == [1, 1, 2, 2]
    for header in headers:
        assert verifier.verify(header, NOW_S + 12) == ROUTE


def test_a_revoked_key_stops_counting_and_signing_with_the_next_ring() -> None:
    one, two = record(1), record(2, begins_s=NOW_S - 50)
    signer, verifier = HeaderSigner(ring(one, two)), HeaderVerifier(ring(one, two))
    header = signer.sign(ROUTE, NOW_S)
    assert key_id_of(header) == 2
    signer.adopt(ring(one))
    verifier.adopt(ring(one))
    assert refusal(verifier, header) is Refusal.UNKNOWN_KEY
    assert verifier.verify(signer.sign(ROUTE, NOW_S), NOW_S) == ROUTE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x" * 1_000, Refusal.OVERSIZED),
        ("A", Refusal.MALFORMED),
        ("AB=", Refusal.MALFORMED),
        ("AB==", Refusal.MALFORMED),
        ("AB", Refusal.MALFORMED),
        ("a+/b", Refusal.MALFORMED),
        ("a b\n", Refusal.MALFORMED),
        ("ключ", Refusal.MALFORMED),
        ("\ud800" * 4, Refusal.MALFORMED),
    ],
)
def test_text_has_one_form_too(text: str, reason: Refusal) -> None:
    verifier = HeaderVerifier(ring_of(HMAC))
    with pytest.raises(HeaderRefused) as refused:
        verifier.verify_text(text, NOW_S)
    assert refused.value.reason is reason and verifier.refused[reason] == 1


def test_no_other_text_stands_for_the_same_header() -> None:
    """71 bytes leave two bits of the last character without a meaning."""
    verifier = HeaderVerifier(ring_of(HMAC))
    header = header_of(verifier.ring, ROUTE._replace(key="k" * 20))
    text = to_text(header)
    assert len(header) == 71 and from_text(text) == header
    others = [text[:-1] + chr(ord(text[-1]) + 1), text + "=", " " + text, text + "\n"]
    for other in others:
        with pytest.raises(HeaderRefused) as refused:
            from_text(other)
        assert refused.value.reason is Refusal.MALFORMED
