"""What a mutant is, and how it is put into the production classes for a while."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.simulation.schedule import Schedule, draw

Patch = tuple[Any, str, Any]
"""An owner, the name of one of its attributes, and what stands there instead."""


class Mutant(NamedTuple):
    rule: str
    """The rule that it breaks, in the words of the design."""
    patches: Callable[[], Sequence[Patch]]
    seeds: int
    """It is caught within so many seeds, from `first_seed` on."""
    first_seed: int = 0
    fixed: Mapping[str, Any] = MappingProxyType({})
    """What its schedules have in common, where the rule matters only there."""
    harness: tuple[str, ...] = ()
    """Of its patches, the names of those that break nothing, but make the rule matter."""

    def schedules(self) -> Iterator[Schedule]:
        for seed in range(self.first_seed, self.first_seed + self.seeds):
            plain = {"spares": 0, "changes": (), "added": 0, "moves": (), "rivals": True}
            yield draw(seed)._replace(**{**plain, **self.fixed})


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    patches = mutant.patches()
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    try:
        for owner, name, value in patches:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)
