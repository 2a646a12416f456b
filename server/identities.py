"""Who somebody is, by the certificate that was shown: a node or a client of one cluster.

A certificate says it in a URI among its subject alternative names, `globaltable://CLUSTER/node/NAME`
or `globaltable://CLUSTER/client/NAME`, as SPIFFE does. Its common name and its host names say
nothing of who somebody is: those are for whom it is reached by.

Invariant: who has shown a certificate without such a URI, or with two, is nobody.
"""

import enum
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from cryptography import x509

from globaltable.errors import ConfigError, ProtocolError
from globaltable.toml_section import as_name

SCHEME: Final = "globaltable://"
_CHARACTERS_MAX: Final = 1_024
"""Above what three names of the longest come to."""


class Unidentified(ProtocolError):
    """The certificate does not say who it is, or says that it is of another cluster."""


class Kind(enum.Enum):
    """What somebody is. A node's certificate is no client's, and the other way round."""

    NODE = "node"
    CLIENT = "client"
    ADDRESS = "address"
    """Somebody who has shown nothing, to a node in the clear. No certificate says so."""


_CERTIFIED: Final = frozenset((Kind.NODE.value, Kind.CLIENT.value))


class Identity(NamedTuple):
    """Names are those of the configuration: of the cluster, and of the node or the client."""

    cluster: str
    kind: Kind
    name: str

    @property
    def uri(self) -> str:
        return f"{SCHEME}{quote(self.cluster)}/{self.kind.value}/{quote(self.name)}"

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}"


class Certificate(NamedTuple):
    """What somebody has shown."""

    identity: Identity
    serial: int
    """That its CA has given it."""
    expires_at_s: float
    """Since the epoch: its `notAfter`."""

    def why_not(self, now_s: float) -> str:
        """Why it is good no more; empty if it is."""
        if now_s < self.expires_at_s:
            return ""
        ended = datetime.fromtimestamp(self.expires_at_s, UTC).isoformat()
        return f"the certificate of {self.identity} expired at {ended}"


def certificate_of(shown: dict[str, Any], cluster: str) -> Certificate:
    """What `ssl` tells of a certificate that was shown to a node of `cluster`. Raises
    `Unidentified`."""
    identity = identity_in(uris_of(shown), cluster)
    expires_at_s = float(ssl.cert_time_to_seconds(shown["notAfter"]))
    return Certificate(identity, int(shown["serialNumber"], 16), expires_at_s)


def certificate_in(pem: bytes, cluster: str) -> Certificate:
    """The same of one in PEM. Raises `Unidentified`."""
    try:
        shown = x509.load_pem_x509_certificate(pem)
        uris = uris_in(shown)
    except ValueError as error:
        raise Unidentified(f"the certificate is none: {error}") from error
    identity = identity_in(uris, cluster)
    return Certificate(identity, shown.serial_number, shown.not_valid_after_utc.timestamp())


def uris_in(certificate: x509.Certificate) -> list[str]:
    """Among its subject alternative names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)


def identity_in(uris: Iterable[str], cluster: str) -> Identity:
    """Who it is that shows a certificate with these URIs to a node of `cluster`. Raises
    `Unidentified`."""
    own = [uri for uri in uris if uri.startswith(SCHEME)]
    if len(own) != 1:
        raise Unidentified(
            f"the certificate has {len(own)} URIs {SCHEME}CLUSTER/node|client/NAME; it must have "
            "exactly one to say whose it is"
        )
    identity = parse(own[0])
    if identity.cluster != cluster:
        raise Unidentified(f"the certificate is of cluster {identity.cluster!r}, not {cluster!r}")
    return identity


def parse(uri: str) -> Identity:
    """The identity that a URI names. Raises `Unidentified`."""
    parts = uri.removeprefix(SCHEME).split("/")
    try:
        if len(uri) > _CHARACTERS_MAX or len(parts) != 3:
            raise ValueError
        cluster, kind, name = (unquote(part, errors="strict") for part in parts)
        if kind not in _CERTIFIED:
            raise ValueError
        return Identity(as_name("cluster", cluster), Kind(kind), as_name("name", name))
    except (ConfigError, ValueError) as error:
        raise Unidentified(
            f"the certificate's URI {uri[:_CHARACTERS_MAX]!r} is none of a node or client of "
            "GlobalTable"
        ) from error


def uris_of(certificate: dict[str, Any]) -> list[str]:
    """Of a peer's certificate as `ssl` tells it."""
    return [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
