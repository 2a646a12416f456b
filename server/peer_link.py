"""One connection between two nodes, from its handshake on: what came, what is sent, its end.

Responsible for the frames of one connection and for the order of the handshake. What depends on
other connections, or on who the peers are, it asks of its owner.

Invariant: nothing but the handshake passes before both ends have shown who they are, and nothing is
taken from a connection that was closed here.
"""

import asyncio
import time
from typing import Final, Protocol

import structlog

from globaltable.errors import ProtocolError
from globaltable.server.delay import DelayLine
from globaltable.server.frames import FrameKind, FrameParser, encode
from globaltable.server.handshake import (
    HELLO_BYTES_MAX,
    LEVEL_PREFIX,
    LOST_PREFIX,
    NO_HANDSHAKE,
    REMOVED_PREFIX,
    SINCE_UNKNOWN,
    Hello,
    decode_hello,
)
from globaltable.server.identities import Certificate
from globaltable.server.versions import VERSION_PREFIX, Offers

HANDSHAKE_TIMEOUT_S: Final = 5.0

log = structlog.get_logger(__name__)


class LinkOwner(Protocol):
    """What a link asks, and whom it tells (`peers.PeerLinks`)."""

    @property
    def frame_bytes_max(self) -> int:
        """The size of a frame after the handshake."""
        ...

    @property
    def offers(self) -> Offers:
        """Which version of the protocol whom is offered."""
        ...

    def admit(self, link: "PeerLink") -> bool:
        """Whether there is room for one that has not shown who it is."""
        ...

    def certified(self, transport: asyncio.BaseTransport) -> Certificate | None:
        """The node's certificate that the other end has shown; None without TLS. Raises
        `ProtocolError` if it has shown one of anything else, or that is revoked."""
        ...

    def why_not(self, shown: Certificate) -> str:
        """Why a certificate is good no more; empty if it is."""
        ...

    def hello(self, to: str, version: int) -> bytes:
        """What this node shows of itself."""
        ...

    def check(self, hello: Hello, expected: str) -> None:
        """Raises `ProtocolError` if what the other end shows of itself is not to be accepted."""
        ...

    def established(self, link: "PeerLink") -> None:
        """The handshake has passed."""
        ...

    def lost(self, link: "PeerLink") -> None:
        """The connection has ended, established or not."""
        ...

    def on_payload(self, peer: str, payload: bytes) -> None: ...

    def on_topology(self, peer: str, body: bytes) -> None: ...

    def on_pong(self, link: "PeerLink", body: bytes) -> None: ...

    def on_removed(self, by: str, reason: str) -> None:
        """A peer refuses this node for good."""
        ...

    def on_lost(self, reason: str) -> None:
        """A peer refuses this node's data directory."""
        ...

    def on_level(self, reason: str) -> None:
        """A peer refuses this node's release."""
        ...


class PeerLink(asyncio.Protocol):
    """One connection, from its handshake on."""

    def __init__(self, peers: LinkOwner, expected: str) -> None:
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
        self._shown: Certificate | None = None
        """The other end's certificate, once it has been looked at; None without TLS."""
        self.since = SINCE_UNKNOWN
        """As it has said: which version of the topology added it."""
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
            self._shown = self._peers.certified(transport)
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
        self.since = hello.since
        self._peers.established(self)

    def _require_certified(self, name: str) -> None:
        if self._shown is not None and self._shown.identity.name != name:
            shown = self._shown.identity.name
            raise ProtocolError(f"the certificate is of node {shown!r}, not {name!r}")

    def look_at_certificate(self) -> None:
        """End the link if what its other end has shown is good no more."""
        why_not = self._peers.why_not(self._shown) if self._shown is not None else ""
        if why_not and not self.closing:
            log.warning("peer connection ends", peer=self.peer, reason=why_not)
            self.close()

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

    def dismiss(self, reason: str) -> None:
        """End the link for good: the node at its other end was removed."""
        log.info("peer connection ends", peer=self.peer, reason=reason)
        self._write(FrameKind.REFUSE, (REMOVED_PREFIX + reason).encode()[: HELLO_BYTES_MAX - 1])
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
