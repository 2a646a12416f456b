"""Certificates for development and small clusters: a CA, and what it signs for nodes and clients.

What a certificate says of whose it is, is in `server.identities`. Larger houses have a CA of their
own, and need of this only the shape of what it makes.

Invariants: a key is written for its owner's eyes only, before the certificate that goes with it; a
file appears whole. Nothing that is there is replaced unless it is asked for, the CA never.
"""

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from globaltable.errors import ConfigError
from globaltable.server.config import Config
from globaltable.server.identities import Identity, Kind

CA_DAYS: Final = 3_650
_CLOCKS_DIFFER: Final = timedelta(hours=1)
"""Certificates are good from a little before they were made, for clocks are not all the same."""
_COMMON_NAME_CHARACTERS_MAX: Final = 64
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class Pair(NamedTuple):
    """Where a certificate and its key are."""

    cert: Path
    key: Path


def pair_of(directory: Path, name: str) -> Pair:
    return Pair(directory / f"{name}.pem", directory / f"{name}-key.pem")


class Authority:
    """A CA, which signs. `open` reads it from a directory, or makes it there."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def open(cls, directory: Path, cluster: str) -> "Authority":
        """Raises `ConfigError` if what is there is no CA, or was made halfway."""
        files = pair_of(directory, "ca")
        if not files.cert.exists() and not files.key.exists():
            made = cls.make(cluster)
            directory.mkdir(parents=True, exist_ok=True)
            _write_pair(files, made._key, made._certificate)
            return made
        try:
            key = load_pem_private_key(files.key.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(files.cert.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{files.cert} and {files.key} are no CA's certificate and key, which it takes to "
                "sign others; give an empty directory to begin anew"
            ) from error
        if (
            not isinstance(key, ec.EllipticCurvePrivateKey)
            or key.public_key() != certificate.public_key()
        ):
            raise ConfigError(f"{files.key} is not the key of {files.cert}")
        return cls(key, certificate)

    @classmethod
    def make(cls, cluster: str, days: float = CA_DAYS) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"GlobalTable CA of {cluster}")
        builder = (
            _builder(name, name, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )
        return cls(key, builder.sign(key, SHA256()))

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(Encoding.PEM)

    def issue(
        self, files: Pair, identity: Identity, hosts: Iterable[str] = (), days: float = 365
    ) -> None:
        """Make a key and sign a certificate. Who is reached at `hosts` must have one that says so:
        nodes, by those who ask them."""
        key = ec.generate_private_key(ec.SECP256R1())
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if identity.kind is Kind.NODE:
            # It accepts its peers' connections and makes some to them; a client only makes them.
            purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
        names += [_host(host) for host in dict.fromkeys(hosts)]
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        subject = _name(identity.name)
        certificate = (
            _builder(subject, self._certificate.subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(signer, critical=False)
            .sign(self._key, SHA256())
        )
        _write_pair(files, key, certificate)


class Made(NamedTuple):
    """One of a set: whose it is, where, and whether it was made now or stood there."""

    identity: Identity
    files: Pair
    is_new: bool


def make_set(
    directory: Path,
    config: Config,
    clients: Sequence[str],
    *,
    hosts: Sequence[str] = (),
    days: float = 365,
    renew: bool = False,
) -> list[Made]:
    """Certificates of every node of a cluster and of these clients, and the CA that signs them;
    what is there already stays, unless it is to be renewed. Raises `ConfigError`."""
    nodes = [Identity(config.cluster, Kind.NODE, node.name) for node in config.nodes]
    wanted = [*nodes, *(Identity(config.cluster, Kind.CLIENT, name) for name in clients)]
    files = {
        identity: pair_of(directory, f"{identity.kind.value}-{identity.name}")
        for identity in wanted
    }
    authority = Authority.open(directory, config.cluster)
    made = []
    for identity in wanted:
        there = all(path.exists() for path in files[identity])
        if renew or not there:
            at = _hosts_of(config, identity, hosts)
            authority.issue(files[identity], identity, at, days)
        made.append(Made(identity, files[identity], renew or not there))
    return made


def _hosts_of(config: Config, identity: Identity, more: Sequence[str]) -> list[str]:
    if identity.kind is Kind.CLIENT:
        return []
    node = config.node(identity.name)
    own = [address.host for address in (node.peer, node.client)]
    # One that listens everywhere is reached by names that the file does not know: more are given.
    return [*more, *(host for host in own if host not in ("0.0.0.0", "::")), *LOOPBACK]


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise ConfigError(f"host {host!r} is no IP address and no host name in ASCII") from error


def _name(text: str) -> x509.Name:
    # For people: nothing goes by it.
    common = text[:_COMMON_NAME_CHARACTERS_MAX]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + timedelta(days=days)) - _CLOCKS_DIFFER)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _write_pair(
    files: Pair, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(files.key, pem, 0o600)
    _write(files.cert, certificate.public_bytes(Encoding.PEM), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    beside.replace(path)
