"""Which slots a group holds before any has been moved: its share of the founding deal.

Slots are dealt to a cluster's founding groups in turn, so that neighbours hold equally many. A
group that is added later is dealt none: it holds what is moved to it.
"""

from typing import NamedTuple


class Deal(NamedTuple):
    """The share of the `index`-th of `of` groups; of none if `of` is 0."""

    index: int  # type: ignore[assignment] # it hides that of a tuple
    of: int

    def holds(self, slot: int) -> bool:
        return self.of > 0 and slot % self.of == self.index

    def slots(self, slots: int) -> range:
        """The slots of the share among `slots`, ascending."""
        return range(self.index, slots, self.of) if self.of else range(0)


NOTHING = Deal(0, 0)
EVERYTHING = Deal(0, 1)
