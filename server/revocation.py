"""Whom nobody believes any more, though a CA that is trusted has signed it: from a file.

A line says which certificates: one by its serial number, as `openssl x509 -noout -serial` prints
it, or all of a name, by the URI that they have:

    serial=5F2C09D41A7B
    globaltable://im/client/web    # since 2026-11-26: its key was in a backup that is lost

The file is looked at as the certificates' files are, so nothing is restarted, and every node has
its own copy. Knows nothing of connections: who asks ends them.

Invariant: a file that cannot be read, or has a line that says neither, changes nothing: whom the
earlier one shut out stays out.
"""

import re
import threading
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from globaltable.errors import ConfigError, ProtocolError
from globaltable.server.identities import SCHEME, Certificate, parse

LINES_MAX: Final = 65_536
_BYTES_MAX: Final = 8 * 1_048_576
_SERIAL: Final = "serial="
_SERIAL_DIGITS_MAX: Final = 64
"""Above the 20 bytes that a serial number may have (RFC 5280)."""
_HEXADECIMAL: Final = re.compile("[0-9A-Fa-f]+")
_COMMENT: Final = "#"

log = structlog.get_logger(__name__)


class Revoked(NamedTuple):
    """Those of a file."""

    serials: frozenset[int] = frozenset()
    uris: frozenset[str] = frozenset()

    def why(self, certificate: Certificate) -> str:
        """Why a certificate is not believed; empty if it is."""
        if certificate.serial in self.serials:
            return f"the certificate {certificate.serial:X} of {certificate.identity} was revoked"
        if certificate.identity.uri in self.uris:
            return f"all certificates of {certificate.identity} were revoked"
        return ""


class Revocations:
    """A file's, as it was when it was last looked at and could be read. Any thread may ask."""

    def __init__(self, path: Path | None) -> None:
        """Without a path nobody is revoked. Raises `ConfigError` if the file cannot be read."""
        self._path = path
        self._lock = threading.Lock()
        self._complaint = ""
        self._seen = _look(path) if path is not None else None
        self.present = _read(path) if path is not None else Revoked()
        """As last looked at."""

    def newest(self) -> Revoked:
        """Look at the file, and read it if it has changed."""
        if self._path is None:
            return self.present
        with self._lock:
            try:
                seen = _look(self._path)
                if seen != self._seen:
                    # Whatever comes of it, the same file is not tried again.
                    self._seen = seen
                    self.present = _read(self._path)
                    self._complaint = ""
                    serials, uris = map(len, self.present)
                    log.info("revocations read", serials=serials, names=uris)
            except ConfigError as error:
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    log.error("new revocations are not taken, the earlier stay", reason=str(error))
            return self.present


def parse_revoked(text: str, where: str) -> Revoked:
    """Raises `ConfigError`."""
    serials, uris = set[int](), set[str]()
    lines = text.splitlines()
    if len(lines) > LINES_MAX:
        raise ConfigError(
            f"{where} has {len(lines)} lines, and may have {LINES_MAX}; certificates that have "
            "expired need not be in it"
        )
    for number, line in enumerate(lines, 1):
        said = line.partition(_COMMENT)[0].strip()
        try:
            if said.startswith(_SERIAL):
                serials.add(_serial(said.removeprefix(_SERIAL)))
            elif said.startswith(SCHEME):
                uris.add(parse(said).uri)
            elif said:
                raise ValueError
        except (ValueError, ProtocolError) as error:
            raise ConfigError(
                f"{where}, line {number}: {said[:80]!r} is neither serial=HEX nor "
                f"{SCHEME}CLUSTER/node|client/NAME"
            ) from error
    return Revoked(frozenset(serials), frozenset(uris))


def _serial(text: str) -> int:
    digits = text.replace(":", "")
    if len(digits) > _SERIAL_DIGITS_MAX or not _HEXADECIMAL.fullmatch(digits):
        raise ValueError
    return int(digits, 16)


def _look(path: Path) -> tuple[int, int, int]:
    try:
        seen = path.stat()
    except OSError as error:
        raise ConfigError(f"tls.revoked: {path} cannot be read: {error.strerror}") from error
    return seen.st_mtime_ns, seen.st_ino, seen.st_size


def _read(path: Path) -> Revoked:
    try:
        with path.open("rb") as file:
            data = file.read(_BYTES_MAX + 1)
        if len(data) > _BYTES_MAX:
            raise ConfigError(f"tls.revoked: {path} is larger than {_BYTES_MAX} bytes")
        return parse_revoked(data.decode(), f"tls.revoked: {path}")
    except OSError as error:
        raise ConfigError(f"tls.revoked: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"tls.revoked: {path} is no text in UTF-8") from error
