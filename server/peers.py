"""The connections between the nodes: one for each pair, carrying all of its groups' messages.

Of a pair, the node with the smaller name dials and the other accepts. A connection is up once the
handshake has passed at both ends (`peer_link`); with TLS, each end must be the node that its
certificate names. What is sent while it is down is refused, for Raft sends again what matters. A
later connection of the same peer replaces the earlier one, which its other end has given up. Peers
come and go (`set_peers`): one that is no longer named is not dialled, and refused when it calls; a
connection that it has is ended, with a word of why, after `REMOVED_GRACE_S`, in which it hears of
the topology that is without it. A node that nobody has spoken to for a while calls everybody: it
may have been removed while it was away, and is told so.

With TLS no connection outlives the certificate that its other end has shown by more than the time
between two pings: it is closed, what was sent is still delivered, and the next one is made with
what the files hold then. So is one whose certificate has been revoked.

Payloads are opaque here. All of it runs on the event loop's thread.
"""

import asyncio
import random as random_module
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import structlog

from globaltable import limits
from globaltable.errors import ProtocolError
from globaltable.levels import FIRST
from globaltable.server.accepting import Listener
from globaltable.server.directories import Shown
from globaltable.server.frames import FrameKind
from globaltable.server.handshake import Hello, check_hello, encode_hello
from globaltable.server.identities import Certificate, Kind, certificate_of
from globaltable.server.peer_link import HANDSHAKE_TIMEOUT_S, PeerLink
from globaltable.server.round_trip import RoundTrip
from globaltable.server.tls import Certificates
from globaltable.server.versions import SPOKEN, Offers, Versions
from globaltable.store.identity import DirectoryId

UNKNOWN_CONNECTIONS_MAX: Final = 64
"""Connections that have not shown who they are; more are closed at once."""

REMOVED_GRACE_S: Final = 5.0
"""Some round trips and steps of its groups: who has been removed learns of it in good order."""

ALONE_S: Final = 3.0
"""After so long without any connection a node calls those, too, who should call it."""

log = structlog.get_logger(__name__)


class Peer(NamedTuple):
    """Where a peer listens, the delay added to what is sent there, and the version of the topology
    that added it; negative if that is not known."""

    host: str
    port: int
    one_way_delay_s: float = 0.0
    since: int = 0


