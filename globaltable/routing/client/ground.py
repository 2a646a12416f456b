"""GlobalTable as a router asks it: a client for each table, connected when it is needed.

Responsible for having clients, whether or not there was anybody to connect to at first.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from globaltable.client import GlobalTable, TlsConfig
from globaltable.errors import ConnectFailed, DeadlineExceeded, GlobalTableError, Unavailable
from globaltable.model import Binding
from globaltable.routing.config import TlsFiles
from globaltable.routing.resolution import Answer, Ask, Verb

ATTEMPT_TIMEOUT_S: Final = 2.0


class Ground:
    """The clients of one router. Made anew for each; closed once."""

    def __init__(
        self,
        endpoints: tuple[str, ...],
        timeout_s: float,
        tls: TlsFiles | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._timeout_s = timeout_s
        self._tls = TlsConfig(*tls) if tls is not None else None
        self._clients: dict[str, GlobalTable] = {}
        self._opening: dict[str, asyncio.Task[GlobalTable]] = {}
        self._closed = False

    async def close(self) -> None:
        """Give up what is under way."""
        self._closed = True
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for client in self._clients.values():
            await client.close()

    async def client(self, table: str, timeout_s: float | None = None) -> GlobalTable:
        """The open client of a table. Raises `ConnectFailed` if no node answers in time: in that of
        opening, or in `timeout_s` if that is less."""
        client = self._clients.get(table)
        if client is not None:
            return client
        assert not self._closed, "asked of a ground that is closed"
        opening = self._opening.get(table)
        if opening is None:
            opening = self._opening[table] = asyncio.create_task(self._open(table))
            opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(opening)
        except TimeoutError as error:
            if isinstance(error, GlobalTableError):
                raise
            raise ConnectFailed(
                f"no node of {', '.join(self._endpoints)} has answered in {timeout_s} s"
            ) from None

    async def _open(self, table: str) -> GlobalTable:
        try:
            client = GlobalTable.connect(
                self._endpoints,
                table=table,
                timeout=self._timeout_s,
                attempt_timeout=min(ATTEMPT_TIMEOUT_S, self._timeout_s),
                tls=self._tls,
            )
            self._clients[table] = await client.open()
        finally:
            del self._opening[table]
        return client

    async def ask(self, ask: Ask) -> Answer:
        """Carry out one question. Raises what the client does."""
        timeout_s = ask.timeout_s or self._timeout_s
        client = await self.client(ask.table, ask.timeout_s)
        match ask.verb:
            case Verb.BIND:
                return Answer(await client.bind(ask.key, ask.unit, timeout=timeout_s))
            case Verb.READ | Verb.READ_BEHIND_BARRIER as verb:
                current = verb is Verb.READ_BEHIND_BARRIER
                return Answer(await client.get(ask.key, linearizable=current, timeout=timeout_s))

    async def read(self, table: str, keys: list[str]) -> Mapping[str, Binding]:
        """The bindings of some keys, no older than the call; or, with no majority to be had, as the
        nearest replica knows them."""
        client = await self.client(table)
        try:
            return await client.get_many(keys, linearizable=True)
        except (Unavailable, DeadlineExceeded):
            return await client.get_many(keys)
