"""Deliberate faults: each takes one rule away, and the simulation must notice.

A simulation that finds nothing proves nothing until it is seen to find something.
"""

from typing import Final

from tests.simulation.mutants import consensus, durability, holders, membership, moves, telling
from tests.simulation.mutants.mutant import Mutant, applied

MUTANTS: Final[dict[str, Mutant]] = {
    **consensus.MUTANTS,
    **holders.MUTANTS,
    **durability.MUTANTS,
    **membership.MUTANTS,
    **moves.MUTANTS,
    **telling.MUTANTS,
}

__all__ = ["MUTANTS", "Mutant", "applied"]
