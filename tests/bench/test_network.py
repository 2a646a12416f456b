"""Regions joined with round trips: as namespaces where they can be had, and as injected latency."""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from globaltable.bench import namespaces
from globaltable.bench.namespaces import HERE, Namespaces
from globaltable.bench.network import NetworkError, RoundTrips, open_network, ping_ms
from globaltable.testing.ways import Way

WHY_NOT: Final = namespaces.why_not()
pytestmark = [pytest.mark.cluster, pytest.mark.long]
needs_namespaces = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "possible")
NEAR_MS: Final = 20.0
FAR_MS: Final = 120.0
DEADLINE_S: Final = 20.0


@pytest.fixture(scope="module")
def network() -> Iterator[Namespaces]:
    with Namespaces("abc", RoundTrips(NEAR_MS, {frozenset("ac"): FAR_MS})) as one:
        yield one


@contextlib.contextmanager
def _echo(network: Namespaces, region: str) -> Iterator[tuple[str, int]]:
    """A server in a region that answers one connection; its address."""
    command = (sys.executable, "-m", "globaltable.bench.echo", "serve", network.hosts[region], "0")
    with subprocess.Popen(
        [*network.wrappers[region], *command], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield network.hosts[region], int(server.stdout.readline())
        finally:
            server.kill()


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _named_after(pid: int) -> list[str]:
    """What carries a process's id: namespaces, and devices of this one."""
    found = [path.name for path in Path("/sys/class/net").glob(f"gt{pid}n*")]
    if Path("/run/netns").is_dir():
        found += [path.name for path in Path("/run/netns").glob(f"gt{pid}-*")]
    return found


@needs_namespaces
def test_a_ping_takes_the_round_trip_of_its_pair(network: Namespaces) -> None:
    near = ping_ms(network, "a", "b", 12)
    far = ping_ms(network, "c", "a", 6)
    assert len(near) == 12
    assert min(near) >= NEAR_MS
    assert min(far) >= FAR_MS
    assert statistics.median(near) < FAR_MS
    assert network.round_trip_ms("c", "a") == FAR_MS


@needs_namespaces
def test_every_region_is_reached_from_here_without_delay(network: Namespaces) -> None:
    took_s = []
    for region in "abc":
        with (
            _echo(network, region) as address,
            socket.create_connection(address, DEADLINE_S) as one,
        ):
            one.settimeout(DEADLINE_S)
            for _ in range(5):
                began = time.monotonic()
                one.sendall(b"x")
                assert one.recv(1) == b"x"
                took_s.append(time.monotonic() - began)
    assert min(took_s) * 1_000 < NEAR_MS


@needs_namespaces
def test_a_cut_link_carries_nothing_until_it_is_healed_and_others_go_on(
    network: Namespaces,
) -> None:
    network.cut("b", "a")
    try:
        assert network.way("a", "b").cut
        assert network.way("b", "a").cut
        before = network.carried()
        with _echo(network, "b") as (host, port):
            asking = [*network.wrappers["a"], sys.executable, "-m", "globaltable.bench.echo"]
            with subprocess.Popen(
                [*asking, "ping", host, str(port), "3"], stdout=subprocess.PIPE
            ) as process:
                _wait(lambda: network.carried()["a", "b"].lost > before["a", "b"].lost)
                assert len(ping_ms(network, "b", "c", 3)) == 3
                assert network.carried()["a", "b"].packets == before["a", "b"].packets
                network.heal("a", "b")
                # TCP has not given up.
                said, _ = process.communicate(timeout=DEADLINE_S)
                assert process.returncode == 0
                assert said.count(b".") == 3
    finally:
        network.heal("a", "b")
    assert network.way("a", "b") == Way(delay_s=NEAR_MS / 2_000)


def _lost(network: Namespaces) -> int:
    return sum(network.carried()[a, b].lost for a, b in ("ab", "ba"))


@needs_namespaces
def test_loss_is_mended_by_tcp(network: Namespaces) -> None:
    usual = network.way("a", "b")
    for source, target in ("ab", "ba"):
        network.set_way(source, target, Way(loss=0.2))
    try:
        before = _lost(network)
        for _ in range(20):
            assert len(ping_ms(network, "a", "b", 3)) == 3
            if _lost(network) > before:
                break
        # Of a few hundred packets; that none is lost has a chance below 1e-20.
        assert _lost(network) > before
    finally:
        for source, target in ("ab", "ba"):
            network.set_way(source, target, usual)


@needs_namespaces
def test_nothing_is_left_behind() -> None:
    with Namespaces("xy", RoundTrips(1.0)) as one:
        pid = one.emulator_pid
        assert {name.rsplit("-")[-1] for name in _named_after(os.getpid())} >= {"x", "y"}
    assert not [name for name in _named_after(os.getpid()) if name.endswith(("-x", "-y"))]
    assert not Path(f"/proc/{pid}").exists()


CHILD: Final = """
import subprocess, sys, time
from globaltable.bench.namespaces import Namespaces
from globaltable.bench.round_trips import RoundTrips
network = Namespaces("xy", RoundTrips(1.0))
inside = subprocess.Popen([*network.wrappers["x"], "sleep", "600"], start_new_session=True)
print(inside.pid, network.emulator_pid, flush=True)
time.sleep(600)
"""


@needs_namespaces
@pytest.mark.parametrize("emulator_too", [False, True])
def test_nothing_is_left_behind_by_one_that_was_killed(emulator_too: bool) -> None:
    """By its emulator; or if that was killed as well, by whoever comes next."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            inside, emulator = (int(word) for word in child.stdout.readline().split())
            assert len([name for name in _named_after(child.pid) if "-" in name]) == 2
            if emulator_too:
                os.kill(emulator, signal.SIGKILL)
        finally:
            child.kill()
    if emulator_too:
        namespaces.remove_stale()
    _wait(lambda: not _named_after(child.pid))
    _wait(lambda: _gone(inside) and _gone(emulator))


def _gone(pid: int) -> bool:
    """Dead; who reaps it is not known here."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


@pytest.mark.parametrize(
    "regions", [(), ("a", "a"), ("a", HERE), ("a b",), tuple("abcdefghijklmnop")]
)
def test_regions_that_cannot_be_are_refused(regions: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="region"):
        Namespaces(regions, RoundTrips(1.0))


def test_an_injected_network_has_round_trips_and_pings_that_are_held_back_but_no_cuts() -> None:
    trips = RoundTrips(5.0, {frozenset("ab"): 30.0})
    with open_network("abc", trips, "injected") as one:
        assert (one.kind, one.regions) == ("injected", tuple("abc"))
        assert (one.hosts, one.wrappers) == ({}, {})
        pings = ping_ms(one, "b", "a", 4)
        assert len(pings) == 4
        assert min(pings) >= 30.0
        with pytest.raises(NotImplementedError, match="namespaces"):
            one.cut("a", "b")


def test_what_is_not_to_be_had_is_refused_or_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "why_not", lambda: "no TUN device: forbidden")
    with pytest.raises(NetworkError, match="forbidden"):
        open_network("abc", RoundTrips(1.0), "namespaces")
    with open_network("abc", RoundTrips(1.0), "auto") as one:
        assert one.kind == "injected"


@needs_namespaces
def test_auto_is_namespaces_where_they_can_be_had() -> None:
    with open_network("ab", RoundTrips(1.0)) as one:
        assert one.kind == "namespaces"
