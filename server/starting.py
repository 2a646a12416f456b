"""What a node starts from: its data directory, and the newest topology that it knows.

A founding node takes version 0 from its file. A node that was added founds nothing: it shows itself
to the nodes its file names, and waits until one of them tells it a topology that has it. From the
second start on both go by what they have kept; where the file says something else, that is logged.
The level in force is in no file: a new cluster's is the newest; one of before there were levels
goes by the first.

Invariants: a level is noted in the data directory before it is known (`levels`); the topology is
kept on disk before a replica is started by it.
"""

import asyncio
import random
import secrets
from dataclasses import replace
from typing import Final, NamedTuple

import structlog

from globaltable.errors import ConfigError, ProtocolError
from globaltable.geo import geo_of
from globaltable.levels import FIRST
from globaltable.server.config import Config, NodeConfig
from globaltable.server.handshake import SINCE_UNKNOWN
from globaltable.server.peers import Peer, PeerLinks
from globaltable.server.tls import Certificates
from globaltable.server.topology_word import UNKNOWN, TopologyWord, decode_word, encode_word
from globaltable.store import identity, known_topology
from globaltable.store.identity import DirectoryId
from globaltable.store.known_topology import Known
from globaltable.topology import Topology
from globaltable.topology_change import differences, same_members
from globaltable.wire.topologies import decode_topology

_ID_BYTES: Final = 8

log = structlog.get_logger(__name__)


class Start(NamedTuple):
    known: Known
    lock: int
    """The descriptor that holds the data directory."""
    is_fresh: bool
    """This node founds its cluster, or believes so: its directory was empty."""
    directory: DirectoryId
    noted_level: int
    """By the data directory."""


def begin(config: Config, name: str) -> Start:
    """Of a node that founded its cluster, or has been here before. Raises `ConfigError`,
    `StorageError`."""
    own = config.node(name)
    kept = known_topology.load(own.data_dir)
    is_fresh = kept is None and not (own.data_dir / "identity").exists()
    founded = config.topology()
    if kept is not None or not is_fresh:
        founded = replace(founded, level=kept.newest.level if kept is not None else FIRST)
    known = Known(founded, founded) if kept is None else _reconciled(kept, founded)
    require_same_geos(known.newest, config)
    _require_present(known.newest, name, own)
    lock = _claim(config, own, known.newest, founds=True)
    if known != kept:
        known_topology.keep(own.data_dir, known)
    return _start(own, known, lock, is_fresh=is_fresh)


def _reconciled(kept: Known, founded: Topology) -> Known:
    """Until the topology has changed the file may still say who leads, and where nodes are."""
    different = differences(kept.newest, founded)
    if kept.newest.version == 0:
        if _same_holders(kept.newest, founded):
            return kept._replace(newest=founded)
        for difference in different:
            log.warning("the file disagrees with what was founded, which stands", file=difference)
        return kept
    for difference in different:
        log.info(
            "the file is older than the topology, which stands",
            version=kept.newest.version,
            file=difference,
        )
    return kept


def _same_holders(kept: Topology, founded: Topology) -> bool:
    return (
        len(kept.groups) == len(founded.groups)
        and kept.slots == founded.slots
        and kept.geos == founded.geos
        and kept.node_by_name.keys() == founded.node_by_name.keys()
        and all(map(same_members, kept.groups, founded.groups))
    )


def require_same_geos(topology: Topology, config: Config) -> None:
    """Refuse a file that would have a table kept to other regions than it is: who wrote it would
    believe that its rows are where the file says. A geo's regions are changed by command, and the
    file may be older than that; its tables never are."""
    founded = [one.geo for one in config.geos]
    for table in dict.fromkeys(
        (*config.tables, *(table for geo in founded for table in geo.tables))
    ):
        present, filed = topology.geo_of(table).name, geo_of(founded, table).name
        if present != filed:
            raise ConfigError(
                f"table {table!r} is in {_geo(present)} by the topology, and in {_geo(filed)} by "
                "the file; a table's geo is decided when the cluster is founded: correct the file, "
                "or back up, and restore into a new cluster"
            )


def _geo(name: str) -> str:
    return f"geo {name!r}" if name else "no geo"


