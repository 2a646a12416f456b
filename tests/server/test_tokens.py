"""Promise: a token is believed only if a key of the configuration has signed it, for this cluster,
and for now; and nothing else that it says makes any difference."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from globaltable.server.identities import Identity, Kind, Unidentified
from globaltable.server.tokens import CLOCKS_DIFFER_S, Token, TokenKeys, encoded

NOW_S = 1_800_000_000
OWN, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PUBLIC = OWN.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
KEYS = TokenKeys({"k1": PUBLIC}, "im", "im/7f")
HEADER = {"alg": "EdDSA", "kid": "k1", "typ": "JWT"}
CLAIMS = {"sub": "web", "aud": "im/7f", "exp": NOW_S + 60}


def signed(header: Any, claims: Any, key: Ed25519PrivateKey = OWN) -> str:
    parts = [encoded(part if isinstance(part, bytes) else json.dumps(part).encode())
             for part in (header, claims)]  # fmt: skip
    text = ".".join(parts)
    return f"{text}.{encoded(key.sign(text.encode()))}"


def _with(**more: Any) -> dict[str, Any]:
    return {name: value for name, value in (CLAIMS | more).items() if value is not ...}


def test_one_that_is_right_says_who_and_until_when() -> None:
    expected = Token(Identity("im", Kind.CLIENT, "web"), "k1", NOW_S + 60.0)
    assert KEYS.read(signed(HEADER, CLAIMS), NOW_S) == expected
    assert KEYS.read(signed({"alg": "EdDSA", "kid": "k1"}, CLAIMS), NOW_S) == expected
    more = _with(nbf=NOW_S, iat=NOW_S, iss="https://example.org", jti="x")
    assert KEYS.read(signed(HEADER, more), NOW_S) == expected
    # Shown again it is as good as the first time, until its end.
    assert KEYS.read(signed(HEADER, CLAIMS), NOW_S + 59.9) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (signed(HEADER, CLAIMS, OTHER), "is not signed by key 'k1'"),
        (signed(HEADER | {"kid": "k2"}, CLAIMS), "key 'k2' is none that is known here"),
        (signed(HEADER | {"kid": None}, CLAIMS), "is none that is known here"),
        (signed({"alg": "EdDSA"}, CLAIMS), "is none that is known here"),
        (signed(HEADER | {"alg": "none"}, CLAIMS), "must have alg 'EdDSA'"),
        (signed(HEADER | {"alg": "HS256"}, CLAIMS), "must have alg 'EdDSA'"),
        (signed(HEADER | {"crit": ["exp"]}, CLAIMS), "and no more"),
        (signed(HEADER | {"jwk": {"kty": "OKP"}}, CLAIMS), "and no more"),
        (signed(HEADER, _with(aud="im/80")), "is for 'im/80', and this is 'im/7f'"),
        (signed(HEADER, _with(aud=["im/7f"])), "and this is 'im/7f'"),
        (signed(HEADER, _with(aud=...)), "and this is 'im/7f'"),
        (signed(HEADER, _with(exp=NOW_S)), "ended 0 s ago"),
        (signed(HEADER, _with(exp=NOW_S - 100)), "ended 100 s ago"),
        (signed(HEADER, _with(exp=...)), "exp must be whole seconds"),
        (signed(HEADER, _with(exp=1e400)), "exp must be whole seconds"),
        (signed(HEADER, _with(exp=float(NOW_S + 60))), "exp must be whole seconds"),
        (signed(HEADER, _with(exp=True)), "exp must be whole seconds"),
        (signed(HEADER, _with(exp=2**60)), "exp must be whole seconds"),
        (signed(HEADER, _with(nbf=NOW_S + int(CLOCKS_DIFFER_S) + 1)), "has not begun"),
        (signed(HEADER, _with(nbf="soon")), "nbf must be whole seconds"),
        (signed(HEADER, _with(sub="*")), "names no client"),
        (signed(HEADER, _with(sub="../web")), "names no client"),
        (signed(HEADER, _with(sub=...)), "names no client"),
        (signed(HEADER, _with(sub=["web"])), "names no client"),
        (signed(HEADER, b'{"sub":"web","sub":"op","aud":"im/7f","exp":1900000000}'), "no JSON"),
        (signed(HEADER, b"[" * 2_000), "no JSON"),
        (signed(HEADER, [CLAIMS]), "no JSON object"),
        (signed(HEADER, b"\xff"), "no JSON"),
        (signed(HEADER, _with(more="x" * 4_096)), "bytes, and may have 4096"),
        ("", "header is no JSON"),
        ("a.b.c", "is not in base64url"),
        ("é.é.é", "is not in base64url"),
        (".".join([signed(HEADER, CLAIMS), "x"]), "is not"),
        (signed(HEADER, CLAIMS).rpartition(".")[0] + ".", "is not signed"),
    ],
)  # fmt: skip
def test_another_is_refused_with_why_and_without_a_word_of_it(text: str, why: str) -> None:
    with pytest.raises(Unidentified, match=why) as refused:
        KEYS.read(text, NOW_S)
    assert len(text) < 20 or text[-20:] not in str(refused.value)


@given(st.integers(0, len(signed(HEADER, CLAIMS)) - 1), st.characters(max_codepoint=0x7F))
def test_no_character_of_it_may_be_another(place: int, character: str) -> None:
    text = signed(HEADER, CLAIMS)
    changed = text[:place] + character + text[place + 1 :]
    if changed != text:
        with pytest.raises(Unidentified):
            KEYS.read(changed, NOW_S)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: signed(raw, raw)))
def test_anything_else_is_refused_and_nothing_worse(text: str) -> None:
    with pytest.raises(Unidentified):
        KEYS.read(text, NOW_S)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_one_spelt_otherwise_is_another(part: int) -> None:
    """With padding, or with bits behind the last byte that mean nothing."""
    parts = signed(HEADER, CLAIMS).split(".")
    for more in ("=", "==", "A"):
        spelt = [text + more if place == part else text for place, text in enumerate(parts)]
        with pytest.raises(Unidentified):
            KEYS.read(".".join(spelt), NOW_S)
