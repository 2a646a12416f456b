"""The emulator's program, with pairs of sockets in place of devices: packets go in, and come out.

Delays are checked from below, which no busy machine can break.
"""

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from globaltable.bench import emulator
from globaltable.bench.emulator import Carried, Emulator, EmulatorError, Place, compiler
from globaltable.testing.ways import OPEN, Way

needs_compiler = pytest.mark.skipif(not compiler(), reason="there is no C compiler")
A, B, C = range(3)
NAMES: Final = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
DEADLINE_S: Final = 20.0
PACKETS_MAX: Final = 65_536


class Wires:
    """Three places; packets are numbered."""

    def __init__(self) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in NAMES]
        self.ends = [ours for ours, _ in pairs]
        for end in self.ends:
            end.settimeout(DEADLINE_S)
        places = [
            Place(theirs.fileno(), name) for (_, theirs), name in zip(pairs, NAMES, strict=True)
        ]
        self.emulator = Emulator(places, seed=7)
        for _, theirs in pairs:
            theirs.close()

    def send(self, source: int, target: int, number: int, size: int = 100) -> None:
        header = b"\x45" + bytes(15) + socket.inet_aton(NAMES[target])
        self.ends[source].send(header + number.to_bytes(8, "big") + bytes(size - 28))

    def receive(self, target: int) -> int:
        return int.from_bytes(self.ends[target].recv(2_000)[20:28], "big")

    def received(self, target: int) -> list[int]:
        """All that has arrived by now."""
        numbers = []
        self.ends[target].setblocking(False)
        try:
            while True:
                numbers.append(self.receive(target))
        except BlockingIOError:
            return numbers
        finally:
            self.ends[target].settimeout(DEADLINE_S)

    def carried(self, source: int, target: int) -> Carried:
        return self.emulator.counts().by_way[source, target]

    def wait(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def close(self) -> None:
        self.emulator.close()
        for end in self.ends:
            end.close()


@pytest.fixture
def wires() -> Iterator[Wires]:
    one = Wires()
    try:
        yield one
    finally:
        one.close()


@needs_compiler
def test_a_packet_reaches_whom_it_is_addressed_to_and_nobody_else(wires: Wires) -> None:
    wires.send(A, C, 1)
    wires.send(B, C, 2)
    assert sorted((wires.receive(C), wires.receive(C))) == [1, 2]
    wires.send(C, A, 3)
    assert wires.receive(A) == 3
    assert [wires.received(place) for place in (A, B, C)] == [[], [], []]
    assert wires.carried(A, C) == Carried(1, 100, 0, 0, 0.0, 0.0)


@needs_compiler
def test_what_is_no_ipv4_or_for_nobody_or_for_its_sender_is_dropped(wires: Wires) -> None:
    wires.ends[A].send(b"\x60" + bytes(99))
    wires.ends[A].send(b"\x45" + bytes(10))
    wires.ends[A].send(b"\x45" + bytes(15) + socket.inet_aton("10.9.9.9") + bytes(80))
    wires.send(A, A, 1)
    wires.send(A, B, 2)
    assert wires.receive(B) == 2
    counts = wires.emulator.counts().by_way
    assert {way for way, carried in counts.items() if carried.packets or carried.lost} == {(A, B)}


@needs_compiler
def test_each_direction_has_its_own_delay(wires: Wires) -> None:
    wires.emulator.set(A, B, Way(delay_s=0.05))
    began = time.monotonic()
    for number in range(100):
        wires.send(A, B, number)
    wires.send(B, A, 1_000)
    assert wires.receive(A) == 1_000
    assert wires.carried(B, A).late_max_s == 0.0, "the way back was delayed too"
    wires.wait(lambda: wires.carried(A, B).packets == 100)
    assert time.monotonic() - began >= 0.05
    assert len(wires.received(B)) == 100
    carried = wires.carried(A, B)
    assert 0 < carried.late_mean_s <= carried.late_max_s


@needs_compiler
def test_packets_of_one_delay_do_not_overtake_each_other(wires: Wires) -> None:
    wires.emulator.set(A, B, Way(delay_s=0.01))
    for number in range(150):
        wires.send(A, B, number)
    assert [wires.receive(B) for _ in range(150)] == list(range(150))


@pytest.mark.slow
@needs_compiler
def test_room_for_packets_is_given_back(wires: Wires) -> None:
    """More are held back in all than there is room for at once."""
    wires.emulator.set(A, B, Way(delay_s=0.0001, duplicates=1.0))
    rounds, size = 350, 100
    for _ in range(rounds):
        for number in range(size):
            wires.send(A, B, number, size=28)
        assert [wires.receive(B) for _ in range(2 * size)][::2] == list(range(size))
    assert 2 * rounds * size > PACKETS_MAX
    assert wires.carried(A, B)[:4:2] == (2 * rounds * size, 0)


@needs_compiler
def test_with_jitter_they_do(wires: Wires) -> None:
    wires.emulator.set(A, B, Way(delay_s=0.001, jitter_s=0.05))
    for number in range(150):
        wires.send(A, B, number)
    got = [wires.receive(B) for _ in range(150)]
    assert sorted(got) == list(range(150))
    assert got != sorted(got)


@needs_compiler
def test_the_share_that_is_asked_for_is_lost_and_the_rest_arrives(wires: Wires) -> None:
    wires.emulator.set(A, B, Way(loss=0.3))
    sent = 2_000
    got = 0
    for start in range(0, sent, 100):
        for number in range(start, start + 100):
            wires.send(A, B, number)
        wires.wait(lambda: sum(wires.carried(A, B)[0:3:2]) == start + 100)  # noqa: B023
        got += len(wires.received(B))
    carried = wires.carried(A, B)
    assert carried.packets == got
    assert carried.packets + carried.lost == sent
    # Seven standard deviations wide, and the seed is fixed.
    assert 0.23 * sent < carried.lost < 0.37 * sent


@needs_compiler
def test_doubles_arrive_twice(wires: Wires) -> None:
    wires.emulator.set(A, B, Way(duplicates=1.0, delay_s=0.001))
    for number in range(50):
        wires.send(A, B, number)
    got = [wires.receive(B) for _ in range(100)]
    assert got == [number for number in range(50) for _ in range(2)]
    assert wires.carried(A, B).duplicated == 50


@needs_compiler
def test_a_cut_loses_what_is_sent_and_what_is_under_way_in_one_direction_only(
    wires: Wires,
) -> None:
    wires.emulator.set(A, B, Way(delay_s=1.0))
    for number in range(10):
        wires.send(A, B, number)
    # The other direction is a barrier: what was sent before it has been read.
    wires.send(A, C, 99)
    assert wires.receive(C) == 99
    wires.emulator.set(A, B, Way(cut=True))
    wires.send(A, B, 10)
    wires.wait(lambda: wires.carried(A, B).lost == 11)
    wires.send(B, A, 11)
    assert wires.receive(A) == 11
    wires.emulator.set(A, B, OPEN)
    wires.send(A, B, 12)
    assert wires.receive(B) == 12
    assert wires.received(B) == []


@needs_compiler
def test_a_slow_link_takes_the_time_its_bytes_take(wires: Wires) -> None:
    wires.emulator.set(A, B, Way(bytes_per_s=100_000))
    began = time.monotonic()
    for number in range(20):
        wires.send(A, B, number, size=1_000)
    assert [wires.receive(B) for _ in range(20)] == list(range(20))
    assert time.monotonic() - began >= 0.2


@needs_compiler
def test_a_command_that_is_not_understood_is_refused_and_the_next_is_obeyed(wires: Wires) -> None:
    with pytest.raises(EmulatorError, match="way 0 7"):
        wires.emulator.set(A, 7, OPEN)
    wires.emulator.set(A, B, OPEN)


@needs_compiler
def test_it_ends_when_it_is_closed_and_who_asks_later_is_told(wires: Wires) -> None:
    pid = wires.emulator.pid
    os.kill(pid, 9)
    with pytest.raises(EmulatorError, match="ended with status -9"):
        wires.emulator.counts()


@needs_compiler
def test_what_is_no_device_is_refused_with_a_reason(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(EmulatorError, match="epoll_ctl"):
        Emulator([Place(file.fileno(), "10.0.0.1")])
    with pytest.raises(EmulatorError, match="somewhere"):
        Emulator([Place(1, "somewhere")])


@needs_compiler
def test_the_program_is_compiled_once_for_a_source(tmp_path: Path) -> None:
    path = emulator.program(tmp_path)
    assert os.access(path, os.X_OK)
    made_ns = path.stat().st_mtime_ns
    assert emulator.program(tmp_path) == path
    assert path.stat().st_mtime_ns == made_ns
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_compiler_the_error_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(EmulatorError, match="apt-get install gcc"):
        emulator.program(tmp_path)


@needs_compiler
def test_a_cache_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmulatorError, match=r"kept in .*/file/cache.*XDG_CACHE_HOME"):
        emulator.program(tmp_path / "file" / "cache")


@needs_compiler
def test_what_does_not_compile_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "broken.c"
    source.write_text("int main(void) { return nothing; }")
    monkeypatch.setattr(emulator, "_SOURCE", source)
    with pytest.raises(EmulatorError, match=r"cannot compile broken\.c: .*nothing"):
        emulator.program(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
