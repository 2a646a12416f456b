"""Whose requests a console takes: its own page's, under its own names, and nobody else's."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.server.console.origins import ACT, ACTS, headers_of, host_in, why_foreign

NAMES = {"localhost", "console.example"}
ACTING = {"host": "127.0.0.1:7401", "content-type": "application/json", ACT: ACTS}


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:7401",
        "127.0.0.1",
        "[::1]:7401",
        "[::1]",
        "10.1.0.1:7401",
        "localhost:7401",
        "LocalHost",
        "console.example:443",
    ],
)
def test_addresses_and_listed_names_are_the_consoles_own(host: str) -> None:
    assert why_foreign("GET", "/", {"host": host}, "http", NAMES) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:7401",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "console.example.evil.example",
        "127.0.0.1, evil.example",
        "[evil.example]",
        "0x7f000001",
        "2130706433",
    ],
)
def test_a_foreign_name_is_refused_wherever_it_leads(host: str) -> None:
    """DNS rebinding: the name is the attacker's, the address this node's."""
    foreign = why_foreign("GET", "/", {"host": host}, "http", NAMES)
    assert foreign is not None
    assert foreign.status == 421


@given(
    st.text(string.ascii_lowercase + string.digits + ".-", min_size=1).filter(
        lambda name: name not in NAMES and any(c.isalpha() for c in name)
    )
)
def test_no_name_but_the_listed_ones_passes(name: str) -> None:
    assert why_foreign("GET", "/api/snapshot", {"host": f"{name}:80"}, "http", NAMES) is not None


@pytest.mark.parametrize("path", ["/api/snapshot", "/api/stream", "/api/binding"])
@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_another_page_is_told_nothing(path: str, site: str) -> None:
    """Nor can it hold the streams that there are."""
    headers = {"host": "127.0.0.1", "sec-fetch-site": site}
    foreign = why_foreign("GET", path, headers, "http", NAMES)
    assert foreign is not None
    assert foreign.status == 403
    assert why_foreign("GET", "/", headers, "http", NAMES) is None, "but a link may lead to it"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, None),
        ({"origin": "http://127.0.0.1:7401"}, None),
        ({"origin": "https://127.0.0.1:7401"}, 403),
        ({"origin": "http://127.0.0.1:7402"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, None),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({ACT: ""}, 403),
        ({ACT: "act, act"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, None),
    ],
)
def test_what_acts_is_sent_by_the_page_itself(changed: dict[str, str], status: int | None) -> None:
    foreign = why_foreign("POST", "/api/drain", ACTING | changed, "http", NAMES)
    assert (foreign.status if foreign is not None else None) == status


def test_a_form_of_another_page_has_no_way_to_act() -> None:
    """What a page may send anywhere without asking first, it cannot give the header."""
    without = {name: value for name, value in ACTING.items() if name != ACT}
    assert why_foreign("POST", "/api/drain", without, "http", NAMES) is not None


def test_a_header_that_comes_twice_passes_for_neither() -> None:
    headers = headers_of([(b"Host", b"127.0.0.1"), (b"host", b"evil.example")])
    assert why_foreign("GET", "/", headers, "http", NAMES) is not None


def test_ports_are_no_part_of_a_name() -> None:
    assert [host_in(one) for one in ("a:1", "A", "[::1]:2", "[::1]", "")] == [
        *("a", "a", "::1", "::1", ""),
    ]