def _require_present(topology: Topology, name: str, own: NodeConfig) -> None:
    node = topology.node_by_name.get(name)
    if node is None:
        if any(gone.name == name for gone in topology.removed):
            # It may still be needed until its groups are without it.
            return
        raise ConfigError(
            f"node {name!r} is no part of version {topology.version} of the topology; add it with "
            "`globaltable member add`, and start it with --join on an empty data directory"
        )
    if node.region != own.region:
        raise ConfigError(
            f"node {name!r} is in region {node.region!r} by the topology, and in {own.region!r} by "
            "the file; a node does not change its region: replace it by another"
        )


def _start(own: NodeConfig, known: Known, lock: int, *, is_fresh: bool) -> Start:
    return Start(known, lock, is_fresh, _directory_id(own), identity.noted_level(own.data_dir))


def _claim(config: Config, own: NodeConfig, topology: Topology, *, founds: bool) -> int:
    lock = identity.claim(
        own.data_dir,
        cluster=config.fence,
        node=own.name,
        groups=topology.founding_groups,
        slots=topology.slots,
        fresh=DirectoryId(secrets.token_hex(_ID_BYTES), founds),
    )
    identity.note_level(own.data_dir, topology.level)
    return lock


def _directory_id(own: NodeConfig) -> DirectoryId:
    found = identity.directory_id(own.data_dir)
    assert found is not None, "it was claimed"
    return found


async def begin_joining(
    config: Config, name: str, certificates: Certificates | None = None
) -> Start:
    """Of a node that was added; returns once it has heard of itself. Raises as `begin`."""
    own = config.node(name)
    kept = known_topology.load(own.data_dir)
    if kept is not None:
        return begin(config, name)
    log.info("waiting for the word of the others", node=name, peer=str(own.peer))
    topology = await _Joining(config, own, certificates).heard()
    if topology.cluster != config.cluster:
        raise ConfigError(f"the others are cluster {topology.cluster!r}, not {config.cluster!r}")
    require_same_geos(topology, config)
    _require_present(topology, name, own)
    known = Known(topology, None, topology.version)
    lock = _claim(config, own, topology, founds=False)
    known_topology.keep(own.data_dir, known)
    return _start(own, known, lock, is_fresh=False)


class _Joining:
    """Links to whoever the file names, that carry nothing but words of the topology."""

    def __init__(self, config: Config, own: NodeConfig, certificates: Certificates | None) -> None:
        self._name = own.name
        self._heard: asyncio.Future[Topology] = asyncio.get_running_loop().create_future()
        self._links = PeerLinks(
            cluster=config.fence,
            node=own.name,
            incarnation=random.SystemRandom().getrandbits(62),
            listen=(own.listens_for_peers_on.host, own.listens_for_peers_on.port),
            peers={
                other.name: Peer(other.peer.host, other.peer.port, since=SINCE_UNKNOWN)
                for other in config.nodes
                if other.name != own.name
            },
            on_payload=lambda peer, payload: None,
            on_up=lambda peer: None,
            on_down=lambda peer: None,
            buffer_bytes_max=config.limits.peer_buffer_bytes,
            reconnect_min_s=config.timeouts.reconnect_min_s,
            reconnect_max_s=config.timeouts.reconnect_max_s,
            random=random.Random(),
            since=SINCE_UNKNOWN,
            certificates=certificates,
            on_topology=self._on_topology,
            on_level=self._on_level,
        )

    async def heard(self) -> Topology:
        await self._links.start()
        try:
            return await self._heard
        finally:
            await self._links.close()

    def _on_level(self, reason: str) -> None:
        if not self._heard.done():
            self._heard.set_exception(ConfigError(f"node {self._name} cannot join: {reason}"))

    def _on_topology(self, peer: str, body: bytes) -> None:
        word = decode_word(body)
        if self._heard.done():
            return
        if not word.text:
            # It has introduced itself: it is asked in its own words.
            ask = TopologyWord(0, 0, {}, "", {}, level=UNKNOWN, shape=word.shape)
            self._links.tell_topology(peer, encode_word(ask))
            return
        topology = decode_topology(word.text)
        if self._name in topology.node_by_name:
            self._heard.set_result(topology)
        else:
            log.info("not yet added", node=self._name, version=topology.version)
            raise ProtocolError(f"node {self._name} waits to be added")
