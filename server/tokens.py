"""Tokens, which a client may show in the place of a certificate: who it is, for whom, until when.

A token is a JWT (RFC 7519) that is signed with Ed25519 (RFC 8037), and no other way. Its header
names the key (`kid`); its claims are the client's name (`sub`), this cluster (`aud`), the end
(`exp`), and, if wanted, the beginning (`nbf`). The configuration has the public keys, so that who
reads it can make none. What a client may do goes by its name, whichever of the two it shows.

A token is good for whoever holds it, as often as it is shown, until it ends: it must be kept like a
key, and is sent over TLS only.

Invariants: nothing of a token is believed before its signature; the token never says by which
algorithm it is checked; no token is part of a message or a log.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from globaltable.errors import ConfigError
from globaltable.server.identities import Identity, Kind, Unidentified
from globaltable.toml_section import as_name

TOKEN_BYTES_MAX: Final = 4_096
KEYS_MAX: Final = 64
PUBLIC_BYTES: Final = 32
ALGORITHM: Final = "EdDSA"
CLOCKS_DIFFER_S: Final = 60.0
"""A token may be shown so long before it begins, for clocks are not all the same. At its end there
is no such grace."""
_HEADER: Final = frozenset(("alg", "kid", "typ"))
_TIME_S_MAX: Final = 2**53


class Token(NamedTuple):
    """What a token says that was believed."""

    identity: Identity
    key_id: str
    expires_at_s: float
    """Since the epoch."""


class TokenKeys:
    """Those of a cluster, by which tokens for it are checked."""

    def __init__(self, keys: Mapping[str, bytes], cluster: str, audience: str) -> None:
        """`keys` are public ones, by their ids; `audience` is what a token's `aud` must be."""
        self._keys = {name: Ed25519PublicKey.from_public_bytes(raw) for name, raw in keys.items()}
        self._cluster = cluster
        self._audience = audience

    def knows(self, key_id: str) -> bool:
        """Whether tokens of this key are believed."""
        return key_id in self._keys

    def read(self, text: str, now_s: float) -> Token:
        """What a token says. Raises `Unidentified`, never with the token in it."""
        if len(text) > TOKEN_BYTES_MAX:
            raise Unidentified(f"the token has {len(text)} bytes, and may have {TOKEN_BYTES_MAX}")
        signed, _, signature = text.rpartition(".")
        head, _, claims = signed.partition(".")
        key_id = self._key_named(_object("header", head))
        try:
            self._keys[key_id].verify(_bytes("signature", signature), signed.encode())
        except InvalidSignature as error:
            raise Unidentified(f"the token is not signed by key {key_id!r}") from error
        return self._believed(key_id, _object("claims", claims), now_s)

    def _key_named(self, header: dict[str, Any]) -> str:
        if header.get("alg") != ALGORITHM or not header.keys() <= _HEADER:
            raise Unidentified(f"the token's header must have alg {ALGORITHM!r}, kid, and no more")
        key_id = header.get("kid")
        if not isinstance(key_id, str) or key_id not in self._keys:
            raise Unidentified(f"the token's key {str(key_id)[:64]!r} is none that is known here")
        return key_id

    def _believed(self, key_id: str, claims: dict[str, Any], now_s: float) -> Token:
        audience, expires_at_s = claims.get("aud"), _time("exp", claims)
        if audience != self._audience:
            raise Unidentified(
                f"the token is for {str(audience)[:128]!r}, and this is {self._audience!r}"
            )
        if now_s >= expires_at_s:
            raise Unidentified(f"the token ended {now_s - expires_at_s:.0f} s ago")
        if "nbf" in claims and now_s < _time("nbf", claims) - CLOCKS_DIFFER_S:
            raise Unidentified("the token has not begun yet")
        try:
            name = as_name("sub", claims.get("sub"))
        except ConfigError as error:
            raise Unidentified(f"the token names no client: {error}") from error
        return Token(Identity(self._cluster, Kind.CLIENT, name), key_id, expires_at_s)


def _time(claim: str, claims: dict[str, Any]) -> float:
    value = claims.get(claim)
    if type(value) is not int or not 0 <= value < _TIME_S_MAX:
        raise Unidentified(f"the token's {claim} must be whole seconds since the epoch")
    return float(value)


def _object(what: str, part: str) -> dict[str, Any]:
    try:
        value = json.loads(_bytes(what, part), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise Unidentified(f"the token's {what} is no JSON") from error
    if not isinstance(value, dict):
        raise Unidentified(f"the token's {what} is no JSON object")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice")
    return value


def _bytes(what: str, part: str) -> bytes:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unidentified(f"the token's {what} is not in base64url") from error
    if encoded(data) != part:
        raise Unidentified(f"the token's {what} is not in base64url as it is written")
    return data


def encoded(data: bytes) -> str:
    """In base64url, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
