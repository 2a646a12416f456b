"""Headers that were found genuine, so that the next message with the same header is cheap.

Responsible for what is remembered, and for how long. A unit sees the same few headers again and
again; comparing bytes costs a hundredth of checking an Ed25519 signature.

Invariants: only what `HeaderVerifier` accepted is remembered, by all its bytes; a header counts no
longer than it says, and no longer than the record of its key stands in the ring as it was. At most
`entries_max` are remembered, each of at most `HEADER_BYTES_MAX` bytes and its route.

Two generations: what is used moves to the young one; when that is full it becomes the old one, and
what nobody used since is forgotten. So a hit in the young one, which most are, changes nothing: it
costs one look, where exact LRU would move the entry each time. What was used among the last
`entries_max // 2` distinct headers is always there.

Not thread-safe: for one event loop, or a lock around it.
"""

from typing import Final

from globaltable.errors import InvalidArgument
from globaltable.routing.header import HeaderVerifier, key_id_of
from globaltable.routing.keyring import Keyring
from globaltable.routing.route import Route

ENTRIES_MAX_DEFAULT: Final = 65_536


class VerifiedHeaders:
    """`HeaderVerifier` with a memory."""

    __slots__ = ("_generation_max", "_old", "_verifier", "_young")

    def __init__(self, verifier: HeaderVerifier, *, entries_max: int = ENTRIES_MAX_DEFAULT) -> None:
        if entries_max < 2:
            raise InvalidArgument(f"entries_max must be at least 2, not {entries_max!r}")
        self._verifier: Final = verifier
        self._generation_max: Final = entries_max // 2
        self._young: dict[bytes, Route] = {}
        self._old: dict[bytes, Route] = {}

    @property
    def verifier(self) -> HeaderVerifier:
        """What checks the headers that are not remembered, and counts those refused."""
        return self._verifier

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def verify(self, header: bytes, now_s: float) -> Route:
        """The route of a header that is to be believed now. Raises `HeaderRefused`."""
        route = self._young.get(header)
        if route is not None and now_s < route.expires_at_s:
            return route
        return self._verify(header, now_s)

    def _verify(self, header: bytes, now_s: float) -> Route:
        route = self._old.pop(header, None)
        if route is None or now_s >= route.expires_at_s:
            self._young.pop(header, None)
            route = self._verifier.verify(header, now_s)
        if len(self._young) >= self._generation_max:
            self._old, self._young = self._young, {}
        self._young[header] = route
        return route

    def adopt(self, ring: Keyring) -> None:
        """Check against `ring` from now on; forget what was signed by keys that have changed."""
        before = self._verifier.ring
        kept = {
            key_id
            for key_id, record in ring.records.items()
            if before.records.get(key_id) == record and ring.find(key_id) is not None
        }
        self._verifier.adopt(ring)
        for headers in (self._young, self._old):
            for header in [one for one in headers if key_id_of(one) not in kept]:
                del headers[header]
