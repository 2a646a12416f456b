"""Three units under fire: chats are created everywhere at once, written to, moved and followed, one
unit is killed; then every message is read back from the units' files, and checked."""

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from examples.im.checking import Acknowledged, check
from examples.im.client import ChatClient
from examples.im.fleet import Fleet
from examples.im.report import Figures
from examples.im.settings import TABLE
from examples.im.storage import Row, messages_at
from globaltable.client import GlobalTable
from globaltable.testing import LocalCluster

UNITS = "ABC"
META_TABLE = "routing.meta"
SETTLE_S = 20.0


class Size(NamedTuple):
    """How much is done."""

    chats: int = 30
    writers: int = 4
    """Near each unit."""
    messages: int = 2_000
    """At least; who writes goes on until the moves and the kill are over."""


def run(size: Size, console: Console) -> Figures:
    """Run it all; `figures.hold` tells whether every promise was kept."""
    console.print("Starting three GlobalTable nodes and three units on 127.0.0.1")
    with (
        tempfile.TemporaryDirectory(prefix="globaltable-im-") as directory,
        LocalCluster(tables=(TABLE, META_TABLE)) as cluster,
        Fleet(Path(directory), list(cluster.addresses.values()), UNITS) as fleet,
    ):
        return asyncio.run(_Demo(size, console, fleet).run())


class _Demo:
    def __init__(self, size: Size, console: Console, fleet: Fleet) -> None:
        self._size = size
        self._console = console
        self._fleet = fleet
        self._chats = [f"chat:{number}" for number in range(size.chats)]
        self._acknowledged: list[Acknowledged] = []
        self._slowest_s = 0.0
        self._pushed: dict[str, list[tuple[int, str]]] = {chat: [] for chat in self._chats}
        self._is_over = False
        self._figures = Figures()

    async def run(self) -> Figures:
        async with AsyncExitStack() as stack:
            self._users = {
                unit: await stack.enter_async_context(ChatClient(self._fleet.settings.units, unit))
                for unit in UNITS
            }
            self._table = await stack.enter_async_context(
                GlobalTable.connect(self._fleet.settings.endpoints, table=TABLE)
            )
            await self._create()
            followers = [asyncio.create_task(self._follow(chat)) for chat in self._chats]
            writers = [
                asyncio.create_task(self._write(unit, number))
                for unit in UNITS
                for number in range(self._size.writers)
            ]
            try:
                await self._disturb()
                self._is_over = True
                await asyncio.gather(*writers)
                await self._settled()
            finally:
                for task in (*followers, *writers):
                    task.cancel()
                await asyncio.gather(*followers, *writers, return_exceptions=True)
            await self._check()
        return self._figures

    async def _create(self) -> None:
        """Each chat from all three units at the same time."""
        self._console.print(f"Creating {len(self._chats)} chats, each from all three units at once")
        answers = await asyncio.gather(
            *(user.create(chat) for chat in self._chats for user in self._users.values())
        )
        for number, chat in enumerate(self._chats):
            told = set(answers[number * len(UNITS) : (number + 1) * len(UNITS)])
            if len(told) != 1:
                self._figures.disagreed.append(f"{chat}: {sorted(told)}")
        self._figures.chats = len(self._chats)
        self._figures.created = Counter(answers[:: len(UNITS)])

    async def _write(self, unit: str, number: int) -> None:
        """One user after the other message; each is sent until it is acknowledged."""
        dice, user = random.Random(f"{unit}{number}"), self._users[unit]
        while not self._is_over or len(self._acknowledged) < self._size.messages:
            chat = dice.choice(self._chats)
            began_s = time.monotonic()
            message_id, place = await user.send(chat, f"hello from {unit}{number}")
            self._slowest_s = max(self._slowest_s, time.monotonic() - began_s)
            self._acknowledged.append(Acknowledged(chat, message_id, place))

    async def _follow(self, chat: str) -> None:
        user = self._users[random.Random(chat).choice(UNITS)]
        async for message in user.follow(chat):
            self._pushed[chat].append((message.number, message.message_id))

    async def _disturb(self) -> None:
        """What goes wrong, or is done on purpose, while all write."""
        await self._written(self._size.messages // 4)
        await self._move("--unit", "B", "--to", "C")
        await self._written(self._size.messages // 4)
        self._console.print("Unit A is killed, and started again")
        self._fleet.kill("A")
        began_s = time.monotonic()
        self._fleet.start("A")
        await asyncio.to_thread(self._fleet.wait_ready, "A")
        self._figures.killed_for_s = time.monotonic() - began_s
        await self._written(self._size.messages // 4)
        await self._move("--prefix", "chat:", "--to", "B")

    async def _written(self, more: int) -> None:
        enough = len(self._acknowledged) + more
        while len(self._acknowledged) < enough:
            await asyncio.sleep(0.01)

    async def _move(self, *which: str) -> None:
        """Move chats as an operator would; they are written to all the while."""
        before, began_s = len(self._acknowledged), time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "globaltable", "route", "move", *which),
            *("--dimension", "chat", "--table", TABLE),
            *("--endpoints", ",".join(self._fleet.settings.endpoints)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        self._console.print(f"route move {' '.join(which)}: {output.decode().splitlines()[-1]}")
        self._figures.moves.append(
            (" ".join(which), time.monotonic() - began_s, len(self._acknowledged) - before)
        )

    async def _settled(self) -> None:
        """Until followers have caught up, and what moves left behind is removed; but not for ever:
        what is missing then is found."""
        wanted = Counter(one.chat for one in self._acknowledged)
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            held = Counter(chat for unit in UNITS for chat in self._held(unit))
            if all(len(self._pushed[chat]) >= count for chat, count in wanted.items()) and all(
                count == 1 for count in held.values()
            ):
                return
            await asyncio.sleep(0.1)

    def _held(self, unit: str) -> dict[str, list[Row]]:
        return messages_at(self._fleet.settings.messages(unit))

    async def _check(self) -> None:
        bindings = await self._table.get_many(self._chats, linearizable=True)
        units = {unit: self._held(unit) for unit in UNITS}
        figures = self._figures
        figures.messages = len(self._acknowledged)
        figures.held = {unit: sum(map(len, chats.values())) for unit, chats in units.items()}
        figures.chats_held = {unit: len(chats) for unit, chats in units.items()}
        figures.sent_again = sum(user.sent_again for user in self._users.values())
        figures.pushed = sum(map(len, self._pushed.values()))
        figures.slowest_s = self._slowest_s
        owners = {chat: one.unit for chat, one in bindings.items()}
        figures.findings = check(self._acknowledged, units, owners, self._pushed)
