"""Certificates for tests: of a CA, of nodes and clients, and such as nobody should believe."""

from pathlib import Path

from globaltable.admin.certificates import LOOPBACK, Authority, pair_of
from globaltable.client import TlsConfig
from globaltable.server.identities import Identity, Kind
from globaltable.server.security import TlsFiles
from globaltable.server.tls import Certificates


class Pki:
    """A CA in a directory, and what it signs there."""

    def __init__(self, directory: Path, cluster: str = "im") -> None:
        self.directory = directory
        self.cluster = cluster
        self.authority = Authority.open(directory, cluster)

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    def node(self, name: str, cluster: str = "", days: float = 1) -> TlsFiles:
        """Signed anew at each call, into the same files."""
        identity = Identity(cluster or self.cluster, Kind.NODE, name)
        files = pair_of(self.directory, f"node-{name}")
        self.authority.issue(files, identity, LOOPBACK, days)
        return TlsFiles(self.ca, *files)

    def certificates(self, name: str, cluster: str = "") -> Certificates:
        identity = Identity(cluster or self.cluster, Kind.NODE, name)
        return Certificates(self.node(name, cluster), identity)

    def client(self, name: str, cluster: str = "", days: float = 1) -> TlsConfig:
        identity = Identity(cluster or self.cluster, Kind.CLIENT, name)
        files = pair_of(self.directory, f"client-{name}")
        self.authority.issue(files, identity, days=days)
        return TlsConfig(self.ca, *files)
