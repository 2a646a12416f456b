"""Rendezvous hashing: of several units, the one that a key falls to, each by its capacity.

Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998); weighted as in
Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005): a unit draws a number h in
(0, 1) from the key and its own name, and scores -capacity / ln h; the highest score wins.

Invariants:

* The choice is a function of its arguments: everyone who knows the same units chooses the same one.
* A unit's share of the keys is its share of the capacity.
* Taking a unit away moves only the keys that were its own; adding one moves keys only to it.
"""

import math
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final

_DRAWS: Final = 2**53
"""As many as a float tells apart."""


def _draw(subject: bytes, name: str) -> float:
    """A number in (0, 1), the same one for the same key and name everywhere."""
    digest = blake2b(name.encode(), key=subject, digest_size=8).digest()
    return (int.from_bytes(digest, "big") % _DRAWS + 0.5) / _DRAWS


def ranked(key: str, capacities: Iterable[tuple[str, float]]) -> list[str]:
    """The names, from the one that `key` falls to, to the last. A capacity is above 0."""
    return [name for _, name in sorted(_scored(key, capacities), reverse=True)]


def chosen(key: str, capacities: Iterable[tuple[str, float]]) -> str | None:
    """The name that `key` falls to; None if there is none to choose from."""
    choices = tuple(capacities)
    if len(choices) < 2:
        return choices[0][0] if choices else None
    return max(_scored(key, choices))[1]


def _scored(key: str, capacities: Iterable[tuple[str, float]]) -> Iterator[tuple[float, str]]:
    # Keys may be longer than a keyed hash allows; what they are hashed to is not.
    subject = blake2b(key.encode(), digest_size=16).digest()
    for name, capacity in capacities:
        yield -capacity / math.log(_draw(subject, name)), name
