"""Who may talk to whom: everybody else is refused, with the reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.errors import ProtocolError
from globaltable.server.handshake import (
    HELLO_BYTES_MAX,
    MAGIC,
    PROTOCOL_VERSION,
    SINCE_UNKNOWN,
    Hello,
    check_hello,
    decode_hello,
    encode_hello,
)
from globaltable.store.identity import DirectoryId
from globaltable.wire.packing import pack

OWN = DirectoryId("ab12", True)
GOOD = Hello(MAGIC, PROTOCOL_VERSION, "im", "a", "b", 7, 8, 0, *OWN)


def _check(hello: Hello) -> None:
    """As node `b` of cluster `im`, which only `a` dials."""
    check_hello(hello, cluster="im", node="b", expected={"a": 0})


@pytest.mark.parametrize("to", ["b", ""])
def test_the_one_that_is_expected_passes(to: str) -> None:
    _check(decode_hello(encode_hello("im", "a", to, 7, directory=OWN)))


def test_what_is_said_arrives() -> None:
    assert decode_hello(encode_hello("im", "a", "b", 7, 8, directory=OWN)) == GOOD


def test_the_longest_names_fit_the_bound() -> None:
    name = "λ" * 64
    assert len(encode_hello(name, name, name, 2**63, 2**32)) < HELLO_BYTES_MAX


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (GOOD._replace(magic="mysql"), "magic 'mysql' is not 'globaltable'"),
        (GOOD._replace(version=5), "protocol version 5 is not 4, which 'b' speaks"),
        (GOOD._replace(version=1), "protocol version 1 is not 4"),
        (GOOD._replace(cluster="im2"), "cluster 'im2' is not 'im'"),
        (GOOD._replace(to="c"), "looking for node 'c', but this is 'b'"),
        (GOOD._replace(node="z"), r"node 'z' is not one of \['a'\]"),
        (GOOD._replace(node="b"), r"node 'b' is not one of \['a'\]"),
        (GOOD._replace(since=4), "in the topology since version 4, here since 0"),
        (GOOD._replace(node=""), r"node '' is not one of \['a'\]"),
    ],
    ids=[
        "magic",
        "newer",
        "older",
        "cluster",
        "another's",
        "unknown",
        "itself",
        "namesake",
        "nameless",
    ],
)
def test_who_is_refused_and_why(hello: Hello, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        _check(hello)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [*GOOD, 1],
        list(GOOD[:-1]),
        GOOD._replace(incarnation=True),
        [b"globaltable", *GOOD[1:]],
        [*GOOD[:2], None, *GOOD[3:]],
        "globaltable",
        None,
    ],
    ids=repr,
)
def test_what_is_no_handshake_is_refused(fields: object) -> None:
    with pytest.raises(ProtocolError, match="not a handshake"):
        decode_hello(pack(fields))


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_worse(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        _check(decode_hello(data))


def test_who_was_removed_is_refused_for_good() -> None:
    def why_removed(name: str, since: int) -> str:
        return "in version 7" if (name, since) == ("a", 0) else ""

    with pytest.raises(ProtocolError, match=r"^removed: in version 7"):
        check_hello(GOOD, cluster="im", node="b", expected={"a": 9}, why_removed=why_removed)
    for since in (9, SINCE_UNKNOWN):
        again = GOOD._replace(since=since)
        check_hello(again, cluster="im", node="b", expected={"a": 9}, why_removed=why_removed)
