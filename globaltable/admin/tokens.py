"""Tokens for development and small clusters: a key that signs, and what it signs for a client.

What a token says is `server.tokens`'. Larger houses have an issuer of their own, and need of this
only the shape of what it makes.

Invariant: a key is written for its owner's eyes only, and one that is there is never replaced.
"""

import json
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from globaltable.errors import ConfigError
from globaltable.server.tokens import ALGORITHM, encoded


def load_key(path: Path) -> Ed25519PrivateKey:
    """Raises `ConfigError` if the file holds no such key, or others can read it."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigError(f"{path} can be read by others; chmod 600")
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} holds no Ed25519 key in PEM, without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds a key of another kind; it must be one of Ed25519")
    return key


def make_key(path: Path) -> Ed25519PrivateKey:
    """Raises `ConfigError` if something is there, or it cannot be written."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    return key


def issue(key: Ed25519PrivateKey, key_id: str, client: str, audience: str, life_s: float) -> str:
    """A token for a client, good from now on for so long."""
    now_s = int(time.time())
    header = {"alg": ALGORITHM, "kid": key_id, "typ": "JWT"}
    claims = {"sub": client, "aud": audience, "nbf": now_s, "exp": now_s + max(1, round(life_s))}
    signed = f"{_written(header)}.{_written(claims)}"
    return f"{signed}.{encoded(key.sign(signed.encode()))}"


def _written(value: Mapping[str, object]) -> str:
    return encoded(json.dumps(value, separators=(",", ":")).encode())
