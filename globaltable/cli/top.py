"""`globaltable top`: what a cluster does now, live in the terminal.

It asks every node's Status, and tells rates from one look to the next. A node that does not answer
stays on the screen, with the reason. Keys choose what is shown (`top_keys`); without a terminal one
plain picture is printed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from globaltable.cli.exits import ExitStatus
from globaltable.cli.keyboard import Keyboard, keyboard
from globaltable.cli.options import ENDPOINTS_DEFAULT, Endpoints, addresses_of
from globaltable.cli.sheets import Look, Sheet, groups, ills_of, nodes, paces_of, regions
from globaltable.cli.status import ask
from globaltable.cli.top_keys import HELP, Shown, State, keys_in, pressed
from globaltable.errors import GlobalTableError
from globaltable.pace import NodePace

NODES_ASKED_MAX: Final = 32
"""At a time."""
_PLAIN_WIDTH: Final = 140
_LINES_BESIDE_ROWS: Final = 4
"""Head, a blank, titles, the last line."""
_FOR_EVER_S: Final = 3_600.0
"""Waited at a time for a key, or for nodes to answer."""


def top(
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    interval_s: Annotated[
        float,
        typer.Option("--interval", min=0.2, metavar="SECONDS", help="From one look to the next."),
    ] = 1.0,
    once: Annotated[
        bool, typer.Option("--once", help="Look twice, print once, and end: as without a terminal.")
    ] = False,
    groups_max: Annotated[
        int | None,
        typer.Option("--groups", min=0, help="Groups to show; by default as many as fit."),
    ] = None,
) -> None:
    """Show live what each node does: ops, commit latency, round trips, leaders, what lags.

    Give all nodes with --endpoints. In a terminal, h shows the keys, and q ends it. With --once, or
    into a pipe: exit status 3 if a node does not answer, or a group is not well.
    """
    addresses = addresses_of(endpoints)
    console = Console(highlight=False)
    live = console.is_terminal and not once
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH, highlight=False)
    with ThreadPoolExecutor(min(len(addresses), NODES_ASKED_MAX) or 1) as pool:

        def seen() -> Look:
            return _look(pool, addresses, interval_s)

        if live:
            _Screen(console, addresses, groups_max, interval_s, seen).run()
            return
        before = seen()
        time.sleep(interval_s)
        now = seen()
        console.print(view(before, now, addresses, groups_max))
        if now.silent or any(ills_of(now).values()):
            raise typer.Exit(ExitStatus.UNAVAILABLE)


def _look(pool: ThreadPoolExecutor, addresses: Sequence[str], interval_s: float) -> Look:
    statuses, silent = {}, {}
    asked = [(address, pool.submit(ask, address, max(1.0, interval_s))) for address in addresses]
    for address, answer in asked:
        try:
            statuses[address] = answer.result()
        except GlobalTableError as error:
            silent[address] = str(error)
    return Look(statuses, silent)


class _Screen:
    """The terminal while `run` lasts. Nodes are asked beside it, so that keys never wait for one
    that does not answer."""

    def __init__(
        self,
        console: Console,
        addresses: Sequence[str],
        groups_max: int | None,
        interval_s: float,
        look: Callable[[], Look],
    ) -> None:
        self._console = console
        self._addresses = addresses
        self._groups_max = groups_max
        self._interval_s = interval_s
        self._look = look
        self._state = State()
        self._before: Look | None = None
        self._now = Look({}, {})
        self._answer: Future[Look] | None = None
        self._look_at = 0.0

    def run(self) -> None:
        with (
            ThreadPoolExecutor(1) as asking,
            keyboard() as keys,
            Live(Text(""), console=self._console, screen=True, auto_refresh=False) as shown,
        ):
            while not self._state.over:
                self._ask(asking, keys)
                shown.update(self._picture(), refresh=True)
                for key in keys_in(keys.wait(self._idle_s)):
                    self._press(key)
                self._take()

    # --- looks -----------------------------------------------------------------------------------

    def _ask(self, asking: ThreadPoolExecutor, keys: Keyboard) -> None:
        """If it is time to, and nodes are not being asked."""
        if self._answer is None and not self._state.paused and time.monotonic() >= self._look_at:
            self._answer = asking.submit(self._look)
            self._answer.add_done_callback(lambda _: keys.wake())

    @property
    def _idle_s(self) -> float:
        """How long there is nothing to do, if no key is pressed."""
        if self._answer is not None or self._state.paused:
            return _FOR_EVER_S
        return self._look_at - time.monotonic()

    def _take(self) -> None:
        if self._answer is None or not self._answer.done():
            return
        found, self._answer = self._answer.result(), None
        self._look_at = time.monotonic() + self._interval_s
        if not self._state.paused:
            self._before, self._now = self._now if self._before is not None else found, found

    @property
    def _paces(self) -> dict[str, NodePace | None]:
        return paces_of(self._before, self._now) if self._before is not None else {}

    # --- keys and pictures -----------------------------------------------------------------------

    def _press(self, key: str) -> None:
        sheet, fitting = self._rows()
        self._state = pressed(
            self._state, key, columns=len(sheet.columns), rows=len(sheet.rows), fitting=fitting
        )

    def _rows(self) -> tuple[Sheet, int]:
        """The rows that keys order, filter and scroll, and how many of them fit."""
        state, now = self._state, self._now
        beside = _LINES_BESIDE_ROWS + len(now.silent)
        match state.shown:
            case Shown.NODES:
                sheet = nodes(now, self._addresses, self._paces)
            case Shown.REGIONS:
                sheet = regions(now, self._paces)
            case Shown.GROUPS | Shown.ALL:
                sheet = groups(now)
        if state.shown is Shown.ALL:
            beside += len(now.statuses) + 2
        column = state.order.get(state.shown)
        if column is not None:
            sheet = sheet.ordered(column, falling=state.falling.get(state.shown, False))
        if state.filter:
            sheet = sheet.containing(state.filter)
        fitting = max(1, self._console.height - beside)
        if self._groups_max is not None and state.shown in (Shown.ALL, Shown.GROUPS):
            fitting = min(fitting, self._groups_max)
        return sheet, fitting

    def _picture(self) -> RenderableType:
        state, now = self._state, self._now
        if state.helping:
            return _help()
        if self._before is None:
            return Text("asking ...")
        sheet, fitting = self._rows()
        # There may be fewer rows, or more room, than when it was scrolled to.
        first = max(0, min(state.first, len(sheet.rows) - fitting))
        parts: list[RenderableType] = [_head(now, self._paces), Text()]
        if state.shown is Shown.ALL:
            parts += [nodes(now, self._addresses, self._paces).table(), *_silent(now), Text()]
        else:
            parts += _silent(now)
        parts += [sheet.table(first, fitting, state.order.get(state.shown))]
        parts += [self._last_line(len(sheet.rows), first, fitting)]
        return Group(*parts)

    def _last_line(self, rows: int, first: int, fitting: int) -> Text:
        state = self._state
        if state.typing:
            return Text(f"/{state.filter}_", style="bold")
        line = Text()
        line.append("q ends, h helps", style="dim")
        if rows > fitting:
            line.append(f"   {first + 1} to {first + fitting} of {rows}", style="dim")
        if state.filter:
            line.append(f"   only with {state.filter!r}", style="bold")
        if state.paused:
            line.append("   PAUSED", style="bold red")
        return line


def _help() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    for key, meaning in HELP:
        table.add_row(Text(key, style="bold"), meaning)
    return table


# --- all at once ----------------------------------------------------------------------------------


def view(
    before: Look, now: Look, addresses: Sequence[str], groups_max: int | None
) -> RenderableType:
    """All there is, or so many groups of it."""
    paces = paces_of(before, now)
    sheet = groups(now)
    return Group(
        _head(now, paces),
        Text(),
        nodes(now, addresses, paces).table(),
        *_silent(now),
        Text(),
        sheet.table(0, groups_max),
        *_rest(now, sheet, groups_max),
    )


def _rest(now: Look, sheet: Sheet, groups_max: int | None) -> list[Text]:
    hidden = sheet.rows[groups_max:] if groups_max is not None else []
    if not hidden:
        return []
    ills = ills_of(now)
    ill = sum(bool(ills[int(row[0].plain)]) for row in hidden)
    return [Text(f"{len(hidden)} more, of which {ill} are not well")]


def _silent(now: Look) -> list[RenderableType]:
    return [Text(f"{address}: {reason}", style="red") for address, reason in now.silent.items()]


def _head(now: Look, paces: Mapping[str, NodePace | None]) -> Text:
    ills = ills_of(now)
    ill = sum(map(bool, ills.values()))
    names = {one.cluster for one in now.statuses.values()} or {"nobody answers"}
    known = [one for one in paces.values() if one is not None]
    head = Text(f"{', '.join(sorted(names))}   {time.strftime('%H:%M:%S')}   ")
    count = len(now.statuses) + len(now.silent)
    style = "red" if now.silent else "green"
    head.append(f"{len(now.statuses)} of {count} nodes answer", style=style)
    head.append("   ")
    style = "red" if ill else "green"
    head.append(f"{len(ills) - ill} of {len(ills)} groups are well", style=style)
    head.append(f"   {sum(one.ops for one in known):,.0f} writes/s")
    head.append(f"   {sum(one.keys_read for one in known):,.0f} keys read/s")
    return head
