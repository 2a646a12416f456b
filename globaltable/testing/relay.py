"""A TCP relay between the nodes: each is reached by the others through it, and it can misbehave.

Responsible for carrying bytes as `ways` say: late, slowly, or, while a way is cut, not at all. A
cut holds bytes back as a network does whose packets are sent again: they arrive once it is healed,
or never if an end gives up first. `reset` breaks connections. It does not look at what it carries:
who connects is told by the process that does (`socket_owner`), so links may be encrypted.

Invariants: what is held of a direction is bounded (`_CHUNKS_MAX` chunks; the sender's socket then
fills); bytes arrive in order or the connection breaks. Listens on 127.0.0.1 only.
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from globaltable.server.config import Address
from globaltable.testing.loop_thread import LoopThread
from globaltable.testing.ways import Ways

_CHUNK_BYTES: Final = 16_384
_CHUNKS_MAX: Final = 64
_POLL_S: Final = 0.01
_LINGER_NONE: Final = struct.pack("ii", 1, 0)
"""A socket closed with it sends RST instead of FIN."""

Chunk = tuple[float, bytes]


class Detour(NamedTuple):
    """Where the others reach a node, and where it listens."""

    reached: Address
    listens: Address


class PeerRelay:
    """For all pairs of nodes, from when it is made until it is closed."""

    def __init__(
        self, detours: Mapping[str, Detour], source: Callable[[int, int], str | None]
    ) -> None:
        """By node. `source` names the node whose socket has the first port, connected to the
        second; what comes from nobody that it knows is carried as on an open way."""
        self.ways = Ways()
        self.carried_bytes: Counter[tuple[str, str]] = Counter()
        self._detours = detours
        self._source = source
        self._thread = LoopThread("relay")
        self._servers: list[asyncio.Server] = []
        self._connections: dict[tuple[str, str], set[asyncio.StreamWriter]] = {}
        try:
            for target in detours:
                self._thread.run(self._listen(target))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for server in self._servers:
            self._thread.call(server.close)
        self.reset()
        self._thread.close()

    def reset(self, *pairs: tuple[str, str]) -> int:
        """Break the connections between these pairs, or all; how many there were."""
        broken: list[asyncio.StreamWriter] = []

        def abort() -> None:
            for (source, target), writers in self._connections.items():
                if not pairs or (source, target) in pairs or (target, source) in pairs:
                    broken.extend(writers)
            for writer in broken:
                _abort(writer)

        self._thread.call(abort)
        return len(broken) // 2

    async def _listen(self, target: str) -> None:
        reached = self._detours[target].reached

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # The reset of a connection, and an end that is away, are what the relay is for.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                near_port = writer.get_extra_info("peername")[1]
                source = self._source(near_port, reached.port) or ""
                await self._carry(source, target, reader, writer)
            _abort(writer)

        self._servers.append(
            await asyncio.start_server(accept, reached.host, reached.port, limit=_CHUNK_BYTES)
        )

    async def _carry(
        self, source: str, target: str, near: asyncio.StreamReader, near_out: asyncio.StreamWriter
    ) -> None:
        # To connect takes packets both ways.
        while self.ways.of(source, target).cut or self.ways.of(target, source).cut:
            await asyncio.sleep(_POLL_S)
        address = self._detours[target].listens
        far, far_out = await asyncio.open_connection(address.host, address.port, limit=_CHUNK_BYTES)
        writers = self._connections.setdefault((source, target), set())
        writers |= {near_out, far_out}
        try:
            # Either direction's end is the end of both: nodes do not half-close.
            directions = [
                asyncio.ensure_future(self._forward(source, target, near, far_out)),
                asyncio.ensure_future(self._forward(target, source, far, near_out)),
            ]
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
        finally:
            writers -= {near_out, far_out}
            _abort(far_out)

    async def _forward(
        self, source: str, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        held: asyncio.Queue[Chunk] = asyncio.Queue(_CHUNKS_MAX)
        releasing = asyncio.ensure_future(self._release(source, target, held, writer))
        now = asyncio.get_running_loop().time
        try:
            while data := await reader.read(_CHUNK_BYTES):
                await held.put((now() + self.ways.of(source, target).delay_s, data))
                if releasing.done():
                    return
        finally:
            releasing.cancel()
            await asyncio.gather(releasing, return_exceptions=True)

    async def _release(
        self, source: str, target: str, held: "asyncio.Queue[Chunk]", writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await held.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            while (way := self.ways.of(source, target)).cut:
                await asyncio.sleep(_POLL_S)
            if way.bytes_per_s is not None:
                await asyncio.sleep(len(data) / way.bytes_per_s)
            writer.write(data)
            self.carried_bytes[source, target] += len(data)
            await writer.drain()


def _abort(writer: asyncio.StreamWriter) -> None:
    own = writer.get_extra_info("socket")
    if own is not None and not writer.transport.is_closing():
        with contextlib.suppress(OSError):
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    writer.transport.abort()
