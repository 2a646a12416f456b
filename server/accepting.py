"""Connections, from the moment they are accepted to the end of their TLS handshake.

Each handshake is made with the certificates that stand then, which a listener of the event loop's
own, bound to one `SSLContext`, cannot.

Invariant: at most `HANDSHAKES_MAX` handshakes are under way, each for no longer than its time. When
one more comes the oldest is given up, not the new one: who has only to be silent to hold a place
would otherwise keep out who needs a moment to get in.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final, Self

import structlog

from globaltable.server.rate_limit import TokenBucket

HANDSHAKES_MAX: Final = 64
_BACKLOG: Final = 128
_WORDS_PER_S: Final = 1.0
_WORDS_AT_ONCE: Final = 20
"""Refusals that are logged; of who knocks more often it is enough to hear so much."""
_EXHAUSTED_S: Final = 0.1

log = structlog.get_logger(__name__)


class Listener:
    """A port on which peers, or browsers, are accepted. `listen` makes it; `close` it."""

    def __init__(
        self,
        sockets: list[socket.socket],
        protocol: Callable[[], asyncio.Protocol],
        context: Callable[[], ssl.SSLContext | None],
        handshake_timeout_s: float,
        of_whom: str,
    ) -> None:
        self._of_whom = of_whom
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._protocol = protocol
        self._context = context
        self._handshake_timeout_s = handshake_timeout_s
        self._handshakes: dict[asyncio.Task[None], None] = {}
        """In the order in which they came."""
        self._words = TokenBucket(_WORDS_PER_S, _WORDS_AT_ONCE, self._loop.time())
        self._closed = False
        for one in sockets:
            self._look_for_callers(one)

    @classmethod
    async def listen(
        cls,
        host: str,
        port: int,
        protocol: Callable[[], asyncio.Protocol],
        *,
        context: Callable[[], ssl.SSLContext | None],
        handshake_timeout_s: float,
        of_whom: str = "peer",
    ) -> Self:
        """Listen on every address that `host` names. `context` is asked for each connection; None
        leaves it in the clear. `of_whom` names who calls, in the log. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets: list[socket.socket] = []
        try:
            for family, kind, number, _, address in dict.fromkeys(found):
                one = socket.socket(family, kind, number)
                sockets.append(one)
                one.setblocking(False)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    # The other family has a socket of its own.
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind(address)
                one.listen(_BACKLOG)
        except OSError:
            for one in sockets:
                one.close()
            raise
        return cls(sockets, protocol, context, handshake_timeout_s, of_whom)

    async def close(self) -> None:
        """Accept nobody any more, and give up who is not through. Who is through stays."""
        self._closed = True
        while self._sockets:
            one = self._sockets.pop()
            self._loop.remove_reader(one.fileno())
            one.close()
        tasks = list(self._handshakes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _look_for_callers(self, listening: socket.socket) -> None:
        # Not `sock_accept`: one that is cancelled as a caller comes loses the caller's socket.
        if not self._closed:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        try:
            accepted, address = listening.accept()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            # Too many files are open, or whoever called is gone.
            log.warning(f"a {self._of_whom}'s connection was not accepted", reason=str(error))
            self._loop.remove_reader(listening.fileno())
            self._loop.call_later(_EXHAUSTED_S, self._look_for_callers, listening)
            return
        accepted.setblocking(False)
        while len(self._handshakes) >= HANDSHAKES_MAX:
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]
            oldest.cancel()
        task = self._loop.create_task(self._connect(accepted, address))
        self._handshakes[task] = None
        task.add_done_callback(partial(self._ended, accepted))

    def _ended(self, accepted: socket.socket, task: "asyncio.Task[None]") -> None:
        self._handshakes.pop(task, None)
        if task.cancelled():
            accepted.close()

    async def _connect(self, accepted: socket.socket, address: object) -> None:
        try:
            context = self._context()
            await self._loop.connect_accepted_socket(
                self._protocol,
                accepted,
                ssl=context,
                ssl_handshake_timeout=None if context is None else self._handshake_timeout_s,
            )
        except (OSError, TimeoutError) as error:
            # An `SSLError` is one too.
            accepted.close()
            if self._words.take(1, self._loop.time()) == 0.0:
                reason = str(error) or type(error).__name__
                log.warning(
                    f"{self._of_whom} connection refused", address=str(address), reason=reason
                )
