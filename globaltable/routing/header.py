"""A route header: a route, signed, that any unit checks by itself.

Responsible for its bytes, and for refusing every header that is not whole, known, genuine, for
this audience and of this time. Whether the route is still the latest only a unit's own fence can
say: a header grants nothing and hides nothing, it only spares a question.

::

    1  format version                         1  bytes of the dimension
    2  audience: SHA-256, first two bytes     1  bytes of the unit
    4  key id                                 …  dimension, unit, key
    4  issued at     seconds since the epoch  …  signature: 16 bytes (HMAC), or 64 (Ed25519)
    4  expires at    seconds since the epoch
    8  version of the binding

Numbers are big-endian, names UTF-8. The signature is over the whole audience, which is not carried,
and all bytes before it. There is one form of a header: no byte can be changed, added or left out.

Invariants: no header is refused by anything but `HeaderRefused`, with one `Refusal`, and every one
is counted. Sizes are checked before anything is taken apart, and what is dear last; so a reason
says only what was noticed first. Signatures are compared in constant time.
"""

import base64
import binascii
import enum
import hashlib
import struct
from typing import Final

from globaltable import limits, validation
from globaltable.errors import GlobalTableError, InvalidArgument, Unavailable
from globaltable.routing.keyring import TIME_S_MAX, Keyring, RingKey
from globaltable.routing.route import Route
from globaltable.routing.signatures import SIGNATURE_BYTES_MAX

FORMAT_VERSION: Final = 1
DIMENSION_BYTES_MAX: Final = limits.TABLE_BYTES_MAX
LIFETIME_S_MAX: Final = 86_400
"""How long a header may live: a day. The record of a key outlives what it signed by no more."""
SKEW_S_DEFAULT: Final = 5.0
"""How far the clocks of signer and verifier may be apart, in seconds."""

_HEAD: Final = struct.Struct(">B2sIIIQBB")
HEADER_BYTES_MAX: Final = (
    _HEAD.size
    + DIMENSION_BYTES_MAX
    + limits.UNIT_BYTES_MAX
    + limits.KEY_BYTES_MAX
    + SIGNATURE_BYTES_MAX
)
_TEXT_MAX: Final = (HEADER_BYTES_MAX * 8 + 5) // 6
_KEY_ID_AT: Final = slice(3, 7)

_KEY_ID: Final = struct.Struct(">I")


class Refusal(enum.Enum):
    """Why a header was refused."""

    MALFORMED = "malformed"
    OVERSIZED = "oversized"
    FOREIGN = "foreign"
    """For another audience."""
    UNKNOWN_KEY = "unknown key"
    """Of a key that is not in the ring: not yet, no longer, or never."""
    BAD_SIGNATURE = "bad signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    """Issued later than the clocks' skew allows."""
    KEY_PERIOD = "outside its key's period"
    """Issued when its key did not sign, or to live longer than its key or any header may."""


