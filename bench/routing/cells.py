"""Units with a small application: sessions that are lists of messages, kept in memory.

Responsible for what a message meets there, and for noting what would be wrong: a message that was
acknowledged by a unit when another had served a higher version, or by one that does not hold what
was acknowledged before.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple

import grpc.aio

from globaltable.client import GlobalTable
from globaltable.routing.client.fence_store import FenceStore
from globaltable.routing.client.unit import Unit, UnitSettings
from globaltable.routing.client.unit_watch import follow_moves
from globaltable.routing.fence import Moving, NotConfirmed, Verdict
from globaltable.routing.handover import Handover
from globaltable.routing.header import HeaderSigner, HeaderVerifier
from globaltable.routing.key_rotation import new_record
from globaltable.routing.keyring import Keyring
from globaltable.routing.service.unit_control import UnitControlService
from globaltable.routing.signatures import Algorithm, KeyTerms, RootSecret
from globaltable.routing.verified import VerifiedHeaders

DIMENSION: Final = "chat"
TABLE: Final = "routing.chat"
META_TABLE: Final = "routing.meta"
TABLES: Final = (TABLE, META_TABLE)


class Told(NamedTuple):
    """What a message's sender is told; `unit` is where to go, if it is known."""

    verdict: Verdict
    unit: str
    header: bytes


class Ledger:
    """What was acknowledged, by all units."""

    def __init__(self) -> None:
        self.messages: dict[str, list[int]] = {}
        self.served: dict[str, tuple[int, str]] = {}
        """The highest version of each key, and whose it is."""
        self.wrong: list[str] = []

    def acknowledged(self, cell: "Cell", key: str, version: int, message: int) -> None:
        highest, unit = self.served.get(key, (0, ""))
        messages = self.messages.setdefault(key, [])
        if highest > version and unit != cell.name:
            self.wrong.append(f"{key} in {cell.name} at {version}: {unit} has served {highest}")
        if cell.sessions[key][: len(messages)] != messages:
            self.wrong.append(f"{key} in {cell.name}: not all that was acknowledged is there")
        messages.append(message)
        self.served[key] = max((version, cell.name), (highest, unit))


class Cell:
    """A unit, and its application."""

    def __init__(self, name: str, unit: Unit, ledger: Ledger) -> None:
        self.name = name
        self.unit = unit
        self.sessions: dict[str, list[int]] = {}
        self._ledger = ledger

    async def send(self, key: str, message: int, header: bytes) -> Told:
        """A message comes for a session."""
        decision = await self.unit.decide(DIMENSION, key, header)
        unit = decision.route.unit if decision.route is not None else ""
        if decision.verdict is not Verdict.SERVE:
            return Told(decision.verdict, unit, decision.header)
        try:
            with self.unit.enter(decision) as permit:
                await asyncio.sleep(0)
                self.sessions.setdefault(key, []).append(message)
                await asyncio.sleep(0)
                self.unit.confirm(permit)
                self._ledger.acknowledged(self, key, permit.version, message)
        except (Moving, NotConfirmed):
            return Told(Verdict.MOVING, "", b"")
        return Told(decision.verdict, unit, decision.header)


@contextlib.asynccontextmanager
async def open_cells(
    addresses: list[str], names: str, directory: Path, *, settings: UnitSettings | None = None
) -> AsyncIterator[tuple[dict[str, Cell], Ledger]]:
    """Units of this process, each with its fence on disk and its control on a port of its own."""
    terms = KeyTerms(1, 0, 4_000_000_000, 4_000_086_400)
    root = RootSecret(os.urandom(32))
    record = new_record(terms, root, Algorithm.HMAC_SHA256_128, "bench")
    ring = Keyring("bench", [record], [root])
    ledger = Ledger()
    cells: dict[str, Cell] = {}
    async with contextlib.AsyncExitStack() as stack:
        for name in names:
            clients = [
                await stack.enter_async_context(GlobalTable.connect(addresses, table=table))
                for table in (META_TABLE, TABLE)
            ]

            async def receive(_dimension: str, handover: Handover, target: str = name) -> None:
                source = cells[handover.source].sessions
                cells[target].sessions[handover.key] = source.pop(handover.key, [])

            server = grpc.aio.server()
            port = server.add_insecure_port("127.0.0.1:0")
            store = FenceStore(directory / f"{name}.db", name)
            stack.callback(store.close)
            unit = Unit(
                name,
                meta=clients[0],
                tables={DIMENSION: clients[1]},
                store=store,
                verifier=VerifiedHeaders(HeaderVerifier(ring)),
                signer=HeaderSigner(ring),
                receive=receive,
                control_address=f"127.0.0.1:{port}",
                settings=settings or UnitSettings(),
            )
            await stack.enter_async_context(unit)
            UnitControlService(unit).add_to(server)
            await server.start()
            stack.push_async_callback(server.stop, None)
            watching = asyncio.create_task(follow_moves(unit, DIMENSION, clients[1]))
            stack.push_async_callback(_end, watching)
            cells[name] = Cell(name, unit, ledger)
        for cell in cells.values():
            await cell.unit.ready()
        yield cells, ledger


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
