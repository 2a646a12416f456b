"""Who may do what, and how links are secured, as values of the configuration.

Invariant: what is not permitted is refused. Without a `[[permissions]]` section no client may do
anything.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

EVERYBODY: Final = "*"
"""In the place of a client's name: any that a certificate of this cluster names."""
ALL_TABLES: Final = "*"

NODE_PLACEHOLDER: Final = "{node}"
"""In a path of [tls]: the node's own name, so that all nodes can read the same file."""


class Right(enum.Enum):
    """What a client may be permitted to do; none includes another."""

    READ = "read"
    """Get, scan and watch a table."""
    BIND = "bind"
    """Bind and create. The answer tells where the key lives, as it must."""
    MOVE = "move"
    """Move and unbind: take a session from the unit that it is in."""
    ADMIN = "admin"
    """The admin API, which is about the cluster and knows no tables: backup, restore, check, and
    who the nodes are."""


@dataclass(frozen=True, slots=True)
class Permission:
    """These clients have these rights on these tables."""

    clients: tuple[str, ...]
    rights: frozenset[Right]
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much of one node a client may use. `None`: as much as the node can do."""

    ops_per_s: float | None = None
    """Ops written, keys read and entries scanned, per second; over it a request is refused with the
    time after which to try again."""
    burst_ops: int | None = None
    """So many at once after a pause; by default those of one second."""
    calls: int | None = None
    """Calls at a time, streams among them."""
    watches: int | None = None
    """Of those, watches."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files: the CAs to trust, this node's certificate with its chain, its key."""

    ca: Path
    cert: Path
    key: Path
    revoked: Path | None = None
    """Of a file that names certificates that are believed no more (`revocation`)."""

    def of(self, node: str) -> "TlsFiles":
        """As one node reads them."""

        def named(path: Path) -> Path:
            return Path(str(path).replace(NODE_PLACEHOLDER, node))

        revoked = named(self.revoked) if self.revoked is not None else None
        return TlsFiles(named(self.ca), named(self.cert), named(self.key), revoked)


@dataclass(frozen=True, slots=True)
class AuditFiles:
    """Where the audit log is written: `files` of at most `file_bytes_max` each, the oldest of which
    is deleted for a new one."""

    directory: Path | None = None
    """None: "audit" in the node's data directory."""
    file_bytes_max: int = 67_108_864
    files: int = 8


@dataclass(frozen=True, slots=True)
class Security:
    """All of it. As it is by default, a node listens on this machine only, in the clear."""

    tls: TlsFiles | None = None
    plaintext_beyond_loopback: bool = False
    """Listen in the clear where others than this machine's own can reach it."""
    connection_age_s: float = 3_600.0
    """After which a client has to connect anew, with a certificate that is good then."""
    permissions: tuple[Permission, ...] = ()
    allowances: Mapping[str, Allowance] = field(default_factory=dict)
    """By the client's name; `EVERYBODY` for those not named."""
    token_keys: Mapping[str, bytes] = field(default_factory=dict)
    """Public keys of Ed25519, by their ids: whoever shows a token that one of them has signed is
    who the token names (`tokens`)."""
    audit: AuditFiles = field(default_factory=AuditFiles)
    audits_in_the_clear: bool = False
    """Write the audit log without TLS, too, where all that is known of a caller is its address."""
