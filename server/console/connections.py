"""The console's HTTP connections: uvicorn's protocol on this node's loop, within bounds.

uvicorn's server would take signals, logging and the listening into its hands; here only what it
makes of bytes is used, one protocol object a connection. Connections are accepted as peers' are
(`accepting`): each with the certificates that stand then, and known by the one it has shown.

Invariants: there are `CONNECTIONS_MAX` at most, and more are closed unanswered; one that is not
amid a request for `IDLE_S` is closed, whatever it trickles; the head of a request has
`HEAD_BYTES_MAX` at most, and what is written to one connection and not taken fills buffers of
bounded size, and no more.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from globaltable.errors import StorageError
from globaltable.server.accepting import Listener
from globaltable.server.config import Address
from globaltable.server.console.calls import Shown
from globaltable.server.tls import Certificates

CONNECTIONS_MAX: Final = 64
IDLE_S: Final = 10.0
HANDSHAKE_S: Final = 5.0
HEAD_BYTES_MAX: Final = 16_384
SEND_BUFFER_BYTES: Final = 65_536
"""Of the kernel, for one connection: who does not read is noticed once it is full."""
CLOSE_S: Final = 1.0
SHOWN: Final = "shown"
ABORT: Final = "abort"
"""In a request's state: who asks (`Shown`), and what ends its connection at once."""

Application = Callable[..., Any]

log = structlog.get_logger(__name__)


class _Connection(H11Protocol):
    """One of them. What is known of its other end is in the state of each of its requests."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._checked = self.loop.call_later(IDLE_S, self._check_idle)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()
            return
        own = transport.get_extra_info("socket")
        if own is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        pem = ssl.DER_cert_to_PEM_cert(der).encode() if der else b""
        self.app_state = {SHOWN: Shown(pem, _place(self.client)), ABORT: transport.abort}

    def connection_lost(self, exc: Exception | None) -> None:
        self._checked.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def _check_idle(self) -> None:
        """A request that is under way is bounded by who answers it."""
        waits = self.cycle is None or self.cycle.response_complete
        idle_s = self.loop.time() - self._idle_since if waits else 0.0
        if idle_s >= IDLE_S:
            self.transport.abort()
        else:
            self._checked = self.loop.call_later(IDLE_S - idle_s, self._check_idle)


def _place(address: tuple[str, int] | None) -> str:
    """As gRPC writes it, so that the gate finds a connection that it is to end."""
    host, port = address or ("", 0)
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"


class Connections:
    """Of one node. `start`, then `close`."""

    def __init__(
        self, address: Address, application: Application, certificates: Certificates | None
    ) -> None:
        self._address = address
        self._certificates = certificates
        for name in ("uvicorn.error", "uvicorn.access"):
            # What is wrong with a request is answered; what fails here is logged by who answers.
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self._config = uvicorn.Config(
            application,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=None,
            access_log=False,
            proxy_headers=False,
            interface="asgi3",
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
            timeout_keep_alive=round(IDLE_S),
        )
        self._config.load()
        self._state = ServerState()
        self._listener: Listener | None = None

    @property
    def url(self) -> str:
        scheme = "http" if self._certificates is None else "https"
        return f"{scheme}://{self._address}/"

    async def start(self) -> None:
        """Raises `StorageError` if the address cannot be listened on."""
        certificates = self._certificates
        try:
            self._listener = await Listener.listen(
                self._address.host,
                self._address.port,
                lambda: _Connection(self._config, self._state, {}),
                context=lambda: certificates.accepting if certificates is not None else None,
                handshake_timeout_s=HANDSHAKE_S,
                of_whom="console",
            )
        except OSError as error:
            raise StorageError(
                f"console address {self._address} cannot be listened on: {error}; is another "
                "process using it?"
            ) from error

    async def close(self) -> None:
        """Answer what is under way, for a moment; then end all connections."""
        if self._listener is not None:
            await self._listener.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=CLOSE_S)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
