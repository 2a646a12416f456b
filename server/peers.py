"""The connections between the nodes: one for each pair, carrying all of its groups' messages.

Of a pair, the node with the smaller name dials and the other accepts. A connection is up once the
handshake has passed at both ends; with TLS, each end must be the node that its certificate names.
What is sent while it is down is refused, for Raft sends again
what matters. A later connection of the same peer replaces the earlier one, which its other end has
given up. Peers come and go (`set_peers`): one that is no longer named is not dialled, and refused
when it calls; a connection that it has stays as long as it keeps it. A node that nobody has spoken
to for a while calls everybody: it may have been removed while it was away, and is told so.

Payloads are opaque here. All of it runs on the event loop's thread.
"""

import asyncio
import random as random_module
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import structlog

from globaltable import limits
from globaltable.errors import ProtocolError
from globaltable.levels import FIRST
from globaltable.server.accepting import Listener
from globaltable.server.delay import DelayLine
from globaltable.server.directories import Shown
from globaltable.server.frames import FrameKind, FrameParser, encode
from globaltable.server.handshake import (
    HELLO_BYTES_MAX,
    LEVEL_PREFIX,
    LOST_PREFIX,
    NO_HANDSHAKE,
    REMOVED_PREFIX,
    check_hello,
    decode_hello,
    encode_hello,
)
from globaltable.server.identities import Kind, identity_in, uris_of
from globaltable.server.round_trip import RoundTrip
from globaltable.server.tls import Certificates
from globaltable.server.versions import SPOKEN, VERSION_PREFIX, Offers, Versions
from globaltable.store.identity import DirectoryId

HANDSHAKE_TIMEOUT_S: Final = 5.0
UNKNOWN_CONNECTIONS_MAX: Final = 64
"""Connections that have not shown who they are; more are closed at once."""

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


