"""The configuration of a cluster, as values: what every node of it is told.

Frozen, and without a word on where they come from: `config_file` reads and writes the one TOML file
that all nodes share, and refuses there what is wrong. Addresses are checked where they are made.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from globaltable.errors import ConfigError
from globaltable.geo import Geo
from globaltable.placement import RoundTrips, placed
from globaltable.server.security import Security
from globaltable.topology import SLOTS_DEFAULT, Node, Topology, spread

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("json", "text")
_PORT_DIGITS_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens, or is reached."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: object, setting: str) -> "Address":
        host, separator, port = str(text).rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        bare = host and not {"[", "]"} & set(host)
        if not isinstance(text, str) or not separator or not bare or not port.isdecimal():
            raise ConfigError(f'{setting} = {text!r}: give "host:port", as in "127.0.0.1:7101"')
        if len(port) > _PORT_DIGITS_MAX or not 1 <= int(port) <= 65_535:
            raise ConfigError(f"{setting} = {text!r}: the port must be between 1 and 65535")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """One node, and the region it is in."""

    name: str
    region: str
    peer: Address
    """Where the other nodes reach it."""
    client: Address
    """Where clients do."""
    data_dir: Path
    peer_listen: Address | None = None
    """Where it listens for them, if not where they reach it: in a container, or behind NAT."""
    client_listen: Address | None = None
    metrics: Address | None = None
    """Where it tells of itself over HTTP; None: nowhere."""
    console: Address | None = None
    """Where it serves the console, a page for browsers; None: nowhere."""
    tokens: Address | None = None
    """Where clients reach it that show tokens; None: it takes certificates only."""

    @property
    def listens_for_peers_on(self) -> Address:
        return self.peer_listen or self.peer

    @property
    def listens_for_clients_on(self) -> Address:
        return self.client_listen or self.client


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    heartbeat_s: float = 0.05
    election_min_s: float = 0.5
    election_max_s: float = 1.0
    request_s: float = 5.0
    drain_s: float = 5.0
    reconnect_min_s: float = 0.05
    reconnect_max_s: float = 1.0
    flush_interval_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one node. Those of the stored and wire formats are in `globaltable.limits`."""

    pending_ops_per_group: int = 16_384
    log_entries_per_group: int = 8_192
    log_bytes_per_group: int = 67_108_864
    flush_ops: int = 32_768
    peer_buffer_bytes: int = 67_108_864
    watchers: int = 10_000
    calls: int = 20_000
    """At a time, streams among them: a watch each, and one for the writes of a client."""
    snapshot_chunk_bytes: int = 262_144


@dataclass(frozen=True, slots=True)
class InjectedLatency:
    """Round trips added between regions, for demonstrations and tests. Off in production."""

    round_trip_ms: float
    pairs: Mapping[frozenset[str], float] = field(default_factory=dict)

    def one_way_s(self, a: str, b: str) -> float:
        """The delay added to what `a` sends to `b`."""
        if a == b:
            return 0.0
        return self.pairs.get(frozenset((a, b)), self.round_trip_ms) / 2_000


@dataclass(frozen=True, slots=True)
class Placement:
    """What leaders are placed by: the round trips there are between regions, and their shares of
    the writes. `globaltable plan` measures them and writes this section."""

    round_trip_ms: float
    pairs: Mapping[frozenset[str], float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    """For every region, or for none: then they count alike."""


@dataclass(frozen=True, slots=True)
class GeoConfig:
    """A geo as it is founded: `[geos.NAME]`."""

    geo: Geo
    groups: int
    leader: str = ""
    """The region that is to lead them; empty: by the round trips."""


@dataclass(frozen=True, slots=True)
class ConsoleConfig:
    """What the consoles of all nodes go by."""

    target_ms: float = 20.0
    """The line that commit latencies are shown against."""
    hosts: tuple[str, ...] = ()
    """Names that browsers reach consoles by, beside those that the file has for nodes anyway."""


@dataclass(frozen=True, slots=True)
class Config:
    """A whole cluster, as every node of it sees it."""

    cluster: str
    tables: tuple[str, ...]
    nodes: tuple[NodeConfig, ...]
    """Region by region."""
    groups: int = 3
    """Of the default geo: of all tables that are in no other."""
    leader: str = ""
    """The region that is to lead them; empty: by the round trips."""
    geos: tuple[GeoConfig, ...] = ()
    replicas: int = 3
    slots: int = SLOTS_DEFAULT
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    injected_latency: InjectedLatency | None = None
    placement: Placement | None = None
    security: Security = field(default_factory=Security)
    console: ConsoleConfig = field(default_factory=ConsoleConfig)
    log_level: str = "info"
    log_format: str = "json"
    tracing_exporter: str = ""
    """Where spans of traced ops go, by OpenTelemetry's name; empty: there are none."""
    log_requests: bool = False
    """Whether each request gets a line."""
    log_slow_op_ms: float = 1_000.0
    """An op that takes longer gets a line; 0: none does."""
    cluster_id: str = ""
    """Tells a cluster from an earlier one of its name, whose nodes may come back."""

    @property
    def fence(self) -> str:
        """What peers and data directories must be of. No name and no id holds the sign between."""
        return f"{self.cluster}/{self.cluster_id}" if self.cluster_id else self.cluster

    @property
    def groups_in_all(self) -> int:
        """With those of the geos."""
        return self.groups + sum(one.groups for one in self.geos)

    @property
    def regions(self) -> tuple[str, ...]:
        """Each once, in the order of the file."""
        return tuple(dict.fromkeys(node.region for node in self.nodes))

    def node(self, name: str) -> NodeConfig:
        """The node of that name; `ConfigError` if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise ConfigError(f"node {name!r} is not in the configuration; it has {known}")

    def round_trips(self) -> RoundTrips | None:
        """Between the regions, if the file says anything of them: those of [placement], or else
        the injected ones, for where there is injected latency it is all there is."""
        said = self.placement or self.injected_latency
        return RoundTrips(said.round_trip_ms, said.pairs) if said is not None else None

    def topology(self) -> Topology:
        """Which node holds which group, and should lead it."""
        nodes = [
            Node(node.name, node.region, str(node.peer), str(node.client)) for node in self.nodes
        ]
        geos = [(one.geo, one.groups) for one in self.geos]
        dealt = spread(self.cluster, nodes, self.groups, self.replicas, self.slots, geos)
        weights = self.placement.weights if self.placement is not None else None
        return placed(dealt, self.round_trips() or RoundTrips(), weights, self.leader_regions())

    def leader_regions(self) -> dict[str, str]:
        """By geo, the region that is to lead it, where one is named."""
        named = {"": self.leader, **{one.geo.name: one.leader for one in self.geos}}
        return {geo: region for geo, region in named.items() if region}
