"""This node's certificate, its key and the CAs it trusts: from files, read again as they change.

A file that has changed is looked for when a connection begins, so that certificates are rotated
without a restart: connections that there are keep what they began with, new ones have the new.
Which certificates are believed no more, though a CA has signed them, is `revocation`'s.

Invariants: a connection is secured by a certificate, a key and CAs that belong together, for files
that do not (one of them is written before the other) are not taken: the earlier stay until they do.
Both ends of every connection show a certificate that a CA of the other has signed. No key is ever
part of a message or a log.
"""

import ssl
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import structlog
from cryptography import x509

from globaltable.errors import ConfigError
from globaltable.server.config import Config
from globaltable.server.identities import Identity, Kind, Unidentified, identity_in, uris_in
from globaltable.server.revocation import Revocations
from globaltable.server.security import TlsFiles

EXPIRES_SOON_S: Final = 7 * 86_400.0

log = structlog.get_logger(__name__)

_Seen = tuple[tuple[int, int, int], ...]


class _Loaded(NamedTuple):
    """What belongs together."""

    ca: bytes
    chain: bytes
    key: bytes
    accepting: ssl.SSLContext
    dialling: ssl.SSLContext
    grpc_dialling: grpc.ChannelCredentials
    expires_at_s: float


class Certificates:
    """What a node shows, and whom it believes. Any thread may ask."""

    def __init__(self, files: TlsFiles, own: Identity) -> None:
        """Raises `ConfigError` if the files cannot be read, do not belong together, or the
        certificate is not `own`'s."""
        self._files = files
        self._own = own
        self._lock = threading.Lock()
        self._complaint = ""
        self.revocations: Final = Revocations(files.revoked)
        self._seen = _look(files)
        self._loaded = _load(files, own)

    @property
    def cluster(self) -> str:
        """Whose certificates are believed."""
        return self._own.cluster

    @property
    def accepting(self) -> ssl.SSLContext:
        """For the next connection that is accepted from a peer."""
        return self._newest().accepting

    @property
    def dialling(self) -> ssl.SSLContext:
        """For the next connection that is made to a peer."""
        return self._newest().dialling

    @property
    def grpc_dialling(self) -> grpc.ChannelCredentials:
        """For a channel to the client port of another node; another value once files change."""
        return self._newest().grpc_dialling

    @property
    def expires_at_s(self) -> float:
        """When what this node shows now ends; seconds since the epoch."""
        return self._newest().expires_at_s

    def grpc_credentials(self, *, asks: bool = True) -> grpc.ServerCredentials:
        """For the client port: every connection is asked for anew. If not `asks`, who connects need
        show no certificate, and cannot: gRPC in Python knows nothing between."""
        served = self._newest()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal served
            newest = self._newest()
            if newest is served:
                return None
            served = newest
            return _grpc_configuration(newest)

        return grpc.dynamic_ssl_server_credentials(
            _grpc_configuration(served),
            fetch,  # type: ignore[arg-type]  # None leaves it as it is
            require_client_authentication=asks,
        )

    def _newest(self) -> _Loaded:
        with self._lock:
            try:
                seen = _look(self._files)
                if seen == self._seen:
                    return self._loaded
                # Whatever comes of it, the same files are not tried again.
                self._seen = seen
                self._loaded = _load(self._files, self._own)
                self._complaint = ""
            except ConfigError as error:
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    log.error("new certificates are not taken, the earlier stay", reason=str(error))
            return self._loaded


def certificates_of(config: Config, name: str) -> Certificates | None:
    """What node `name` shows to its peers and its callers; None if it listens in the clear. Raises
    `ConfigError` if the files are not what they must be, or it would listen in the clear where
    others than this machine's own reach it."""
    own, security = config.node(name), config.security
    if security.tls is not None:
        return Certificates(security.tls.of(name), Identity(config.cluster, Kind.NODE, name))
    listening = (
        ("peer", own.listens_for_peers_on),
        ("client", own.listens_for_clients_on),
        ("metrics", own.metrics),
        ("console", own.console),
    )
    for what, address in listening:
        if address and not address.is_loopback and not security.plaintext_beyond_loopback:
            raise ConfigError(
                f"node {name} would listen at {what} = {str(address)!r} without TLS, and whoever "
                "reaches that could do anything; make certificates (globaltable cert) and add "
                "[tls], or, where the network keeps everybody else out, write "
                "plaintext_beyond_loopback = true into [tls]"
            )
    return None


def _grpc_configuration(loaded: _Loaded) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(loaded.key, loaded.chain)], root_certificates=loaded.ca
    )


def _look(files: TlsFiles) -> _Seen:
    """What tells files that have changed: rename, rewrite and touch all do."""
    try:
        stats = [path.stat() for path in (files.ca, files.cert, files.key)]
    except OSError as error:
        raise ConfigError(f"TLS: {error.filename} cannot be read: {error.strerror}") from error
    return tuple((one.st_mtime_ns, one.st_ino, one.st_size) for one in stats)


def _load(files: TlsFiles, own: Identity) -> _Loaded:
    ca, chain, key = _read(files.ca), _read(files.cert), _read(files.key)
    certificate = _certificate(files.cert, chain)
    try:
        shown = identity_in(uris_in(certificate), own.cluster)
    except Unidentified as error:
        raise ConfigError(f"TLS: {files.cert}: {error}") from error
    if shown != own:
        raise ConfigError(f"TLS: {files.cert} is the certificate of {shown}, not of {own}")
    loaded = _Loaded(
        ca,
        chain,
        key,
        _context(ssl.PROTOCOL_TLS_SERVER, files),
        _context(ssl.PROTOCOL_TLS_CLIENT, files),
        grpc.ssl_channel_credentials(ca, key, chain),
        certificate.not_valid_after_utc.timestamp(),
    )
    _tell(files, certificate)
    return loaded


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"TLS: {path} cannot be read: {error.strerror}") from error


def _certificate(path: Path, pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise ConfigError(f"TLS: {path} holds no certificate in PEM") from error


def _context(protocol: "ssl._SSLMethod", files: TlsFiles) -> ssl.SSLContext:
    """Of peers, which are all of this version: nothing below TLS 1.3. A peer is known by its name
    in the certificate (`identities`), not by the address it is reached at."""
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if protocol is ssl.PROTOCOL_TLS_SERVER:
        # A resumed session would be believed without a look at the CAs that are trusted by then.
        context.num_tickets = 0
    try:
        context.load_verify_locations(cafile=files.ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"TLS: {files.ca} holds no CA certificates in PEM") from error
    try:
        context.load_cert_chain(files.cert, files.key, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"TLS: {files.cert} and {files.key} are no certificate and its key in PEM, without a "
            "password"
        ) from error
    return context


def _no_password() -> Any:
    # OpenSSL would ask on the terminal.
    raise ValueError("the key has a password")


def _tell(files: TlsFiles, certificate: x509.Certificate) -> None:
    expires_at = certificate.not_valid_after_utc
    left_s = (expires_at - datetime.now(UTC)).total_seconds()
    word = log.warning if left_s < EXPIRES_SOON_S else log.info
    word(
        "certificate loaded",
        cert=str(files.cert),
        expires_at=expires_at.isoformat(),
        days_left=round(left_s / 86_400, 1),
    )
    if stat.S_IMODE(files.key.stat().st_mode) & 0o077:
        log.warning("the key can be read by others; chmod 600", key=str(files.key))
