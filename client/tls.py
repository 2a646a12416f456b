"""How a client secures its links: the CAs it trusts, and what says who it is: a certificate, or a
token.

Files are read when a connection is made anew, so a certificate that was renewed is shown from then
on. Knows nothing of nodes and calls.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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


GivesToken = str | Callable[[], str]
"""A token, or what returns one: it is asked as each call and each stream begins, on any thread, and
must return at once. So one that ends soon is renewed by the caller, and never told to this library
twice."""


@dataclass(frozen=True, slots=True)
class TlsToken:
    """The path of a PEM file, with the CAs that sign nodes' certificates, and a token that says who
    this client is. It is for those of nodes' addresses that take tokens (`tokens` in their file),
    and is never sent in the clear."""

    ca: str | PathLike[str]
    token: GivesToken = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.ca, str | PathLike) or not fspath(self.ca):
            raise InvalidArgument(f"tls: ca must be the path of a PEM file, not {self.ca!r}")
        if not callable(self.token) and (not isinstance(self.token, str) or not self.token):
            # Whatever it is, it may be a secret.
            raise InvalidArgument("tls: token must be a token, or a function that returns one")

    def seen(self) -> object:
        """Another value once the file has changed. Raises `ConfigError`."""
        found = _stat(Path(self.ca))
        return found.st_mtime_ns, found.st_ino, found.st_size

    def credentials(self) -> grpc.ChannelCredentials:
        """From the file as it is now. Raises `ConfigError`."""
        link = grpc.ssl_channel_credentials(_read(Path(self.ca)))
        call = grpc.metadata_call_credentials(_Shown(self.token))
        return grpc.composite_channel_credentials(link, call)


class _Shown(grpc.AuthMetadataPlugin):
    """Puts a token on each call; gRPC does so on secured connections only."""

    def __init__(self, token: GivesToken) -> None:
        self._token = token

    def __call__(
        self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback
    ) -> None:
        try:
            token = self._token if isinstance(self._token, str) else self._token()
            shown = (("authorization", f"Bearer {token}"),)
        except Exception as error:
            # Its words are the caller's own, and come back to it in the error of the call.
            callback((), error)
        else:
            callback(shown, None)


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

    def __init__(self, tls: TlsConfig | TlsToken | None) -> None:
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
