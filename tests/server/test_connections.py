"""Promise: the connections of whoever is believed no more are ended, and nobody else's."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from globaltable.server import connections
from globaltable.server.connections import Connections, end_connections, place_of
from globaltable.server.identities import Certificate, Identity, Kind


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("ipv4:127.0.0.1:53844", ("127.0.0.1", 53844)),
        ("ipv6:%5B::1%5D:7101", ("::1", 7101)),
        ("ipv6:[fe80::1%25eth0]:7101", ("fe80::1", 7101)),
        ("ipv6:[::ffff:10.0.0.9]:1", ("10.0.0.9", 1)),
        ("unix:/run/x", None),
        ("unix:", None),
        ("ipv4:10.0.0.9", None),
        ("", None),
    ],
)
def test_a_place_is_read_from_an_address_as_grpc_has_it(
    address: str, place: tuple[str, int] | None
) -> None:
    assert place_of(address) == place


def _shown(name: str, serial: int = 1) -> Certificate:
    return Certificate(Identity("im", Kind.CLIENT, name), serial, 1e12)


def test_those_are_taken_that_are_believed_no_more_and_once() -> None:
    known = Connections()
    for address, name in (("x:1", "web"), ("x:2", "app"), ("x:3", "web"), ("x:1", "web")):
        known.note(address, _shown(name))
    known.note("x:2", _shown("late"))  # the address of one that has gone
    assert known.take(lambda shown: "") == {}

    def why(shown: Certificate) -> str:
        return "revoked" if shown.identity.name in ("web", "app") else ""

    assert known.take(why) == {_shown("web"): {"x:1", "x:3"}}
    assert known.take(why) == {}
    assert known.take(lambda shown: "all") == {_shown("late"): {"x:2"}}


def test_so_many_are_remembered_and_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 3)
    known = Connections()
    for number in range(10):
        known.note(f"x:{number}", _shown("web", number))
    taken = known.take(lambda shown: "all")
    assert {address for addresses in taken.values() for address in addresses} == {
        "x:7", "x:8", "x:9"
    }  # fmt: skip


@contextlib.contextmanager
def _connected(listening: socket.socket) -> Iterator[tuple[socket.socket, str]]:
    """The accepted end, and the address of the other as gRPC has it."""
    with socket.create_connection(listening.getsockname()[:2]) as dialled:
        accepted, (host, port, *_) = listening.accept()
        with accepted:
            kind = "ipv6:%5B{}%5D:{}" if ":" in host else "ipv4:{}:{}"
            yield accepted, kind.format(host, port)
            del dialled


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_exactly_those_are_ended(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        own, other = (stack.enter_context(socket.socket(family)) for _ in range(2))
        for one in (own, other):
            one.bind((host, 0))
            one.listen()
        doomed, address = stack.enter_context(_connected(own))
        spared, _ = stack.enter_context(_connected(own))
        elsewhere, of_another_port = stack.enter_context(_connected(other))
        port = own.getsockname()[1]
        assert end_connections({port}, {address, of_another_port, "unix:x"}) == 1
        assert doomed.recv(1) == b"", "it is over"
        for one in (spared, elsewhere):
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.recv(1)
        assert end_connections({port}, set()) == 0
