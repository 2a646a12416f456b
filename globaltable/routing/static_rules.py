"""The static rules of layer L1: the unit that a user belongs to follows from the id alone.

Responsible for the rules as values, and for reading them from a configuration. Rules are tried in
order, and the first that names a unit decides.

Invariant: what they say does not hang on how units fare, nor on time: a user's data is where the
rule says, and a unit that is down is no reason to look for it elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from globaltable.errors import ConfigError
from globaltable.routing import rendezvous
from globaltable.routing.fleet import Fleet
from globaltable.toml_section import Section, as_share, as_text

NUMBER_DIGITS_MAX: Final = 19


class ByTable(NamedTuple):
    """Some ids, named one by one."""

    units: Mapping[str, str]

    def unit_of(self, key: str) -> str | None:
        return self.units.get(key)


class BySegment(NamedTuple):
    """A part of the id names the unit, or a name that stands for one: `bj.1001` with "." and 0."""

    separator: str
    position: int
    units: Mapping[str, str]

    def unit_of(self, key: str) -> str | None:
        segments = key.split(self.separator)
        if not -len(segments) <= self.position < len(segments):
            return None
        return self.units.get(segments[self.position])


class ByRange(NamedTuple):
    """Ids that are whole numbers: each range goes up to its bound, which it does not include."""

    bounds: tuple[int, ...]
    units: tuple[str, ...]
    """One more than bounds, if the last has none."""

    def unit_of(self, key: str) -> str | None:
        if not (key.isascii() and key.isdigit() and len(key) <= NUMBER_DIGITS_MAX):
            return None
        number = int(key)
        within = (at for at, bound in enumerate(self.bounds) if number < bound)
        at = next(within, len(self.bounds))
        return self.units[at] if at < len(self.units) else None


class ByHash(NamedTuple):
    """Any id, by a hash of it, to units by their weights (`rendezvous`).

    The weights are this rule's own, not the units' capacities: those are turned to steer what is
    new, and must not move users from where their data is.
    """

    weights: tuple[tuple[str, float], ...]

    def unit_of(self, key: str) -> str | None:
        return rendezvous.chosen(key, self.weights)


Rule = ByTable | BySegment | ByRange | ByHash


def unit_of(rules: Sequence[Rule], key: str) -> str | None:
    """The unit that `key` belongs to; None if no rule knows it."""
    for rule in rules:
        unit = rule.unit_of(key)
        if unit is not None:
            return unit
    return None


# --- as they are configured ----------------------------------------------------------------------


def as_rules(setting: str, value: object, fleet: Fleet) -> tuple[Rule, ...]:
    """A list of rules. Raises `ConfigError`."""
    if not isinstance(value, list) or not value:
        raise ConfigError(
            f'{setting} = {value!r}: give a list of rules, as in [{{by = "segment", ...}}]'
        )
    return tuple(_rule(Section(f"{setting}[{at}]", one), fleet) for at, one in enumerate(value))


def _rule(section: Section, fleet: Fleet) -> Rule:
    by = section.take("by", as_text)
    match by:
        case "table":
            units = _units_by_name(section, fleet)
            section.finish("by, [units]")
            return ByTable(units)
        case "segment":
            separator = section.take("separator", as_text)
            position = section.take("position", _as_position)
            # A segment that names its unit needs no table.
            units = _units_by_name(section, fleet) or {name: name for name in fleet.units}
            section.finish("by, separator, position, [units]")
            return BySegment(separator, position, units)
        case "range":
            ranges = section.take("ranges", _as_list)
            section.finish("by, ranges")
            return _range(section.setting("ranges"), ranges, fleet)
        case "hash":
            weights = _weights(section, fleet)
            section.finish("by, [weights]")
            return ByHash(weights)
        case _:
            raise ConfigError(
                f"{section.setting('by')} = {by!r}: give one of hash, range, segment, table"
            )


def _units_by_name(section: Section, fleet: Fleet) -> dict[str, str]:
    own = section.section("units")
    units = {}
    for name in own.names():
        units[name] = own.take(name, as_text)
        fleet.require(own.setting(name), units[name])
    return units


def _weights(section: Section, fleet: Fleet) -> tuple[tuple[str, float], ...]:
    own = section.section("weights")
    names = own.names()
    if not names:
        raise ConfigError(
            f"{own.name} is missing: give each unit its weight, as in {{A = 1, B = 1}}"
        )
    weights = []
    for name in names:
        fleet.require(own.name, name)
        weights.append((name, own.take(name, as_share)))
    return tuple(weights)


def _range(setting: str, ranges: list[object], fleet: Fleet) -> ByRange:
    bounds: list[int] = []
    units: list[str] = []
    for at, one in enumerate(ranges):
        section = Section(f"{setting}[{at}]", one)
        unit = section.take("unit", as_text)
        fleet.require(section.setting("unit"), unit)
        if "below" in section:
            below = section.take("below", _as_position)
            if bounds and below <= bounds[-1]:
                raise ConfigError(
                    f"{section.setting('below')} = {below}: must be above {bounds[-1]}, where the "
                    "range before it ends"
                )
            bounds.append(below)
        elif at < len(ranges) - 1:
            raise ConfigError(
                f"{section.setting('below')} is missing: only the last range may have no bound"
            )
        section.finish("unit, below")
        units.append(unit)
    return ByRange(tuple(bounds), tuple(units))


def _as_list(setting: str, value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{setting} = {value!r}: give a list that is not empty")
    return value


def _as_position(setting: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{setting} = {value!r}: give a whole number")
    return value
