"""The picture in the README: `python -m tests.console docs/console.png --minutes 5`.

Three region nodes on this machine under a light load, with round trips that the nodes inject, and
the page of one of them in Chromium. Latencies are what they are on a machine: on one that is busy
with other work they are above the line.
"""

import argparse
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image

from globaltable.client import SyncGlobalTable
from globaltable.errors import GlobalTableError
from globaltable.server.config import InjectedLatency
from globaltable.testing import LocalCluster
from tests.console.browser import Page, browser, chromium

TABLE: Final = "im.session"
REGIONS: Final = ("beijing", "shanghai", "shenzhen")
LATENCY: Final = InjectedLatency(
    10.0, {frozenset(("beijing", "shenzhen")): 12.0, frozenset(("beijing", "shanghai")): 8.0}
)
_PAUSE_S: Final = 0.04
_COLOURS: Final = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    asked = parser.parse_args()
    assert chromium() is not None, "no Chromium: apt-get install chromium"
    with (
        LocalCluster(REGIONS, tables=(TABLE,), injected_latency=LATENCY, console=True) as cluster,
        _load(cluster),
        browser() as chrome,
    ):
        page = chrome.page()
        page.look_like(width=1440, height=900)
        page.open(cluster.consoles["beijing"])
        page.until("document.querySelectorAll('#binding-table option').length")
        _look_up(page, cluster)
        _pass(page, asked.minutes * 60)
        page.ask("document.querySelector('#changes-form button').click()")
        page.until("document.querySelectorAll('#changes-rows tr').length > 20")
        page.picture(asked.file, whole=True)
    _shrink(asked.file)
    print(f"{asked.file}: {asked.file.stat().st_size:,} bytes")


def _look_up(page: Page, cluster: LocalCluster) -> None:
    with SyncGlobalTable.connect(cluster.addresses.values(), table=TABLE, timeout=20.0) as sessions:
        sessions.bind("cid:1001", "A")
        sessions.move("cid:1001", to="B", version=1)
        sessions.move("cid:1001", to="C", version=2)
    page.ask("document.getElementById('binding-key').value = 'cid:1001'")
    page.ask("document.querySelector('#binding-form button').click()")


def _pass(page: Page, seconds: float) -> None:
    """What the page has to say meanwhile is heard."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        page.ask("0")
        time.sleep(1.0)


@contextmanager
def _load(cluster: LocalCluster) -> Iterator[None]:
    """Some binds and moves a second in each region."""
    over = threading.Event()
    threads = [
        threading.Thread(target=_bind, args=(cluster.addresses[region], region, over))
        for region in REGIONS
    ]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join()


def _bind(address: str, region: str, over: threading.Event) -> None:
    number = 0
    with SyncGlobalTable.connect([address], table=TABLE, timeout=20.0, discover=False) as sessions:
        while not over.wait(_PAUSE_S):
            number += 1
            key = f"cid:{region[:4]}-{number:05}"
            try:
                sessions.bind(key, "ABC"[number % 3])
                if number % 7 == 0:
                    sessions.move(key, to="ABC"[(number + 1) % 3], version=1)
            except GlobalTableError as error:
                print(f"{key}: {error}")


def _shrink(file: Path) -> None:
    """A page is of few colours."""
    with Image.open(io.BytesIO(file.read_bytes())) as picture:
        few = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    few.save(file, optimize=True)


if __name__ == "__main__":
    main()
