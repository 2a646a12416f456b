"""The regions of a bench, joined with injected round trips, whichever way they can be had here.

* `namespaces`: each region is a network namespace, and packets between them are held back by the
  emulator (`namespaces.py`): the systems under test are as they are, and clients sit in a region.
* `injected`: everything is on 127.0.0.1, and the nodes themselves hold back what they send to each
  other. Only GlobalTable does that; its clients sit beside their node.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal, Protocol

from globaltable.bench import namespaces
from globaltable.bench.injected import Injected
from globaltable.bench.namespaces import Namespaces
from globaltable.bench.round_trips import RoundTrips as RoundTrips
from globaltable.errors import GlobalTableError

Kind = Literal["namespaces", "injected"]
PING_START_TIMEOUT_S: Final = 20.0


class NetworkError(GlobalTableError):
    """The network that was asked for cannot be had here."""


class Network(Protocol):
    """Regions, and what lies between them."""

    @property
    def regions(self) -> tuple[str, ...]: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def hosts(self) -> Mapping[str, str]:
        """The address of each region, also from here; empty if all is on 127.0.0.1."""
        ...

    @property
    def wrappers(self) -> Mapping[str, Sequence[str]]:
        """Words before a command that run it in a region; empty if there are none to say."""
        ...

    def round_trip_ms(self, a: str, b: str) -> float:
        """What is injected between two regions."""
        ...

    def cut(self, a: str, b: str) -> None:
        """Nothing passes between the two, either way, until `heal`. Namespaces only."""
        ...

    def heal(self, a: str, b: str) -> None: ...


def open_network(
    regions: Sequence[str], round_trips: RoundTrips, kind: Kind | Literal["auto"] = "auto"
) -> AbstractContextManager[Network]:
    """`auto` is namespaces where they can be had. Raises NetworkError if what is asked cannot."""
    why_not = namespaces.why_not() if kind != "injected" else ""
    if kind == "namespaces" and why_not:
        raise NetworkError(f"{why_not}; the kind 'injected' needs nothing, but carries no peers")
    if kind == "injected" or why_not:
        return nullcontext(Injected(regions, round_trips))
    return Namespaces(regions, round_trips)


def ping_ms(network: Network, a: str, b: str, count: int) -> list[float]:
    """TCP round trips of 8 bytes from a process in `a` to one in `b`: the limit for all others.

    Where nothing lies between them the echo holds its answer back by the round trip.
    """
    hold_ms = 0.0 if network.kind == "namespaces" else network.round_trip_ms(a, b)
    host = network.hosts.get(b, "127.0.0.1")
    program = (sys.executable, "-m", "globaltable.bench.echo")
    serve = [*network.wrappers.get(b, ()), *program, "serve", host, repr(hold_ms)]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            if not port:
                raise NetworkError(f"the echo in {b} did not start")
            ping = [*network.wrappers.get(a, ()), *program, "ping", host, port, str(count)]
            timeout_s = PING_START_TIMEOUT_S + 10 * (count + 5) * network.round_trip_ms(a, b) / 1e3
            try:
                run = subprocess.run(ping, stdout=subprocess.PIPE, check=True, timeout=timeout_s)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                raise NetworkError(f"no ping from {a} to {b}: {error}") from None
            pings: list[float] = json.loads(run.stdout)
            return pings
        finally:
            server.kill()
