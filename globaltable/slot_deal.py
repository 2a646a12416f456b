"""Which slots move so that every group is to hold equally many, give or take one.

Pure arithmetic over who is to hold each slot. As few slots move as can be: a group that is to hold
more than its share gives up what is beyond it, and nobody else gives anything.

Invariants: it is a function of its arguments; slot 0 is never given up, for the topology itself is
kept in it; what a group takes from another are neighbours among what that one gives, so that the
assignment stays short to write (`slot_ranges`).
"""

from collections.abc import Sequence


def dealt_evenly(owners: Sequence[int], groups: int) -> tuple[int, ...]:
    """The group for each slot, of so many groups; `owners` are those of the present, by slot."""
    held: list[list[int]] = [[] for _ in range(groups)]
    for slot, owner in enumerate(owners):
        held[owner].append(slot)
    shares = _shares([len(slots) for slots in held])
    given = [slot for slots, share in zip(held, shares, strict=True) for slot in slots[share:]]
    after = list(owners)
    for number, (slots, share) in enumerate(zip(held, shares, strict=True)):
        missing = max(0, share - len(slots))
        for slot in given[:missing]:
            after[slot] = number
        del given[:missing]
    assert not given, "what is given up is what others lack"
    return tuple(after)


def _shares(counts: Sequence[int]) -> list[int]:
    """Who holds most gets the slots that cannot be shared: so they need not move."""
    share, over = divmod(sum(counts), len(counts))
    fullest = sorted(range(len(counts)), key=lambda number: -counts[number])
    shares = [share] * len(counts)
    for number in fullest[:over]:
        shares[number] += 1
    return shares