class _Link(asyncio.Protocol):
    """One connection, from its handshake on."""

    def __init__(self, peers: "PeerLinks", expected: str) -> None:
        self._peers = peers
        self._expected = expected
        self._parser = FrameParser(HELLO_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._delay: DelayLine | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self.peer = ""
        self.version = 0
        """Of the protocol: what this end offers, and both speak once the link is established."""
        self.incarnation = 0
        self.plan = 0
        self._certified: str | None = ""
        """The node that the other end's certificate names; None without TLS, and until it has been
        looked at, nobody."""
        self.heard_at = time.monotonic()
        self.address: object = None
        self.closed = asyncio.get_running_loop().create_future()

    # --- asyncio ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        self.address = transport.get_extra_info("peername")
        if not self._peers.admit(self):
            transport.abort()  # type: ignore[attr-defined]
            return
        loop = asyncio.get_running_loop()
        self._idle_timer = loop.call_later(HANDSHAKE_TIMEOUT_S, self._handshake_late)
        try:
            self._certified = self._peers.certified(transport)
            if self._expected:
                self._require_certified(self._expected)
        except ProtocolError as error:
            self.refuse(str(error))
            return
        if self._expected:
            self.version = self._peers.offers.to(self._expected)
            self._write(FrameKind.HELLO, self._peers.hello(self._expected, self.version))

    def data_received(self, data: bytes) -> None:
        self.heard_at = time.monotonic()
        try:
            for kind, body in self._parser.feed(data):
                # A TLS connection goes on reading, too, after it was closed here, until the other
                # end has closed it.
                if self.closing:
                    return
                self._on_frame(kind, body)
        except ProtocolError as error:
            self.refuse(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._delay is not None:
            self._delay.close()
        if not self.closed.done():
            self.closed.set_result(None)
        self._peers.lost(self)

    # --- frames ----------------------------------------------------------------------------------

    def _on_frame(self, kind: FrameKind, body: bytes) -> None:
        if not self.peer:
            self._on_handshake(kind, body)
        elif kind is FrameKind.DATA:
            self._peers.on_payload(self.peer, body)
        elif kind is FrameKind.TOPOLOGY:
            self._peers.on_topology(self.peer, body)
        elif kind is FrameKind.PING:
            self.send(FrameKind.PONG, body)
        elif kind is FrameKind.PONG:
            self._peers.on_pong(self, body)
        elif kind is FrameKind.REFUSE:
            # The other end has looked at what this one showed of itself only now.
            self._on_refused(self.peer, body)
        else:
            raise ProtocolError(f"{kind.name} after the handshake")

    def _on_refused(self, by: str, body: bytes) -> None:
        reason = body.decode(errors="replace")
        log.warning("peer refuses this node", peer=by, reason=reason)
        if by and reason.startswith(REMOVED_PREFIX):
            self._peers.on_removed(by, reason.removeprefix(REMOVED_PREFIX))
        elif by and not self.peer and reason.startswith((VERSION_PREFIX, NO_HANDSHAKE)):
            self._peers.offers.refused(by)
        elif by and reason.startswith(LEVEL_PREFIX):
            self._peers.on_level(f"{by} refuses {reason.removeprefix(LEVEL_PREFIX)}")
        elif by and reason.startswith(LOST_PREFIX):
            self._peers.on_lost(reason.removeprefix(LOST_PREFIX))
        self.close()

    def _on_handshake(self, kind: FrameKind, body: bytes) -> None:
        if kind is FrameKind.REFUSE:
            self._on_refused(self._expected, body)
            return
        if kind is not FrameKind.HELLO:
            raise ProtocolError(f"{kind.name} before the handshake")
        hello = decode_hello(body)
        self._peers.check(hello, self._expected)
        if self._expected and hello.version != self.version:
            raise ProtocolError(f"version {self.version} was answered in {hello.version}")
        self.version = hello.version
        self._require_certified(hello.node)
        if not self._expected:
            self._write(FrameKind.HELLO, self._peers.hello(hello.node, hello.version))
        assert self._idle_timer is not None
        self._idle_timer.cancel()
        self._parser.frame_bytes_max = self._peers.frame_bytes_max
        self.peer, self.incarnation, self.plan = hello.node, hello.incarnation, hello.plan
        self._peers.established(self)

    def _require_certified(self, name: str) -> None:
        if self._certified not in (None, name):
            raise ProtocolError(f"the certificate is of node {self._certified!r}, not {name!r}")

    def _handshake_late(self) -> None:
        self.refuse("the handshake took too long")

    # --- sending ---------------------------------------------------------------------------------

    def send(self, kind: FrameKind, body: bytes) -> None:
        """Send in order, after the injected delay if there is one."""
        if self._delay is None:
            self._write(kind, body)
        else:
            self._delay.put(encode(kind, body))

    def delay(self, delay_s: float) -> None:
        """Delay everything that is sent from now on."""
        if delay_s > 0:
            self._delay = DelayLine(delay_s, self._release)

    def _release(self, frames: list[bytes]) -> None:
        if self._transport is not None and not self.closing:
            self._transport.write(b"".join(frames))

    def _write(self, kind: FrameKind, body: bytes) -> None:
        if self._transport is not None and not self.closing:
            self._transport.write(encode(kind, body))

    @property
    def buffered_bytes(self) -> int:
        size = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return size + (self._delay.bytes if self._delay is not None else 0)

    @property
    def closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def refuse(self, reason: str) -> None:
        log.warning("peer connection refused", address=str(self.address), reason=reason)
        if not self.peer:
            self._write(FrameKind.REFUSE, reason.encode()[: HELLO_BYTES_MAX - 1])
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


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
        self._links: dict[str, _Link] = {}
        self._unknown: set[_Link] = set()
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
            lambda: _Link(self, ""),
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
        for name in peers:
            self._start_dialling(name)

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

    def admit(self, link: _Link) -> bool:
        if self._closing or len(self._unknown) >= UNKNOWN_CONNECTIONS_MAX:
            return False
        self._unknown.add(link)
        return True

    def certified(self, transport: asyncio.BaseTransport) -> str | None:
        """The node that the other end has shown a certificate of; None without TLS. Raises
        `ProtocolError` if it has shown one of anything else."""
        if self._certificates is None:
            return None
        shown = identity_in(
            uris_of(transport.get_extra_info("peercert")), self._certificates.cluster
        )
        if shown.kind is not Kind.NODE:
            raise ProtocolError(f"the certificate is of {shown}, which is no node")
        return shown.name

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

    def check(self, hello: Any, expected: str) -> None:
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

    def established(self, link: _Link) -> None:
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

    def lost(self, link: _Link) -> None:
        self._unknown.discard(link)
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
            self._alone_since = time.monotonic()
            self.offers.begin_anew(link.peer)
            self._on_down(link.peer)

    def on_pong(self, link: _Link, body: bytes) -> None:
        if len(body) != 8:
            raise ProtocolError(f"a PONG of {len(body)} bytes")
        took_s = (time.monotonic_ns() - int.from_bytes(body, "big")) / 1e9
        if 0 <= took_s < 60:
            self._round_trips.setdefault(link.peer, RoundTrip()).took(took_s)

    # --- background ------------------------------------------------------------------------------

    def _send_ping(self, link: _Link) -> None:
        link.send(FrameKind.PING, time.monotonic_ns().to_bytes(8, "big"))

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._ping_interval_s)
            for link in list(self._links.values()):
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
                            lambda name=name: _Link(self, name), host, port, ssl=self._context()
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
                        lambda: _Link(self, peer), host, port, ssl=self._context()
                    )
            except (OSError, TimeoutError) as error:
                log.debug("peer cannot be reached", peer=peer, reason=str(error))
            else:
                await link.closed
                if link.peer:
                    back_off_s = self._reconnect_min_s
            await asyncio.sleep(back_off_s * self._random.uniform(0.5, 1.0))
            back_off_s = min(2 * back_off_s, self._reconnect_max_s)
