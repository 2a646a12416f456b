"""What units and movers ask of a table: the part of `globaltable.client.GlobalTable` they use."""

from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from globaltable.model import Binding


class Bindings(Protocol):
    """One table. Every call raises what `GlobalTable`'s does."""

    async def get(self, key: str, *, linearizable: bool = False) -> Binding | None: ...

    async def get_many(
        self, keys: Iterable[str], *, linearizable: bool = False
    ) -> dict[str, Binding]: ...

    async def bind(self, key: str, unit: str) -> Binding: ...

    async def move(self, key: str, *, to: str, version: int) -> Binding: ...

    async def unbind(self, key: str, *, version: int) -> None: ...

    def scan(self, *, prefix: str = "") -> AsyncIterator[tuple[str, Binding]]: ...
