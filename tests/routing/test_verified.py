"""A header that is remembered counts exactly as long as one that is not."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from globaltable.errors import InvalidArgument
from globaltable.routing.header import HeaderRefused, HeaderSigner, HeaderVerifier, Refusal
from globaltable.routing.keyring import Keyring
from globaltable.routing.route import Route
from globaltable.routing.signatures import Algorithm
from globaltable.routing.verified import VerifiedHeaders
from tests.routing.rings import NOW_S, record, ring

ONE, TWO = record(1), record(2, begins_s=NOW_S - 50)


def header(keys: Keyring, number: int = 0, lives_s: int = 60) -> bytes:
    route = Route("chat", f"cid:{number}", "unit-a", 1, NOW_S + lives_s)
    return HeaderSigner(keys).sign(route, NOW_S)


def remembering(keys: Keyring, entries_max: int = 8) -> VerifiedHeaders:
    return VerifiedHeaders(HeaderVerifier(keys), entries_max=entries_max)


def refused(headers: VerifiedHeaders, header: bytes, now_s: float = NOW_S) -> Refusal:
    with pytest.raises(HeaderRefused) as error:
        headers.verify(header, now_s)
    return error.value.reason


def test_what_was_checked_once_is_not_checked_again() -> None:
    headers = remembering(ring(ONE))
    mine = header(ring(ONE))
    routes = [headers.verify(bytes(bytearray(mine)), NOW_S) for _ in range(5)]
    assert len(set(routes)) == 1 and headers.verifier.accepted == 1 and len(headers) == 1


def test_it_counts_until_it_expires() -> None:
    headers = remembering(ring(ONE))
    mine = header(ring(ONE), lives_s=60)
    headers.verify(mine, NOW_S)
    headers.verify(mine, NOW_S + 59.9)
    assert refused(headers, mine, NOW_S + 60) is Refusal.EXPIRED
    assert len(headers) == 0 and headers.verifier.refused[Refusal.EXPIRED] == 1


def test_it_counts_no_longer_for_having_been_of_no_use() -> None:
    """In the old generation as in the young one."""
    headers = remembering(ring(ONE), entries_max=2)
    mine = header(ring(ONE), 1, lives_s=60)
    headers.verify(mine, NOW_S)
    headers.verify(header(ring(ONE), 2), NOW_S)
    assert len(headers) == 2
    assert refused(headers, mine, NOW_S + 60) is Refusal.EXPIRED


def test_what_is_refused_is_not_remembered() -> None:
    headers = remembering(ring(ONE))
    forged = header(ring(ONE))[:-1] + b"?"
    for _ in range(3):
        assert refused(headers, forged) is Refusal.BAD_SIGNATURE
    assert len(headers) == 0 and headers.verifier.refused[Refusal.BAD_SIGNATURE] == 3


def test_it_does_not_outlive_its_key() -> None:
    headers = remembering(ring(ONE, TWO))
    of_one, of_two = header(ring(ONE)), header(ring(TWO))
    headers.verify(of_one, NOW_S)
    headers.verify(of_two, NOW_S)
    headers.adopt(ring(TWO))
    assert len(headers) == 1
    assert refused(headers, of_one) is Refusal.UNKNOWN_KEY
    headers.verify(of_two, NOW_S)
    assert headers.verifier.accepted == 2, "the other key's was still remembered"


def test_nor_a_change_of_its_keys_record() -> None:
    one = record(1, Algorithm.ED25519)
    shortened = replace(one, sign_until_s=NOW_S - 1)
    headers = remembering(ring(one))
    mine = header(ring(one))
    headers.verify(mine, NOW_S)
    headers.adopt(ring(shortened))
    assert refused(headers, mine) is Refusal.KEY_PERIOD


def test_nor_the_root_that_its_key_is_checked_with() -> None:
    headers = remembering(ring(ONE))
    mine = header(ring(ONE))
    headers.verify(mine, NOW_S)
    headers.adopt(Keyring("im/chat", [ONE]))
    assert refused(headers, mine) is Refusal.UNKNOWN_KEY, "nobody here can check it"


@settings(max_examples=50)
@given(st.lists(st.integers(0, 30), max_size=200))
def test_it_is_bounded_and_keeps_what_was_used_last(asked: list[int]) -> None:
    headers = remembering(ring(ONE), entries_max=8)
    signed = [header(ring(ONE), number) for number in range(31)]
    used: list[int] = []
    for number in asked:
        before = headers.verifier.accepted
        assert headers.verify(signed[number], NOW_S).key == f"cid:{number}"
        recently = list(dict.fromkeys(reversed(used)))[:4]
        if number in recently:
            assert headers.verifier.accepted == before, "of the last four distinct ones"
        used.append(number)
        assert len(headers) <= 8


def test_a_memory_holds_something() -> None:
    with pytest.raises(InvalidArgument):
        remembering(ring(ONE), entries_max=1)
