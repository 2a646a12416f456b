"""What every caller was told, and whether the replicas agree with it.

A session is *bound twice* if two callers were told different units, or a replica holds another
unit than a caller was told. It is *lost* if a caller was told a unit and a replica holds none.
"""

from collections import Counter
from collections.abc import Mapping

from globaltable.model import Binding


class Ledger:
    """Of one run. Keys are never moved or unbound in it."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}
        self._created: Counter[str] = Counter()
        self._twice: set[str] = set()
        self.answers = 0

    def note(self, key: str, binding: Binding) -> None:
        """A caller was told that `key` lives in `binding.unit`."""
        self.answers += 1
        if self._told.setdefault(key, binding.unit) != binding.unit:
            self._twice.add(key)
        if binding.created:
            self._created[key] += 1
            if self._created[key] > 1:
                self._twice.add(key)

    def __len__(self) -> int:
        return len(self._told)

    @property
    def winners(self) -> dict[str, int]:
        """Sessions by the unit that won them."""
        return dict(sorted(Counter(self._told.values()).items()))

    def bound_twice(self, replicas: Mapping[str, Mapping[str, str]]) -> list[str]:
        """Sessions by the definition above, given each region's bindings (key to unit)."""
        twice = set(self._twice)
        for held in replicas.values():
            twice |= {key for key, unit in self._told.items() if held.get(key, unit) != unit}
        return sorted(twice)

    def lost(self, replicas: Mapping[str, Mapping[str, str]]) -> list[str]:
        """Sessions by the definition above, given each region's bindings (key to unit)."""
        return sorted({key for held in replicas.values() for key in self._told if key not in held})
