"""How a client secures its links: the CAs it trusts, and the certificate that says who it is.

Files are read when a connection is made anew, so a certificate that was renewed is shown from then
on. Knows nothing of nodes and calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from globaltable.errors import ConfigError, InvalidArgument


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Paths of PEM files: the CAs that sign nodes' certificates, this client's own with its chain,
    and its key."""

    ca: str | PathLike[str]
    cert: str | PathLike[str]
    key: str | PathLike[str]

    def __post_init__(self) -> None:
        for name in ("ca", "cert", "key"):
            path = getattr(self, name)
            if not isinstance(path, str | PathLike) or not fspath(path):
                raise InvalidArgument(f"tls: {name} must be the path of a PEM file, not {path!r}")

    def seen(self) -> object:
        """Another value once a file has changed. Raises `ConfigError`."""
        return tuple((s.st_mtime_ns, s.st_ino, s.st_size) for s in map(_stat, self.paths))

    def credentials(self) -> grpc.ChannelCredentials:
        """From the files as they are now. Raises `ConfigError`."""
        ca, cert, key = map(_read, self.paths)
        return grpc.ssl_channel_credentials(ca, key, cert)

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        return Path(self.ca), Path(self.cert), Path(self.key)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"tls: {path} cannot be read: {error.strerror}") from error


def _stat(path: Path) -> Any:
    try:
        return path.stat()
    except OSError as error:
        raise ConfigError(f"tls: {path} cannot be read: {error.strerror}") from error


class Credentials:
    """What one client shows: as its files were when they were last read and could be."""

    def __init__(self, tls: TlsConfig | None) -> None:
        """Raises `ConfigError` if the files cannot be read."""
        self._tls = tls
        self._seen = tls.seen() if tls is not None else None
        self._loaded = tls.credentials() if tls is not None else None

    def newest(self) -> grpc.ChannelCredentials | None:
        """Another object once the files have changed; None in the clear."""
        if self._tls is None:
            return None
        try:
            seen = self._tls.seen()
            if seen != self._seen:
                self._loaded = self._tls.credentials()
                self._seen = seen
        except ConfigError:
            # Someone is at it. What was read before may do; if not, nodes will say so.
            pass
        return self._loaded


Options = Sequence[tuple[str, Any]]


def open_channel(
    address: str, credentials: grpc.ChannelCredentials | None, options: Options = ()
) -> grpc.Channel:
    """To a node; without credentials in the clear."""
    if credentials is None:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, credentials, options=options)


def open_aio_channel(
    address: str, credentials: grpc.ChannelCredentials | None, options: Options = ()
) -> grpc.aio.Channel:
    """The same, for asyncio."""
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)