class PeerLinks:
    """All connections of one node. `start`, then `send`; `close` at the end."""

    def __init__(
        self,
        *,
        cluster: str,
        node: str,
        incarnation: int,
        listen: tuple[str, int],
        peers: Mapping[str, Peer],
        on_payload: Callable[[str, bytes], None],
        on_up: Callable[[str], None],
        on_down: Callable[[str], None],
        buffer_bytes_max: int,
        reconnect_min_s: float,
        reconnect_max_s: float,
        random: random_module.Random,
        plan: int = 0,
        since: int = 0,
        on_topology: Callable[[str, bytes], None] = lambda peer, body: None,
        on_removed: Callable[[str, str], None] = lambda peer, reason: None,
        why_removed: Callable[[str, int], str] = lambda name, since: "",
        directory: DirectoryId | None = None,
        why_lost: Callable[[Shown], str] = lambda shown: "",
        on_lost: Callable[[str], None] = lambda reason: None,
        level: Callable[[], int] = lambda: FIRST,
        on_level: Callable[[str], None] = lambda reason: None,
        ping_interval_s: float = 1.0,
        idle_timeout_s: float = 5.0,
        frame_bytes_max: int = limits.FRAME_BYTES_MAX,
        certificates: Certificates | None = None,
        versions: Versions = SPOKEN,
    ) -> None:
        """`on_topology` is told of what a peer says of the topology; `on_removed` that a peer
        refuses this node for good, and why; `why_removed` is asked whether to do so. `directory` is
        shown to peers, `why_lost` asked of what they show, and `on_lost` told if one refuses this
        node's. `level` is what peers must understand, `on_level` told if one refuses this node for
        what it understands. Without `certificates` everything goes in the clear."""
        self._versions = versions
        self.offers = Offers(versions)
        self._cluster = cluster
        self._node = node
        self._incarnation = incarnation
        self._plan = plan
        self._since = since
        self._listen = listen
        self._addresses = dict(peers)
        self.on_topology = on_topology
        self.on_removed = on_removed
        self._directory = directory
        self._why_lost = why_lost
        self.on_lost = on_lost
        self._level = level
        self.on_level = on_level
        self._why_removed = why_removed
        self.on_payload = on_payload
        self._on_up = on_up
        self._on_down = on_down
        self._buffer_bytes_max = buffer_bytes_max
        self._reconnect_min_s = reconnect_min_s
        self._reconnect_max_s = reconnect_max_s
        self._random = random
        self._ping_interval_s = ping_interval_s
        self._idle_timeout_s = idle_timeout_s
        self.frame_bytes_max = frame_bytes_max
        self._certificates = certificates
        self._links: dict[str, PeerLink] = {}
        self._unknown: set[PeerLink] = set()
        self._round_trips: dict[str, RoundTrip] = {}
        self._listener: Listener | None = None
        self._dialling: dict[str, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._alone_since = time.monotonic()
        self._started = False
        self._closing = False

    async def start(self) -> None:
        """Listen, and dial the nodes whose names are greater. Raises `OSError` if it cannot."""
        certificates = self._certificates
        self._listener = await Listener.listen(
            *self._listen,
            lambda: PeerLink(self, ""),
            context=lambda: certificates.accepting if certificates is not None else None,
            handshake_timeout_s=HANDSHAKE_TIMEOUT_S,
        )
        self._started = True
        for name in self._addresses:
            self._start_dialling(name)
        self._tasks = [asyncio.create_task(self._ping()), asyncio.create_task(self._call_all())]

    def set_peers(self, peers: Mapping[str, Peer]) -> None:
        """Who the other nodes are from now on."""
        before, self._addresses = self._addresses, dict(peers)
        for name, old in before.items():
            if peers.get(name) == old:
                continue
            dialling = self._dialling.pop(name, None)
            if dialling is not None:
                dialling.cancel()
            link = self._links.get(name)
            if link is not None and name in peers:
                # Another node under its name, or at another place.
                link.close()
            elif link is not None:
                loop = asyncio.get_running_loop()
                loop.call_later(REMOVED_GRACE_S, self._dismiss, link)
        for name in peers:
            self._start_dialling(name)

    def _dismiss(self, link: PeerLink) -> None:
        if link.peer not in self._addresses and not link.closing:
            reason = self._why_removed(link.peer, link.since)
            link.dismiss(reason or f"node {link.peer} is no part of the topology")

    def _start_dialling(self, name: str) -> None:
        if self._started and not self._closing and self._node < name and name not in self._dialling:
            self._dialling[name] = asyncio.create_task(self._dial(name))

    async def close(self) -> None:
        """Close every connection; nothing is left running."""
        self._closing = True
        tasks = [*self._tasks, *self._dialling.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listener is not None:
            await self._listener.close()
        links = [*self._links.values(), *self._unknown]
        for link in links:
            link.close()
        if links:
            await asyncio.wait([link.closed for link in links], timeout=0.5)
        for link in links:
            link.abort()

    def send(self, peer: str, payload: bytes) -> bool:
        """Queue a payload; False, and nothing queued, if the peer is away or its buffer is full."""
        link = self._links.get(peer)
        if link is None or link.buffered_bytes + len(payload) > self._buffer_bytes_max:
            return False
        link.send(FrameKind.DATA, payload)
        return True

    def tell_topology(self, peer: str, body: bytes) -> None:
        """Say something of the topology to a peer, if it is connected."""
        link = self._links.get(peer)
        if link is not None:
            link.send(FrameKind.TOPOLOGY, body)

    def connected(self, peer: str) -> bool:
        return peer in self._links

    def version(self, peer: str) -> int:
        """Of the protocol that is spoken with it; 0 if it is away."""
        link = self._links.get(peer)
        return link.version if link is not None else 0

    @property
    def connections(self) -> list[str]:
        """The peers that are connected."""
        return list(self._links)

    def set_plan(self, plan: int) -> None:
        """The digest of who should lead each group, as this node has it now."""
        self._plan = plan

    def peer_plans(self, peer: str, plan: int) -> None:
        """The same of a peer, as it has it now."""
        link = self._links.get(peer)
        if link is not None:
            link.plan = plan

    def has_same_plan(self, peer: str) -> bool:
        """Whether the peer is connected, and has the same nodes lead the same groups."""
        link = self._links.get(peer)
        return link is not None and link.plan == self._plan

    def round_trip_s(self, peer: str) -> float:
        """As `RoundTrip` tells it; 0.0 until it has been measured."""
        return self.round_trip(peer).smooth_s

    def round_trip(self, peer: str) -> RoundTrip:
        return self._round_trips.get(peer) or RoundTrip()

    def buffered_bytes(self, peer: str) -> int:
        link = self._links.get(peer)
        return link.buffered_bytes if link is not None else 0

    # --- what links ask --------------------------------------------------------------------------

    def admit(self, link: PeerLink) -> bool:
        if self._closing or len(self._unknown) >= UNKNOWN_CONNECTIONS_MAX:
            return False
        self._unknown.add(link)
        return True

    def certified(self, transport: asyncio.BaseTransport) -> Certificate | None:
        """The node's certificate that the other end has shown; None without TLS. Raises
        `ProtocolError` if it has shown one of anything else, or that is revoked."""
        if self._certificates is None:
            return None
        shown = certificate_of(transport.get_extra_info("peercert"), self._certificates.cluster)
        if shown.identity.kind is not Kind.NODE:
            raise ProtocolError(f"the certificate is of {shown.identity}, which is no node")
        revoked = self._certificates.revocations.newest().why(shown)
        if revoked:
            raise ProtocolError(revoked)
        return shown

    def why_not(self, shown: Certificate) -> str:
        """Why a certificate is good no more; empty if it is."""
        assert self._certificates is not None, "without TLS none is shown"
        return shown.why_not(time.time()) or self._certificates.revocations.present.why(shown)

    def _context(self) -> ssl.SSLContext | None:
        return self._certificates.dialling if self._certificates is not None else None

    def hello(self, to: str, version: int) -> bytes:
        return encode_hello(
            self._cluster,
            self._node,
            to,
            self._incarnation,
            self._plan,
            self._since,
            self._directory,
            version,
        )

    def check(self, hello: Hello, expected: str) -> None:
        # Only nodes with smaller names dial this one.
        known = {name: peer.since for name, peer in self._addresses.items()}
        callers = {name: since for name, since in known.items() if name < self._node}
        check_hello(
            hello,
            cluster=self._cluster,
            node=self._node,
            expected={expected: known.get(expected, -1)} if expected else callers,
            versions=self._versions,
            why_removed=self._why_removed,
            why_lost=self._why_lost,
            level=self._level(),
        )

    def established(self, link: PeerLink) -> None:
        self._unknown.discard(link)
        old = self._links.pop(link.peer, None)
        if old is not None:
            old.abort()
            self._on_down(link.peer)
        if link.version < self._versions.newest:
            log.info("peer speaks an older version", peer=link.peer, protocol=link.version)
        known = self._addresses.get(link.peer)
        link.delay(known.one_way_delay_s if known is not None else 0.0)
        self._links[link.peer] = link
        self._on_up(link.peer)
        self._send_ping(link)

    def lost(self, link: PeerLink) -> None:
        self._unknown.discard(link)
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
            self._alone_since = time.monotonic()
            self.offers.begin_anew(link.peer)
            self._on_down(link.peer)

    def on_pong(self, link: PeerLink, body: bytes) -> None:
        if len(body) != 8:
            raise ProtocolError(f"a PONG of {len(body)} bytes")
        took_s = (time.monotonic_ns() - int.from_bytes(body, "big")) / 1e9
        if 0 <= took_s < 60:
            self._round_trips.setdefault(link.peer, RoundTrip()).took(took_s)

    # --- background ------------------------------------------------------------------------------

    def _send_ping(self, link: PeerLink) -> None:
        link.send(FrameKind.PING, time.monotonic_ns().to_bytes(8, "big"))

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._ping_interval_s)
            if self._certificates is not None:
                self._certificates.revocations.newest()
            for link in list(self._links.values()):
                link.look_at_certificate()
                if time.monotonic() - link.heard_at > self._idle_timeout_s:
                    log.warning("peer is silent", peer=link.peer, timeout_s=self._idle_timeout_s)
                    link.abort()
                else:
                    self._send_ping(link)

    async def _call_all(self) -> None:
        """Alone for a while: call who should call this node, to be told why they do not."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(ALONE_S / 2)
            if self._links or time.monotonic() - self._alone_since < ALONE_S:
                continue
            for name in [name for name in self._addresses if name < self._node]:
                host, port = self._addresses[name][:2]
                try:
                    async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                        _, link = await loop.create_connection(
                            lambda name=name: PeerLink(self, name), host, port, ssl=self._context()
                        )
                        await link.closed
                except (OSError, TimeoutError) as error:
                    log.debug("peer cannot be reached", peer=name, reason=str(error))

    async def _dial(self, peer: str) -> None:
        """Keep a connection to a peer, with back-off that doubles, is jittered, and is reset."""
        loop = asyncio.get_running_loop()
        host, port = self._addresses[peer][:2]
        back_off_s = self._reconnect_min_s
        while True:
            try:
                async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                    _, link = await loop.create_connection(
                        lambda: PeerLink(self, peer), host, port, ssl=self._context()
                    )
            except (OSError, TimeoutError) as error:
                log.debug("peer cannot be reached", peer=peer, reason=str(error))
            else:
                await link.closed
                if link.peer:
                    back_off_s = self._reconnect_min_s
            await asyncio.sleep(back_off_s * self._random.uniform(0.5, 1.0))
            back_off_s = min(2 * back_off_s, self._reconnect_max_s)
