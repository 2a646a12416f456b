"""Where a router listens, with whose certificate, and who may change what all routers share.

Responsible for the server's credentials, from files that are read again as they change, and for
telling an administrator by the certificate that is shown.

Invariants: beyond this machine nobody is listened to in the clear, unless the file says so. With
TLS every caller shows a certificate that the file's CA has signed; the changing calls are for those
whose certificate names one of `admins` in a URI.
"""

from typing import Any, Final

import grpc

from globaltable.client import TlsConfig
from globaltable.errors import ConfigError
from globaltable.routing.config import Listening, TlsFiles

_ALTERNATIVE_NAMES: Final = "x509_subject_alternative_name"


def is_local(address: str) -> bool:
    """Whether nobody from another machine can reach it."""
    host = address.rpartition(":")[0]
    return address.startswith("unix:") or host in ("localhost", "[::1]") or host.startswith("127.")


def require_guarded(listening: Listening, address: str) -> None:
    """Refuse to be open to everybody by mistake. Raises `ConfigError`."""
    if listening.tls is None and not listening.plaintext_beyond_loopback and not is_local(address):
        raise ConfigError(
            f"{address} is not on this machine alone: give [listening] ca, cert and key, or "
            "plaintext_beyond_loopback = true if the network is private"
        )


def add_port(server: grpc.aio.Server, listening: Listening, address: str) -> int:
    """Have a server listen; the port. Raises `ConfigError` if it cannot."""
    try:
        if listening.tls is None or address.startswith("unix:"):
            return server.add_insecure_port(address)
        return server.add_secure_port(address, _credentials(listening.tls))
    except RuntimeError as error:
        raise ConfigError(
            f"{address} cannot be listened on; is another process using it?"
        ) from error


def _configuration(tls: TlsFiles) -> grpc.ServerCertificateConfiguration:
    try:
        ca, cert, key = (path.read_bytes() for path in tls)
    except OSError as error:
        raise ConfigError(
            f"listening: {error.filename} cannot be read: {error.strerror}"
        ) from error
    return grpc.ssl_server_certificate_configuration([(key, cert)], root_certificates=ca)


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    files = TlsConfig(*tls)
    seen = files.seen()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        try:
            now = files.seen()
            if now == seen:
                return None
            configuration = _configuration(tls)
        except ConfigError:
            return None  # somebody is at the files: what was read before stays
        seen = now
        return configuration

    return grpc.dynamic_ssl_server_credentials(
        _configuration(tls),
        fetch,  # type: ignore[arg-type]  # None leaves it as it is
        require_client_authentication=True,
    )


def is_administrator(listening: Listening, context: grpc.aio.ServicerContext[Any, Any]) -> bool:
    """Whether a caller may change what all routers share. In the clear, and over a unix socket,
    everybody may who can reach it."""
    auth = context.auth_context()
    if listening.tls is None or b"ssl" not in auth.get("transport_security_type", ()):
        return True
    names = {name.decode(errors="replace") for name in auth.get(_ALTERNATIVE_NAMES, ())}
    return not names.isdisjoint(listening.admins)
