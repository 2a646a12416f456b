"""What all routers of a namespace share, in the table `routing.meta`: policies, and drained units.

Responsible for reading and writing it. A policy is a stored text under `policy/NAME`; a unit's
state is the unit of the key `unit/NAME`. Both are changed by compare-and-set: who changes what
somebody else has just changed is told `VersionConflict`.
"""

import asyncio
from typing import Final, NamedTuple

from globaltable.errors import Corrupt, VersionConflict
from globaltable.model import Binding
from globaltable.routing.client.bindings import Bindings
from globaltable.routing.fleet import UnitState
from globaltable.routing.stored_text import Head, cut, joined

POLICY_PREFIX: Final = "policy/"
UNIT_PREFIX: Final = "unit/"


class Stored(NamedTuple):
    """A text, and the version of its name: what to change it by."""

    text: str
    version: int


async def read_text(meta: Bindings, name: str) -> Stored | None:
    """The text of that name; None if there is none. Raises `Corrupt`, and what the client does."""
    binding = await meta.get(name, linearizable=True)
    return None if binding is None else Stored(await _text_of(meta, binding), binding.version)


async def _text_of(meta: Bindings, binding: Binding) -> str:
    head = Head.parse(binding.unit)
    for linearizable in (False, True):
        pieces = await meta.get_many(head.keys, linearizable=linearizable)
        text = joined(head, {key: piece.unit for key, piece in pieces.items()})
        if text is not None:
            return text
    raise Corrupt(f"a piece of text {head.digest} is missing; set it anew")


async def write_text(meta: Bindings, name: str, text: str, version: int) -> Stored:
    """Give a name this text, if it is at `version`; 0 if it has none. Raises `VersionConflict`."""
    head, pieces = cut(text)
    bindings = await asyncio.gather(*(meta.bind(key, unit) for key, unit in pieces.items()))
    for (key, piece), binding in zip(pieces.items(), bindings, strict=True):
        if binding.unit != piece:
            raise Corrupt(f"{key!r} is bound to {binding.unit!r}, which is not what it says it is")
    return Stored(text, (await _set(meta, name, head.unit, version)).version)


async def _set(meta: Bindings, key: str, unit: str, version: int) -> Binding:
    if version:
        return await meta.move(key, to=unit, version=version)
    binding = await meta.bind(key, unit)
    if not binding.created and binding.unit != unit:
        raise VersionConflict(key, 0, binding)
    return binding


async def read_drained(meta: Bindings) -> set[str]:
    """The units that are drained."""
    return {
        key.removeprefix(UNIT_PREFIX)
        async for key, binding in meta.scan(prefix=UNIT_PREFIX)
        if binding.unit == UnitState.DRAINED.value
    }


async def write_drained(meta: Bindings, unit: str, drained: bool) -> None:
    """Drain a unit, or have it serve again; nothing happens if it does already."""
    wanted = (UnitState.DRAINED if drained else UnitState.SERVING).value
    key = UNIT_PREFIX + unit
    binding = await meta.get(key, linearizable=True)
    if binding is None:
        if not drained:
            return
        binding = await meta.bind(key, wanted)
    if binding.unit != wanted:
        await meta.move(key, to=wanted, version=binding.version)
