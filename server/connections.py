"""Connections to the client port, by the certificate each was opened with, and how they are ended.

gRPC's server gives no way to end one connection: it has calls, and an address that each came from.
So addresses are remembered as calls come, and a connection is ended where the system has it: by a
shutdown of its socket, which gRPC then finds closed, as if the other end had gone. Streams on it
end with it.

Invariant: at most `CONNECTIONS_MAX` addresses are remembered, those that came last. Connections
from others end by their age alone, but each call on them is still looked at by itself.
"""

import contextlib
import ipaddress
import os
import socket
from collections import OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from globaltable.server.identities import Certificate

CONNECTIONS_MAX: Final = 65_536
_DESCRIPTORS: Final = Path("/proc/self/fd")

Place = tuple[str, int]
"""An IP address and a port, as they are compared."""


class Connections:
    """Of one node; on the event loop's thread."""

    def __init__(self) -> None:
        self._shown: OrderedDict[str, Certificate] = OrderedDict()
        """By address, as gRPC has it."""
        self._addresses: dict[Certificate, set[str]] = {}

    def note(self, address: str, certificate: Certificate) -> None:
        """A call came from there, by who has shown this."""
        known = self._shown.get(address)
        if known == certificate:
            return
        if known is not None:
            self._forget(address)
        elif len(self._shown) >= CONNECTIONS_MAX:
            self._forget(next(iter(self._shown)))
        self._shown[address] = certificate
        self._addresses.setdefault(certificate, set()).add(address)

    def take(self, why: Callable[[Certificate], str]) -> dict[Certificate, set[str]]:
        """The addresses of those that are not believed any more, and remember them no longer."""
        doubted = [certificate for certificate in self._addresses if why(certificate)]
        taken = {certificate: set(self._addresses[certificate]) for certificate in doubted}
        for addresses in taken.values():
            for address in addresses:
                self._forget(address)
        return taken

    def _forget(self, address: str) -> None:
        certificate = self._shown.pop(address)
        addresses = self._addresses[certificate]
        addresses.discard(address)
        if not addresses:
            del self._addresses[certificate]


def place_of(address: str) -> Place | None:
    """Where a call came from, of an address as gRPC has it: "ipv4:1.2.3.4:5" or
    "ipv6:%5B::1%5D:5"; None of any other."""
    kind, _, rest = unquote(address).partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdecimal():
        return None
    return _place(host.removeprefix("[").removesuffix("]"), int(port))


def _place(host: str, port: int) -> Place | None:
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip), port


def end_connections(to_ports: Collection[int], addresses: Collection[str]) -> int:
    """End this process's connections from these addresses to its own ports; how many there were.
    It looks at every descriptor there is: not on the event loop's thread."""
    places = {place_of(address) for address in addresses} - {None}
    ended = 0
    for name in os.listdir(_DESCRIPTORS):
        # A descriptor of its own holds what is looked at: by that number there may be another one
        # in the next moment.
        with contextlib.suppress(OSError), _duplicate(int(name)) as one:
            if one.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            peer: tuple[str, int] = one.getpeername()[:2]
            if one.getsockname()[1] in to_ports and _place(*peer) in places:
                one.shutdown(socket.SHUT_RDWR)
                ended += 1
    return ended


def _duplicate(descriptor: int) -> socket.socket:
    """Raises `OSError` if it is no socket."""
    own = os.dup(descriptor)
    try:
        return socket.socket(fileno=own)
    except OSError:
        os.close(own)
        raise