class HeaderRefused(GlobalTableError):
    """The header says nothing: go on as if there were none. `reason` says why."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(f"route header refused, {reason.value}: {detail}")
        self.reason = reason


class NoSigningKey(Unavailable):
    """No key can sign now: none is in its period, or the root secret is not held here."""


def audience_tag(audience: str) -> bytes:
    """What tells a header of another audience at once; that it is not is for the signature."""
    return hashlib.sha256(audience.encode()).digest()[:2]


class HeaderSigner:
    """Signs routes with a key of a ring: with the one that began last, until its time to sign is
    over, or another ring is adopted."""

    __slots__ = ("_key", "_ring", "_tag")

    def __init__(self, ring: Keyring) -> None:
        self._tag: Final = audience_tag(ring.audience)
        self._ring = ring
        self._key: RingKey | None = None

    def adopt(self, ring: Keyring) -> None:
        """Sign with the keys of `ring` from now on."""
        assert ring.audience == self._ring.audience, (ring, self._ring)
        self._ring = ring
        self._key = None

    def sign(self, route: Route, now_s: float) -> bytes:
        """The header of a route, issued now. Raises `InvalidArgument` for what no header can hold,
        `NoSigningKey` if no key can sign now."""
        key = self._key
        if key is None or not key.record.signs_at(now_s):
            key = self._key = self._ring.signing(now_s)
        if key is None or key.signs is None:
            raise NoSigningKey(f"no key of {self._ring!r} can sign at {now_s:.0f}")
        body = _body(route, key.record.key_id, self._tag, int(now_s))
        if route.expires_at_s > key.record.verify_until_s:
            raise InvalidArgument(
                f"the route expires at {route.expires_at_s}, after key {key.record.key_id} at"
                f" {key.record.verify_until_s}; let it live shorter, or keys longer"
            )
        return body + key.signs.sign(body)


def _body(route: Route, key_id: int, tag: bytes, issued_at_s: int) -> bytes:
    validation.require_table(route.dimension)
    validation.require_unit(route.unit)
    validation.require_key(route.key)
    validation.require_version(route.version)
    if not 0 < route.expires_at_s - issued_at_s <= LIFETIME_S_MAX:
        raise InvalidArgument(
            f"a header issued at {issued_at_s} cannot expire at {route.expires_at_s}: it may live"
            f" 1 to {LIFETIME_S_MAX} seconds"
        )
    if not 0 <= issued_at_s < route.expires_at_s <= TIME_S_MAX:
        raise InvalidArgument(f"{route.expires_at_s} is no time of a header: at most {TIME_S_MAX}")
    dimension, unit = route.dimension.encode(), route.unit.encode()
    head = _HEAD.pack(
        FORMAT_VERSION,
        tag,
        key_id,
        issued_at_s,
        route.expires_at_s,
        route.version,
        len(dimension),
        len(unit),
    )
    return head + dimension + unit + route.key.encode()


class HeaderVerifier:
    """Checks headers against a ring, and counts what it refuses. Not thread-safe: a count may be
    lost where several threads share one."""

    __slots__ = ("_ring", "_tag", "accepted", "refused", "skew_s")

    def __init__(self, ring: Keyring, *, skew_s: float = SKEW_S_DEFAULT) -> None:
        if not 0 <= skew_s <= LIFETIME_S_MAX:
            raise InvalidArgument(f"skew_s must be 0 to {LIFETIME_S_MAX} seconds, not {skew_s!r}")
        self._ring = ring
        self._tag: Final = audience_tag(ring.audience)
        self.skew_s: Final = skew_s
        self.accepted = 0
        self.refused: Final = dict.fromkeys(Refusal, 0)
        """How many were refused, by reason: for a metric."""

    @property
    def ring(self) -> Keyring:
        return self._ring

    def adopt(self, ring: Keyring) -> None:
        """Check against `ring` from now on."""
        assert ring.audience == self._ring.audience, (ring, self._ring)
        self._ring = ring

    def verify(self, header: bytes, now_s: float) -> Route:
        """The route of a header that is to be believed now. Raises `HeaderRefused`."""
        try:
            route = self._verify(header, now_s)
        except HeaderRefused as refused:
            self.refused[refused.reason] += 1
            raise
        self.accepted += 1
        return route

    def verify_text(self, text: str, now_s: float) -> Route:
        """The same of a header that came as text (`to_text`)."""
        try:
            header = from_text(text)
        except HeaderRefused as refused:
            self.refused[refused.reason] += 1
            raise
        return self.verify(header, now_s)

    def _verify(self, header: bytes, now_s: float) -> Route:
        size = len(header)
        if size > HEADER_BYTES_MAX:
            raise HeaderRefused(Refusal.OVERSIZED, f"{size} bytes, of {HEADER_BYTES_MAX} at most")
        if size < _HEAD.size:
            raise HeaderRefused(Refusal.MALFORMED, f"{size} bytes, of {_HEAD.size} at least")
        (
            layout,
            tag,
            key_id,
            issued_at_s,
            expires_at_s,
            version,
            in_dimension,
            in_unit,
        ) = _HEAD.unpack_from(header)
        if layout != FORMAT_VERSION:
            raise HeaderRefused(Refusal.MALFORMED, f"format {layout}")
        if tag != self._tag:
            raise HeaderRefused(Refusal.FOREIGN, f"not for {self._ring.audience!r}")
        key = self._ring.find(key_id)
        if key is None:
            raise HeaderRefused(Refusal.UNKNOWN_KEY, f"key {key_id} is not known here")
        if now_s >= expires_at_s:
            raise HeaderRefused(Refusal.EXPIRED, f"{now_s - expires_at_s:.0f} s ago")
        if issued_at_s - now_s > self.skew_s:
            raise HeaderRefused(
                Refusal.NOT_YET_VALID, f"issued {issued_at_s - now_s:.0f} s in the future"
            )
        record = key.record
        if not (
            record.not_before_s <= issued_at_s < record.sign_until_s
            and expires_at_s <= record.verify_until_s
            and expires_at_s - issued_at_s <= LIFETIME_S_MAX
        ):
            raise HeaderRefused(
                Refusal.KEY_PERIOD,
                f"from {issued_at_s} to {expires_at_s}, of a key that signs from"
                f" {record.not_before_s} to {record.sign_until_s}",
            )
        unit_at = _HEAD.size + in_dimension
        key_at = unit_at + in_unit
        body_size = size - key.signature_bytes
        if body_size <= key_at:
            raise HeaderRefused(Refusal.MALFORMED, f"{size} bytes cannot hold what it says")
        body = header[:body_size]
        if not key.checks.accepts(body, header[body_size:]):
            raise HeaderRefused(Refusal.BAD_SIGNATURE, f"not made by key {key_id}")
        try:
            names = (
                body[_HEAD.size : unit_at].decode(),
                body[key_at:].decode(),
                body[unit_at:key_at].decode(),
            )
        except UnicodeDecodeError as error:
            raise HeaderRefused(Refusal.MALFORMED, f"a name is not UTF-8: {error}") from error
        route = Route(*names, version, expires_at_s)
        if not (in_dimension and in_unit and 0 < version <= limits.VERSION_MAX):
            raise HeaderRefused(Refusal.MALFORMED, f"{route} names nothing")
        return route


def key_id_of(header: bytes) -> int:
    """The id of the key that is said to have signed a header that was verified before."""
    number: int
    (number,) = _KEY_ID.unpack(header[_KEY_ID_AT])
    return number


def to_text(header: bytes) -> str:
    """A header for HTTP: base64url without padding. gRPC carries the bytes (`…-bin`)."""
    return base64.urlsafe_b64encode(header).decode().rstrip("=")


def from_text(text: str) -> bytes:
    """The bytes of a header that came as text. Raises `HeaderRefused`: oversized, or malformed if
    `to_text` would not have written it so."""
    if len(text) > _TEXT_MAX:
        raise HeaderRefused(Refusal.OVERSIZED, f"{len(text)} characters, of {_TEXT_MAX} at most")
    try:
        standard = text.translate(_TO_STANDARD) + "=" * (-len(text) % 4)
        header = binascii.a2b_base64(standard, strict_mode=True)
    except ValueError as error:
        raise HeaderRefused(Refusal.MALFORMED, f"not base64url: {error}") from error
    if to_text(header) != text:
        raise HeaderRefused(Refusal.MALFORMED, "not the one base64url of these bytes")
    return header


_TO_STANDARD: Final = str.maketrans({"-": "+", "_": "/", "+": "!", "/": "!"})
