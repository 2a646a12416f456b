"""A process that serves a router: `globaltable router`, and `globaltable agent` beside an
application.

Responsible for putting router, service, probes and health together, and for ending in good order.
"""

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import grpc
import structlog
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from globaltable import limits
from globaltable.errors import ConfigError, GlobalTableError, StorageError
from globaltable.routing.client import kept_file, route_file
from globaltable.routing.client.following import RETRY_S
from globaltable.routing.client.keys import HeaderKeys, Rotation
from globaltable.routing.client.router import Router
from globaltable.routing.config import RoutingConfig
from globaltable.routing.header import HeaderSigner
from globaltable.routing.keyring import Keyring
from globaltable.routing.resolving import route_cache
from globaltable.routing.service.listening import add_port, require_guarded
from globaltable.routing.service.probing import probe
from globaltable.routing.service.routing_service import SERVICE_NAME, RoutingService
from globaltable.routing.signatures import RootSecret
from globaltable.routing.stored_routes import encode_routes

DRAIN_S: Final = 2.0
"""How long what is under way may take when it ends."""
KEEP_PERIOD_S: Final = 60.0
"""How often the routes are written to their file."""
_HEALTH_PERIOD_S: Final = 0.5

log = structlog.get_logger(__name__)


class Serving:
    """A running router service. `start`, then `stop`."""

    def __init__(
        self,
        config: RoutingConfig,
        listen: str,
        *,
        rotation: Rotation | None = None,
        roots: Sequence[RootSecret] = (),
        kept_in: Path | None = None,
    ) -> None:
        """`listen` is "host:port", or "unix:PATH". With a `rotation` it signs what it gives out, by
        keys of `roots`, and makes new ones. Its routes are kept in the file `kept_in` for the next
        start. Raises `ConfigError` if it would be open to everybody by mistake."""
        require_guarded(config.listening, listen)
        self._config = config
        self._listen = listen
        self._rotation = rotation
        self._roots = roots
        self._kept_in = kept_in
        self._cache = route_cache(config)
        self._signer = HeaderSigner(Keyring(config.namespace)) if rotation is not None else None
        self.router: Final = Router(config, signer=self._signer, cache=self._cache)
        self.service: Final = RoutingService(config, self.router)
        self._health = HealthServicer()
        self._tasks: list[asyncio.Task[None]] = []
        self._server: grpc.aio.Server | None = None
        self._troubles: dict[str, str] = {}
        self.port = 0
        """Where it listens, once it does; of a unix socket, 1 or some such."""

    @property
    def listen(self) -> str:
        return self._listen

    @property
    def signs(self) -> bool:
        """Whether what it gives out is to be signed."""
        return self._signer is not None

    async def start(self) -> None:
        """Begin to serve, whether or not GlobalTable can be reached. Raises `ConfigError` if it
        cannot listen."""
        if self._kept_in is not None:
            log.info("routes kept", count=route_file.load(self._cache, self._kept_in))
        await self.router.open()
        if self._signer is not None:
            self._tasks.append(asyncio.create_task(self._follow_keys(self._signer)))
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
                ("grpc.max_send_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
            ]
        )
        self.service.add_to(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        try:
            self.port = add_port(self._server, self._config.listening, self._listen)
        except ConfigError:
            await self.stop()
            raise
        await self._server.start()
        self._tasks.append(asyncio.create_task(self._keep_health()))
        if self._config.probes is not None:
            units = self._config.fleet.units.values()
            self._tasks.append(asyncio.create_task(probe(units, self._config.probes, self._told)))
        if self._kept_in is not None:
            self._tasks.append(asyncio.create_task(self._keep_routes(self._kept_in)))

    async def stop(self) -> None:
        """Finish what is under way, and close."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._health.enter_graceful_shutdown()
        self.service.drain()
        if self._server is not None:
            await self._server.stop(grace=DRAIN_S)
        await self.router.close()
        if self._kept_in is not None:
            await self._save_routes(self._kept_in)

    async def _follow_keys(self, signer: HeaderSigner) -> None:
        """Sign with the newest keys, from when GlobalTable can be asked for them."""
        while True:
            try:
                meta = await self.router.meta()
                break
            except GlobalTableError as error:
                log.warning("nothing is signed yet", why=str(error))
                await asyncio.sleep(RETRY_S)
        keys = HeaderKeys(meta, self._config.namespace, roots=self._roots, rotation=self._rotation)
        async with keys:
            keys.follow(signer.adopt)
            await asyncio.Future()

    async def _keep_routes(self, path: Path) -> None:
        while True:
            await asyncio.sleep(KEEP_PERIOD_S)
            await self._save_routes(path)

    async def _save_routes(self, path: Path) -> None:
        content = encode_routes(self._cache)
        try:
            await asyncio.to_thread(kept_file.replace, path, content)
        except StorageError as error:
            log.warning("routes are not kept for the next start", why=str(error))

    def _told(self, unhealthy: frozenset[str]) -> None:
        resolver = self.router.resolver
        before = resolver.fleet.unhealthy
        resolver.fleet = resolver.fleet.with_unhealthy(unhealthy)
        if resolver.fleet.unhealthy != before:
            log.warning("units unhealthy", units=sorted(resolver.fleet.unhealthy))

    async def _keep_health(self) -> None:
        """It serves as long as it runs: what is known goes on without GlobalTable. What keeps it
        from being up to date is logged as it comes and goes."""
        serving = health_pb2.HealthCheckResponse.SERVING
        for name in ("", SERVICE_NAME):
            await self._health.set(name, serving)
        while True:
            troubles = self.router.troubles
            for what in troubles.keys() - self._troubles.keys():
                log.warning("not up to date", what=what, why=troubles[what])
            for what in self._troubles.keys() - troubles.keys():
                log.info("up to date again", what=what)
            self._troubles = troubles
            await asyncio.sleep(_HEALTH_PERIOD_S)


def run(serving: Callable[[], Serving]) -> None:
    """Make what is to serve, and have it serve until SIGTERM or SIGINT. Raises `ConfigError` if it
    cannot."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(serving))


async def _run(make: Callable[[], Serving]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = make()
    await serving.start()
    # What lives now lives for good: the collector need not walk it, nor hold up a push.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    log.info("router started", listen=serving.listen, signs=serving.signs, pid=os.getpid())
    try:
        await stop.wait()
    finally:
        log.info("router stopping")
        await serving.stop()
        log.info("router stopped")
