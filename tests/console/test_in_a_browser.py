"""The page in a real Chromium, of real nodes: all of it by keyboard, and nothing it complains of.

What these tests promise: that a cluster can be looked at, a binding looked up, changes be seen as
they come, and a node drained and the drain undone, without a mouse; within the content security
policy and with nothing in the browser's console; in light and in dark, wide and narrow; and that
axe-core finds no fault with it.
"""

import json
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final

import pytest

from globaltable.client import SyncGlobalTable
from globaltable.testing import LocalCluster
from tests.console.browser import Browser, Page, browser, chromium

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.long,
    # Axe takes seconds, of a machine that it has to itself.
    pytest.mark.timeout(300),
    pytest.mark.skipif(chromium() is None, reason="no Chromium: apt-get install chromium"),
]

TABLE: Final = "im.session"
REGIONS: Final = ("beijing", "shanghai", "shenzhen")
SIZES: Final = {"wide": (1440, 900), "narrow": (360, 740)}
PICTURES: Final = "GLOBALTABLE_PICTURES"
"""Set to a directory it has the pictures, for who wants to see them."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(REGIONS, tables=(TABLE,), round_trip_ms=10.0, console=True) as running:
        yield running


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture
def page(cluster: LocalCluster, chrome: Browser) -> Iterator[Page]:
    one = chrome.page()
    one.look_like(width=1440, height=900)
    one.open(cluster.consoles["beijing"])
    one.until("document.querySelectorAll('#nodes-rows tr').length === 3")
    yield one
    one.close()
    assert one.complaints == [], "the browser's console is empty, and nothing was refused"


def _connect(cluster: LocalCluster) -> SyncGlobalTable:
    return SyncGlobalTable.connect(cluster.addresses.values(), table=TABLE, timeout=20.0)


def test_regions_links_nodes_and_groups_are_shown(page: Page) -> None:
    page.until("document.querySelectorAll('#links-rows td[data-state=good]').length === 6")
    trips = page.ask(
        "[...document.querySelectorAll('#links-rows td[data-state=good]')]"
        ".map((cell) => parseFloat(cell.textContent))"
    )
    assert all(10.0 <= ms < 5_000 for ms in trips), "the injected 10 ms, and what this machine adds"
    page.until("document.querySelectorAll('#groups-rows .chip.leader').length === 3")
    assert page.ask("document.querySelector('h1').innerText") == "GlobalTable local"
    assert page.ask("document.getElementById('sum-nodes').innerText") == "3 of 3 answer"
    assert page.ask("document.querySelectorAll('figure svg[role=img]').length") == 3


def test_a_binding_is_looked_up_with_its_past(page: Page, cluster: LocalCluster) -> None:
    with _connect(cluster) as sessions:
        sessions.bind("cid:1001", "A")
        sessions.move("cid:1001", to="B", version=1)
    page.tab_to("Key")
    page.type("cid:1001")
    page.tab_to("Be current: ask a majority, one round trip")
    page.press(" ")
    page.tab_to("Key", 120)
    page.press("Enter")
    page.until("document.querySelector('#binding-result .unit')?.textContent === 'B'")
    told = page.ask("document.getElementById('binding-result').innerText")
    assert "B holds cid:1001, version 2" in told
    assert "current: a majority has confirmed it" in told
    assert "That is all that ever happened to this key." in told
    rows = page.ask(
        "[...document.querySelectorAll('#binding-result tbody tr')]"
        ".map((row) => [...row.cells].slice(0, 3).map((cell) => cell.textContent))"
    )
    assert rows == [["2", "moved", "B"], ["1", "bound", "A"]]


def test_changes_flow_in_and_can_be_paused(page: Page, cluster: LocalCluster) -> None:
    page.tab_to("Keys that begin with")
    page.type("room:")
    page.press("Enter")
    page.until("document.getElementById('changes-state').textContent.includes('0 seen')")
    keys = "[...document.querySelectorAll('#changes-rows .word')].map((cell) => cell.textContent)"
    with _connect(cluster) as sessions:
        sessions.bind("room:1", "A")
        sessions.bind("hall:1", "A")
        page.until(f"{keys}.includes('room:1')")
        page.tab_to("Pause")
        page.press("Enter")
        sessions.bind("room:2", "A")
        page.until("document.getElementById('changes-state').textContent.includes('1 waiting')")
        assert page.ask(keys) == ["room:1"]
        page.press("Enter")
        page.until(f"{keys}.includes('room:2')")
        assert page.ask(keys) == ["room:2", "room:1"], "the newest first, and of the prefix alone"


def test_a_node_is_drained_and_leads_again(page: Page, cluster: LocalCluster) -> None:
    leads = "document.querySelectorAll('#nodes-rows tr')[1].cells[2].textContent"
    page.until(f"!{leads}.startsWith('0')")
    page.tab_to("Drain shanghai")
    page.press("Enter")
    page.until("document.getElementById('confirm').open")
    assert page.focused() == "Leave it", "nothing happens by a second Enter"
    page.press("Escape")
    page.until("!document.getElementById('confirm').open")
    assert page.focused() == "Drain shanghai", "the focus is where it was"
    page.press("Enter")
    page.tab_to("Drain", 2)
    page.press("Enter")
    page.until("document.getElementById('notice').textContent.includes('shanghai leads nothing')")
    page.until(f"{leads}.startsWith('0')")
    assert cluster.status("shanghai").groups
    assert not any(g.leader_region == "shanghai" for g in cluster.status("beijing").groups)
    assert page.focused() == "Undo drain of shanghai", "the button has become its own undoing"
    page.press("Enter")
    page.tab_to("Undo drain", 2)
    page.press("Enter")
    page.until("document.getElementById('notice').textContent.includes('leads again')")
    page.until(f"!{leads}.startsWith('0')")


def test_a_leader_is_moved_by_keyboard(page: Page, cluster: LocalCluster) -> None:
    leader = "document.querySelectorAll('#groups-rows tr')[0].querySelector('.leader').textContent"
    before = page.until(leader)
    page.tab_to("Move leader of group 0", 120)
    page.press("Enter")
    page.until("document.getElementById('confirm').open")
    to = page.ask("document.querySelector('#confirm input:checked').value")
    assert to not in before
    page.tab_to("Move leader", 4)
    page.press("Enter")
    page.until(f"document.getElementById('notice').textContent.includes('{to} leads group 0')")
    assert {g.leader_region for g in cluster.status("beijing").groups if g.group == 0} == {to}


def test_a_lost_node_is_seen_and_said(page: Page, cluster: LocalCluster) -> None:
    cluster.kill("shenzhen")
    try:
        page.until("document.querySelectorAll('#nodes-rows tr')[2].innerText.includes('silent')")
        page.until("document.querySelectorAll('#links-rows td[data-state=bad]').length === 2")
        page.until("document.getElementById('said').textContent.startsWith('2 of 3 nodes answer')")
    finally:
        cluster.start("shenzhen")
        cluster.wait_ready()
    page.until("document.getElementById('sum-nodes').innerText === '3 of 3 answer'")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_no_fault_and_nothing_is_cut_off(
    page: Page, size: str, dark: bool, tmp_path: Path
) -> None:
    width, height = SIZES[size]
    page.look_like(width=width, height=height, dark=dark)
    page.until(f"innerWidth === {width}")
    assert page.ask("document.documentElement.scrollWidth") <= width
    for dialog in (False, True):
        if dialog:
            page.ask("document.querySelector('[aria-label=\"Drain beijing\"]').click()")
        assert _faults(page) == []
        directory = Path(os.environ.get(PICTURES, tmp_path))
        shown = "dialog" if dialog else "page"
        picture = directory / f"{shown}-{size}-{'dark' if dark else 'light'}.png"
        page.picture(picture, whole=not dialog)
        assert picture.stat().st_size > 10_000


def _faults(page: Page) -> list[Any]:
    """As axe-core tells them, by the rules of WCAG 2.1 AA and its own best practices."""
    page.ask(resources.files("axe_core_python").joinpath("axe.min.js").read_text() + ";0")
    told = page.ask(
        "axe.run(document, {resultTypes: ['violations']}).then((found) => JSON.stringify("
        "found.violations.map((one) => [one.id, one.help, one.nodes.map((n) => n.html)])))"
    )
    faults: list[Any] = json.loads(told)
    return faults
