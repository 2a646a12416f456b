"""Who may talk to whom: everybody else is refused, with the reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.errors import ProtocolError
from globaltable.levels import OF_BEFORE, UNDERSTOOD, Levels
from globaltable.server.handshake import (
    HELLO_BYTES_MAX,
    MAGIC,
    SINCE_UNKNOWN,
    Hello,
    check_hello,
    decode_hello,
    encode_hello,
)
from globaltable.server.versions import SPOKEN, Offers, Versions
from globaltable.store.identity import DirectoryId
from globaltable.wire.packing import pack

OWN = DirectoryId("ab12", True)
GOOD = Hello(MAGIC, SPOKEN.newest, "im", "a", "b", 7, 8, 0, *OWN, *UNDERSTOOD)


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
        (GOOD._replace(version=6), "protocol version 6 is not one of 4 to 5, which 'b' speaks"),
        (GOOD._replace(version=1), "protocol version 1 is not one of 4 to 5"),
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


def test_a_later_version_is_refused_for_its_version_whatever_more_it_says() -> None:
    later = [*GOOD._replace(version=SPOKEN.newest + 1), "more", {}]
    with pytest.raises(ProtocolError, match=r"^protocol version 6 is not one of 4 to 5"):
        decode_hello(pack(later))


@pytest.mark.parametrize(("version", "passes"), [(3, False), (4, True), (5, True), (6, False)])
def test_neighbouring_versions_are_spoken_and_no_others(version: int, passes: bool) -> None:
    def check() -> None:
        hello = GOOD._replace(version=version)
        check_hello(hello, cluster="im", node="b", expected={"a": 0}, versions=Versions(4, 5))

    if passes:
        check()
    else:
        with pytest.raises(ProtocolError, match="is not one of 4 to 5, which 'b' speaks"):
            check()


def test_who_is_refused_offers_older_ones_and_then_its_newest_again() -> None:
    offers = Offers(Versions(4, 6))
    offered = []
    for _ in range(5):
        offered.append(offers.to("b"))
        offers.refused("b")
    assert offered == [6, 5, 4, 6, 5]
    offers.begin_anew("b")
    assert offers.to("b") == offers.to("c") == 6


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_worse(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        _check(decode_hello(data))


def test_version_4_is_spoken_as_it_was_and_says_nothing_of_levels() -> None:
    hello = encode_hello("im", "a", "b", 7, 8, directory=OWN, version=4)
    assert hello == pack([MAGIC, 4, "im", "a", "b", 7, 8, 0, *OWN])
    assert decode_hello(hello) == GOOD._replace(version=4, level_oldest=1, level_newest=1)
    assert decode_hello(hello).levels == OF_BEFORE


@pytest.mark.parametrize(
    ("understood", "level", "remedy"),
    [
        (Levels(1, 1), 2, "level 2 is in force, and this release understands level 1: start it"),
        (Levels(2, 3), 4, "level 4 is in force, and this release understands levels 2 to 3"),
        (Levels(2, 3), 1, "start the release before, and finalize the upgrade to it first"),
        (Levels(1, 2), 1, ""),
        (Levels(1, 2), 2, ""),
    ],
)
def test_who_does_not_understand_the_level_that_was_noted_is_refused(
    understood: Levels, level: int, remedy: str
) -> None:
    """A joiner as well: it is told so before it is told anything else."""
    for since in (0, SINCE_UNKNOWN):
        hello = GOOD._replace(
            since=since, level_oldest=understood.oldest, level_newest=understood.newest
        )
        if remedy:
            with pytest.raises(ProtocolError, match=f"^level: node 'a': .*{remedy}"):
                check_hello(hello, cluster="im", node="b", expected={"a": 0}, level=level)
        else:
            check_hello(hello, cluster="im", node="b", expected={"a": 0}, level=level)


def test_who_was_removed_is_refused_for_good() -> None:
    def why_removed(name: str, since: int) -> str:
        return "in version 7" if (name, since) == ("a", 0) else ""

    with pytest.raises(ProtocolError, match=r"^removed: in version 7"):
        check_hello(GOOD, cluster="im", node="b", expected={"a": 9}, why_removed=why_removed)
    for since in (9, SINCE_UNKNOWN):
        again = GOOD._replace(since=since)
        check_hello(again, cluster="im", node="b", expected={"a": 9}, why_removed=why_removed)
