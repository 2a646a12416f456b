"""A TCP relay between the nodes: each reaches the others through it, and it can misbehave.

Responsible for carrying bytes as `ways` say: late, slowly, or, while a way is cut, not at all. A
cut holds bytes back as a network does whose packets are sent again: they arrive once it is healed,
or never if an end gives up first. `reset` breaks connections.

Invariants: what is held of a direction is bounded (`_CHUNKS_MAX` chunks; the sender's socket then
fills); bytes arrive in order or the connection breaks. Listens on 127.0.0.1 only.
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from globaltable.server.config import Address, Config
from tests.faults.loop_thread import LoopThread
from tests.faults.ways import Ways

_CHUNK_BYTES: Final = 16_384
_CHUNKS_MAX: Final = 64
_POLL_S: Final = 0.01
_LINGER_NONE: Final = struct.pack("ii", 1, 0)
"""A socket closed with it sends RST instead of FIN."""

Chunk = tuple[float, bytes]


class PeerRelay:
    """For all pairs of regions. A context manager; `seen_by` is what `LocalCluster` asks for::

    with PeerRelay("abc") as relay, LocalCluster(seen_by=relay.seen_by) as cluster:
        relay.ways.set([("a", "b")], Way(cut=True))
    """

    def __init__(self, regions: Sequence[str]) -> None:
        self.ways = Ways()
        self.carried_bytes: Counter[tuple[str, str]] = Counter()
        self._thread = LoopThread("relay")
        self._targets: dict[str, Address] = {}
        self._listening: dict[tuple[str, str], Address] = {}
        self._servers: list[asyncio.Server] = []
        self._connections: dict[tuple[str, str], set[asyncio.StreamWriter]] = {}
        for source in regions:
            for target in regions:
                if source != target:
                    self._thread.run(self._listen(source, target))

    def __enter__(self) -> "PeerRelay":
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            self._thread.call(server.close)
        self.reset()
        self._thread.close()

    def seen_by(self, region: str, config: Config) -> Config:
        """The configuration in which the other nodes are reached through the relay."""
        seen = []
        for other in config.nodes:
            self._targets[other.name] = other.peer
            detour = self._listening.get((region, other.name))
            seen.append(replace(other, peer=detour) if detour is not None else other)
        return replace(config, nodes=tuple(seen))

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

    async def _listen(self, source: str, target: str) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # The reset of a connection, and an end that is away, are what the relay is for.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._carry(source, target, reader, writer)
            _abort(writer)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_CHUNK_BYTES)
        self._servers.append(server)
        port = server.sockets[0].getsockname()[1]
        self._listening[source, target] = Address("127.0.0.1", port)

    async def _carry(
        self, source: str, target: str, near: asyncio.StreamReader, near_out: asyncio.StreamWriter
    ) -> None:
        # To connect takes packets both ways.
        while self.ways.of(source, target).cut or self.ways.of(target, source).cut:
            await asyncio.sleep(_POLL_S)
        address = self._targets[target]
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
