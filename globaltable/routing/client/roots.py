"""Root secrets from a file: one in each line, as base64url; the first signs what is new.

Responsible for reading that file, and for what a line holds. It is brought to every signer, and
with HMAC to every verifier, by the same way as their other secrets. To replace a root, put a new
line behind the old one everywhere, then before it, and take the old one out once its keys are gone.
"""

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from globaltable.errors import ConfigError, InvalidArgument
from globaltable.routing.signatures import ROOT_BYTES_MIN, RootSecret

ROOTS_MAX: Final = 8
_FILE_BYTES_MAX: Final = 16_384


def new_root() -> str:
    """A line of the file: 256 random bits."""
    return base64.urlsafe_b64encode(secrets.token_bytes(ROOT_BYTES_MIN)).decode().rstrip("=")


def add(path: Path) -> int:
    """Add a new root to a file, which is made for its owner's eyes only; how many it holds then.
    Raises `ConfigError`, and has then changed nothing."""
    held = len(load(path)) if path.exists() else 0
    if held == ROOTS_MAX:
        raise ConfigError(f"root secrets {path} holds {held} already; remove those not used")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            ended = not held or file.read().endswith(b"\n")
            file.write((b"" if ended else b"\n") + new_root().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"root secrets {path} cannot be written: {error}") from error
    return held + 1


def load(path: Path) -> tuple[RootSecret, ...]:
    """The roots of a file. Raises `ConfigError`, which never shows what a line holds."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"root secrets {path} cannot be read: {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"root secrets {path} may be read by others (mode {stat.S_IMODE(mode):o}); chmod 600 it"
        )
    lines = [line.strip() for line in content.split(b"\n") if line.strip()]
    if not 1 <= len(lines) <= ROOTS_MAX or len(content) > _FILE_BYTES_MAX:
        raise ConfigError(f"root secrets {path} must hold 1 to {ROOTS_MAX} lines")
    return tuple(_root(path, number, line) for number, line in enumerate(lines, 1))


def _root(path: Path, number: int, line: bytes) -> RootSecret:
    try:
        text = line.translate(bytes.maketrans(b"-_", b"+/")) + b"=" * (-len(line) % 4)
        return RootSecret(binascii.a2b_base64(text, strict_mode=True))
    except (binascii.Error, InvalidArgument):
        # Without the cause, for that would show the secret.
        raise ConfigError(
            f"root secrets {path}, line {number}: not base64url of {ROOT_BYTES_MIN} bytes or more"
        ) from None
