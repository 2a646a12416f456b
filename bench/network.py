"""The regions of a bench, joined with injected round trips, whichever way they can be had here.

* `namespaces`: each region is a network namespace, and packets between them are held back by the
  emulator (`namespaces.py`): the systems under test are as they are, and clients sit in a region.
* `injected`: everything is on 127.0.0.1, and the nodes themselves hold back what they send to each
  other. Only GlobalTable does that; its clients sit beside their node.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Literal, Protocol

from globaltable.bench.round_trips import RoundTrips as RoundTrips
from globaltable.errors import GlobalTableError

Kind = Literal["namespaces", "injected"]


class NetworkError(GlobalTableError):
    """The network that was asked for cannot be had here."""


class Network(Protocol):
    """Regions, and what lies between them."""

    @property
    def regions(self) -> tuple[str, ...]: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def hosts(self) -> Mapping[str, str]:
        """The address of each region, also from here; empty if all is on 127.0.0.1."""
        ...

    @property
    def wrappers(self) -> Mapping[str, Sequence[str]]:
        """Words before a command that run it in a region; empty if there are none to say."""
        ...

    def round_trip_ms(self, a: str, b: str) -> float:
        """What is injected between two regions."""
        ...

    def cut(self, a: str, b: str) -> None:
        """Nothing passes between the two, either way, until `heal`. Namespaces only."""
        ...

    def heal(self, a: str, b: str) -> None: ...
