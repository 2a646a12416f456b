"""Promise: `globaltable top` obeys its keys, shows what fits, and leaves the terminal as it was."""

import signal
import subprocess
import sys

import pytest

from globaltable.testing import LocalCluster
from tests.cli.terminal import Terminal

NOBODY = ["top", "--endpoints", "127.0.0.1:1", "--interval", "0.2"]
"""A port on which nothing listens."""


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def _groups(text: str) -> list[int]:
    """Numbers of the groups that are shown, from above; it may be read amid a picture."""
    lines = _lines(text)
    at = next((n for n, line in enumerate(lines) if line.startswith("GROUP")), len(lines))
    return [int(line.split()[0]) for line in lines[at + 1 :] if line.split()[0].isdecimal()]


def test_it_ends_at_q_and_leaves_the_terminal_as_it_was() -> None:
    with Terminal(NOBODY) as terminal:
        terminal.wait(lambda text: "0 of 1 nodes answer" in text)
        terminal.press("h")
        terminal.wait(lambda text: "this, and back" in text)
        terminal.press("x")
        terminal.wait(lambda text: "q ends, h helps" in text)
        terminal.press("q")
        assert terminal.ended() == 0
        assert terminal.restored


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, None)],
)
def test_whatever_ends_it_the_terminal_is_as_it_was(
    number: signal.Signals, status: int | None
) -> None:
    with Terminal(NOBODY) as terminal:
        terminal.wait(lambda text: "q ends" in text)
        terminal.process.send_signal(number)
        ended = terminal.ended()
        assert ended == status if status is not None else ended != 0
        assert terminal.restored


def test_without_a_terminal_it_prints_one_plain_picture() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "globaltable", *NOBODY],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert printed.returncode == 3
    assert printed.stdout.startswith("nobody answers")
    assert "\x1b" not in printed.stdout


@pytest.mark.cluster
@pytest.mark.long
def test_keys_choose_what_is_shown_of_a_cluster_and_in_which_order() -> None:
    with LocalCluster(groups=12) as cluster:
        endpoints = ",".join(cluster.addresses.values())
        with Terminal(["top", "--endpoints", endpoints, "--interval", "0.3"]) as terminal:
            text = terminal.wait(lambda text: _groups(text) == list(range(12)))
            assert "3 of 3 nodes answer" in text
            assert [line.split()[0] for line in _lines(text)[2:5]] == ["a", "b", "c"]
            terminal.press("\x1b[C" + "i")
            terminal.wait(lambda text: _groups(text) == list(reversed(range(12))))
            terminal.press("g/b\r")
            text = terminal.wait(
                lambda text: "only with 'b'" in text and _groups(text) == [1, 4, 7, 10]
            )
            assert "NODE" not in text
            assert all(line.split()[1] == "b" for line in _lines(text)[2:-1])
            terminal.press("\x1b")
            terminal.wait(lambda text: _groups(text) == list(range(12)))
            terminal.resize(100, 9)
            terminal.wait(lambda text: _groups(text) == [0, 1, 2, 3, 4] and "of 12" in text)
            terminal.press("\x1b[B" * 2)
            terminal.wait(lambda text: _groups(text) == [2, 3, 4, 5, 6])
            terminal.press("\x1b[F")
            terminal.wait(lambda text: _groups(text) == [7, 8, 9, 10, 11])
            terminal.press("n")
            terminal.wait(lambda text: "ROUND TRIPS" in text and "GROUP" not in text)
            terminal.press("r")
            terminal.wait(lambda text: _lines(text)[1].startswith("REGION"))
            terminal.press(" ")
            text = terminal.wait(lambda text: "PAUSED" in text)
            clock = _lines(text)[0]
            terminal.read(1.0)
            assert _lines(terminal.text)[0] == clock
            terminal.press(" ")
            terminal.wait(lambda text: "PAUSED" not in text and _lines(text)[0] != clock)
            terminal.press("q")
            assert terminal.ended() == 0
            assert terminal.restored
