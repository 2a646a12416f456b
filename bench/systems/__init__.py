"""What is measured, each system behind the same four protocols.

A `System` is started in the regions of a network and is then `Running`. Of that, `target(region)`
is a picklable value that crosses into a load process of that region, where `connect` makes the
`Client` that callers share.
"""

from contextlib import AbstractContextManager
from typing import Protocol

from globaltable.bench.network import Network


class Client(Protocol):
    """One connection of one load process; many callers await it at once."""

    async def create(self, key: str, value: str) -> bool:
        """Create if absent: whether this caller won. Raises if the outcome is not known."""
        ...

    async def close(self) -> None: ...


class Target(Protocol):
    """What a client of a region connects to. Picklable."""

    async def connect(self) -> Client: ...


class Running(Protocol):
    """A system that serves."""

    @property
    def leader_region(self) -> str | None:
        """Asked anew each time; None if the system is not led from one region."""
        ...

    def target(self, region: str) -> Target: ...


class System(Protocol):
    """A system that can be started."""

    @property
    def name(self) -> str: ...

    def start(self, network: Network) -> AbstractContextManager[Running]: ...
