"""Which HTTP requests are the console's own: asked under one of its names, by its own page.

Two things are kept out that a browser would carry here for somebody else's page. A foreign name
that was made to lead to this address (DNS rebinding) shows in `Host`, for a page can be of a name
only, and names are listed; an address in its place is nobody's name. And what a foreign page sends
by itself (forgery) shows in `Origin` and `Sec-Fetch-Site`, and cannot have the header `ACT`, for
which browsers ask first and get no leave.

Invariant: nothing is done, and nothing is told, for a request that `why_foreign` has a word on.
"""

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

ACT: Final = "x-globaltable-console"
ACTS: Final = "act"


class Foreign(NamedTuple):
    """Why a request is not taken, and with which status."""

    status: int
    why: str


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """By name in lower case. Of one that comes twice all values, so that none passes for it."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def host_in(authority: str) -> str:
    """The name or address in a `Host`, without its port; empty if there is none."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0].lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def why_foreign(
    method: str, path: str, headers: Mapping[str, str], scheme: str, names: Collection[str]
) -> Foreign | None:
    """None if it is the console's own. `names` are those that it is reached by, but addresses."""
    authority = headers.get("host", "")
    host = host_in(authority)
    if not _is_address(host) and host not in names:
        return Foreign(
            421,
            f"this console is not known as {host[:255]!r}; add the name to hosts of [console], or "
            "use an address",
        )
    site = headers.get("sec-fetch-site", "same-origin")
    if path.startswith("/api/") and site != "same-origin":
        return Foreign(403, "asked for by another page than the console's own")
    if method in ("GET", "HEAD"):
        return None
    if headers.get("origin", f"{scheme}://{authority}") != f"{scheme}://{authority}":
        return Foreign(403, "sent by another page than the console's own")
    if headers.get(ACT) != ACTS:
        return Foreign(403, f"what acts has the header {ACT}: {ACTS}")
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return Foreign(415, "what acts comes as application/json")
    return None
