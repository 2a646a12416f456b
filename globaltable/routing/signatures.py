"""The two ways to sign a header: HMAC-SHA256/128 (RFC 2104, 4231) and Ed25519 (RFC 8032).

Responsible for keys that sign and check, and for where their secrets come from. What is signed
(`header`) and when a key may be used (`keyring`) is said elsewhere.

Invariants:

* No secret is stored in GlobalTable, nor shown by `repr`: every key is derived from a *root secret*
  that signers hold, and from what is public about the key (HKDF-Expand, RFC 5869; a root is
  uniformly random, so nothing is to be extracted, section 3.3). Who reads the table, its disks or
  its backups can sign nothing.
* What is public about a key is enough to tell whether a root is the right one: the public key for
  Ed25519; for HMAC a check value, which is the MAC of something that no header begins with.
* A key signs for one audience and in one time: both are part of what its secret is derived from, so
  that nobody who may write records can give an HMAC key more of either. The audience also comes
  before everything that it signs.

HMAC is for units that trust each other: who can check can sign. With Ed25519 a verifier holds no
secret at all.
"""

import enum
import hashlib
import hmac
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

from globaltable import validation
from globaltable.errors import InvalidArgument

PUBLIC_BYTES: Final = 32
ROOT_BYTES_MIN: Final = 32
ROOT_BYTES_MAX: Final = 1_024
AUDIENCE_BYTES_MAX: Final = 128

_CONTEXT: Final = b"globaltable route header 1\0"
_CHECKED: Final = b"globaltable check value 1\0"
_BLOCK_BYTES: Final = 64
"""Of SHA-256."""
_DERIVED: Final = struct.Struct(">BIIII")


class Algorithm(enum.Enum):
    """How a key signs. The letters are those of the stored format (`keyring`)."""

    HMAC_SHA256_128 = "h"
    """The first 16 bytes of HMAC-SHA256."""
    ED25519 = "e"

    @property
    def signature_bytes(self) -> int:
        return 16 if self is Algorithm.HMAC_SHA256_128 else 64


SIGNATURE_BYTES_MAX: Final = max(one.signature_bytes for one in Algorithm)


class KeyTerms(NamedTuple):
    """Which key it is, and when it signs and counts, in seconds since the epoch."""

    key_id: int
    not_before_s: int
    sign_until_s: int
    verify_until_s: int


def require_audience(audience: str) -> None:
    """Refuse what cannot name an audience: whom headers are for, as "cluster/namespace"."""
    validation.require_key(audience)
    if len(audience.encode()) > AUDIENCE_BYTES_MAX or "\0" in audience:
        raise InvalidArgument(
            f"audience {audience!r} must hold at most {AUDIENCE_BYTES_MAX} bytes, and no NUL"
        )


class Checks(Protocol):
    """What tells whether a signature is a key's."""

    def accepts(self, body: bytes, signature: bytes) -> bool: ...


class Signs(Checks, Protocol):
    """What makes signatures, and so can check them."""

    def sign(self, body: bytes) -> bytes: ...


class HmacKey:
    """Signs and checks with one secret."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes, audience: str) -> None:
        # What comes of the secret and the audience is the same for every header, so it is hashed
        # once (RFC 2104, section 4). `hmac` can do that too, at one and a half times the cost.
        assert len(secret) <= _BLOCK_BYTES
        padded = secret.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + _preamble(audience))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def sign(self, body: bytes) -> bytes:
        inner = self._inner.copy()
        inner.update(body)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()[:16]

    def accepts(self, body: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(body), signature)


class Ed25519PublicKey:
    """Checks with a public key."""

    __slots__ = ("_preamble", "_public")

    def __init__(self, public: bytes, audience: str) -> None:
        self._public = public
        self._preamble = _preamble(audience)

    def accepts(self, body: bytes, signature: bytes) -> bool:
        try:
            crypto_sign_open(signature + self._preamble + body, self._public)
        except BadSignatureError:
            return False
        return True


class Ed25519Key(Ed25519PublicKey):
    """Signs, too."""

    __slots__ = ("_signing",)

    def __init__(self, seed: bytes, audience: str) -> None:
        self._signing = SigningKey(seed)
        super().__init__(bytes(self._signing.verify_key), audience)

    def sign(self, body: bytes) -> bytes:
        return self._signing.sign(self._preamble + body).signature


def _preamble(audience: str) -> bytes:
    """What stands before every header when it is signed: what it is, and whom it is for."""
    return _CONTEXT + audience.encode() + b"\0"


class RootSecret:
    """What the secrets of all keys are derived from. Signers hold it; for HMAC, verifiers too."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        """Raises `InvalidArgument` if it is too short to be a secret, or absurdly long."""
        if not ROOT_BYTES_MIN <= len(secret) <= ROOT_BYTES_MAX:
            raise InvalidArgument(
                f"a root secret of {len(secret)} bytes; it must hold {ROOT_BYTES_MIN} to"
                f" {ROOT_BYTES_MAX} random bytes"
            )
        self._secret = bytes(secret)

    def public(self, algorithm: Algorithm, audience: str, terms: KeyTerms) -> bytes:
        """What is public about a key: a check value (HMAC), or the public key (Ed25519)."""
        secret = self._derive(algorithm, audience, terms)
        if algorithm is Algorithm.HMAC_SHA256_128:
            return hmac.digest(secret, _CHECKED, "sha256")
        return bytes(SigningKey(secret).verify_key)

    def key(self, algorithm: Algorithm, audience: str, terms: KeyTerms) -> Signs:
        secret = self._derive(algorithm, audience, terms)
        if algorithm is Algorithm.HMAC_SHA256_128:
            return HmacKey(secret, audience)
        return Ed25519Key(secret, audience)

    def _derive(self, algorithm: Algorithm, audience: str, terms: KeyTerms) -> bytes:
        number = 1 if algorithm is Algorithm.HMAC_SHA256_128 else 2
        about = _preamble(audience) + _DERIVED.pack(number, *terms)
        # HKDF-Expand for one block: T(1) = HMAC(PRK, info | 0x01).
        return hmac.digest(self._secret, about + b"\x01", "sha256")


def signing_key(
    roots: Iterable[RootSecret],
    public: bytes,
    algorithm: Algorithm,
    audience: str,
    terms: KeyTerms,
) -> Signs | None:
    """The key that is `public`, by whichever of `roots` it was derived from; None if by none."""
    for root in roots:
        if hmac.compare_digest(root.public(algorithm, audience, terms), public):
            return root.key(algorithm, audience, terms)
    return None
