"""When keys come and go: what is to be done now, from the records there are.

Responsible for the times of new keys, and for when a record is published or removed. Pure: the time
is an argument, `routing/client/keys.py` carries it out.

A key is published `publish_ahead_s` before it signs, so that every unit knows it by then, and its
predecessor signs until then. Any number of processes may plan at once: the next key has the next
number, and its record is bound if it is absent, so that one of them makes it and the others are
told.

Invariants: while somebody plans at least every `publish_ahead_s / 2`, there is always a key that
signs; a record is removed only when no header that its key signed can count any more, by a clock
that is wrong by less than `remove_after_s`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from globaltable.errors import InvalidArgument
from globaltable.routing.header import LIFETIME_S_MAX
from globaltable.routing.keyring import KEYS_MAX, KeyRecord
from globaltable.routing.signatures import Algorithm, KeyTerms, RootSecret


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long keys sign, and how much they overlap, in seconds."""

    sign_s: int = 86_400
    """How long a key signs."""
    publish_ahead_s: int = 600
    """How long before it signs it is known."""
    lifetime_s: int = LIFETIME_S_MAX
    """How long a header may live at most; so long a key counts after it has signed last."""
    remove_after_s: int = 86_400
    """How long after that its record stays."""

    def __post_init__(self) -> None:
        if not 1 <= self.lifetime_s <= LIFETIME_S_MAX:
            raise InvalidArgument(
                f"lifetime_s must be 1 to {LIFETIME_S_MAX} seconds, not {self.lifetime_s!r}"
            )
        if not 2 <= self.publish_ahead_s < self.sign_s:
            raise InvalidArgument(
                f"publish_ahead_s must be at least 2, and below sign_s ({self.sign_s}), not"
                f" {self.publish_ahead_s!r}"
            )
        if self.remove_after_s < 0:
            raise InvalidArgument(f"remove_after_s must not be below 0: {self.remove_after_s!r}")
        kept = 3 + (self.lifetime_s + self.remove_after_s) // self.sign_s
        if kept > KEYS_MAX:
            raise InvalidArgument(
                f"keys that sign for {self.sign_s} s would stand {kept} at a time, of {KEYS_MAX} at"
                " most; let them sign longer, or be removed earlier"
            )


class Publish(NamedTuple):
    """A key to be made, and published if its number is still free."""

    terms: KeyTerms


class Remove(NamedTuple):
    """A key whose time is long over."""

    key_id: int


def plan(
    records: Mapping[int, KeyRecord],
    algorithm: Algorithm,
    schedule: Schedule,
    now_s: float,
    last_id: int,
) -> list[Publish | Remove]:
    """What to do now so that keys of `algorithm` sign on. `last_id` is the highest number that was
    ever seen, also of a record that is gone, or that only a later version can read."""
    steps: list[Publish | Remove] = []
    covered_s = _covered_until(records, algorithm, now_s)
    if covered_s <= now_s + schedule.publish_ahead_s:
        # If nobody signs now it begins at once, although not all units know it yet: they ask.
        steps.append(publish(last_id + 1, schedule, int(covered_s)))
    steps += [
        Remove(key_id)
        for key_id, record in sorted(records.items())
        if record.verify_until_s + schedule.remove_after_s <= now_s
    ]
    return steps


def _covered_until(records: Mapping[int, KeyRecord], algorithm: Algorithm, now_s: float) -> float:
    """Until when there is a key that signs, without a gap, from now on."""
    covered_s = now_s
    for record in sorted(records.values(), key=lambda one: one.not_before_s):
        if record.algorithm is algorithm and record.not_before_s <= covered_s:
            covered_s = max(covered_s, record.sign_until_s)
    return covered_s


def publish(key_id: int, schedule: Schedule, begins_s: int) -> Publish:
    """A key that signs from then on."""
    ends_s = begins_s + schedule.sign_s
    return Publish(KeyTerms(key_id, begins_s, ends_s, ends_s + schedule.lifetime_s))


def new_record(terms: KeyTerms, root: RootSecret, algorithm: Algorithm, audience: str) -> KeyRecord:
    """The record of the key that `root` gives for these terms."""
    key_id, *times = terms
    return KeyRecord(key_id, algorithm, root.public(algorithm, audience, terms), *times)
