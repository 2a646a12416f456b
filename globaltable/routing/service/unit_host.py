"""A unit with all it needs, opened at once: what a server process of an application begins with.

Responsible for putting together tables, fence, header keys, lease, control port and the watch of
moves, and for ending them in the reverse order. Whoever needs other parts puts them together anew.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import grpc.aio

from globaltable.client import GlobalTable, TlsConfig
from globaltable.errors import ConfigError
from globaltable.routing.client.fence_store import FenceStore
from globaltable.routing.client.keys import META_TABLE, HeaderKeys, Rotation
from globaltable.routing.client.unit import Receive, Unit, UnitSettings
from globaltable.routing.client.unit_watch import follow_moves
from globaltable.routing.header import HeaderSigner, HeaderVerifier
from globaltable.routing.keyring import Keyring
from globaltable.routing.service.unit_control import UnitControlService
from globaltable.routing.signatures import Algorithm, RootSecret
from globaltable.routing.verified import VerifiedHeaders

HMAC_KEYS: Final = Rotation(Algorithm.HMAC_SHA256_128)
SETTINGS: Final = UnitSettings()
SIGNS_WITHIN_S: Final = 5.0
"""How long the start waits for a key that signs. Without one a unit serves, and signs nothing."""

_log: Final = logging.getLogger(__name__)


class Hosted:
    """An open unit, and what it stands on."""

    def __init__(
        self, unit: Unit, tables: Mapping[str, GlobalTable], headers: VerifiedHeaders
    ) -> None:
        self.unit: Final = unit
        self.tables: Final = tables
        """A client of each dimension's table, by dimension."""
        self.headers: Final = headers
        """`headers.verifier.refused` counts what was refused, by reason."""


@asynccontextmanager
async def open_unit(
    name: str,
    *,
    endpoints: Sequence[str],
    dimensions: Mapping[str, str],
    audience: str,
    roots: Sequence[RootSecret],
    fence: Path,
    receive: Receive | None = None,
    control_listen: str = "127.0.0.1:0",
    control_credentials: grpc.ServerCredentials | None = None,
    rotation: Rotation | None = HMAC_KEYS,
    settings: UnitSettings = SETTINGS,
    tls: TlsConfig | None = None,
) -> AsyncIterator[Hosted]:
    """Open the unit `name`, and return once it holds its lease and signs.

    `dimensions` maps each to its table. `control_listen` is "host:port" where movers reach it, as
    they see it; without `control_credentials` in the clear, so keep it private. `audience` and
    `roots` are of the header keys; a unit without roots, and without `rotation`, only checks.
    Raises ConfigError if it cannot listen, and what the parts do.
    """
    async with AsyncExitStack() as stack:

        async def table(of: str) -> GlobalTable:
            return await stack.enter_async_context(
                GlobalTable.connect(endpoints, table=of, tls=tls)
            )

        meta = await table(META_TABLE)
        tables = {dimension: await table(of) for dimension, of in dimensions.items()}
        keys = await stack.enter_async_context(
            HeaderKeys(meta, audience, roots=roots, rotation=rotation)
        )
        signer = HeaderSigner(keys.ring)
        headers = VerifiedHeaders(HeaderVerifier(keys.ring))
        keys.follow(signer.adopt)
        keys.follow(headers.adopt)
        store = FenceStore(fence, name)
        stack.callback(store.close)
        server = grpc.aio.server()
        control = _listening(server, control_listen, control_credentials)
        unit = Unit(
            name,
            meta=meta,
            tables=tables,
            store=store,
            verifier=headers,
            signer=signer,
            receive=receive,
            control_address=control,
            settings=settings,
        )
        UnitControlService(unit).add_to(server)
        await server.start()
        stack.push_async_callback(server.stop, None)
        await stack.enter_async_context(unit)
        for dimension, client in tables.items():
            watching = asyncio.create_task(follow_moves(unit, dimension, client))
            stack.push_async_callback(_ended, watching)
        await unit.ready()
        if roots:
            await _signing(keys, name)
        yield Hosted(unit, tables, headers)


async def _signing(keys: HeaderKeys, unit: str) -> None:
    """Return once a key signs, or it takes too long."""
    signs = asyncio.Event()

    def look(ring: Keyring) -> None:
        if ring.signing(time.time()) is not None:
            signs.set()

    keys.follow(look)
    try:
        async with asyncio.timeout(SIGNS_WITHIN_S):
            await signs.wait()
    except TimeoutError:
        _log.warning("unit %s gives no headers yet: no key signs with the roots it holds", unit)


def _listening(
    server: grpc.aio.Server, listen: str, credentials: grpc.ServerCredentials | None
) -> str:
    """The address that it listens on."""
    try:
        if credentials is None:
            port = server.add_insecure_port(listen)
        else:
            port = server.add_secure_port(listen, credentials)
    except RuntimeError as error:
        raise ConfigError(f"a unit's control cannot listen on {listen!r}: {error}") from error
    return f"{listen.rpartition(':')[0]}:{port}"


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
