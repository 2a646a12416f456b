"""How a policy is written: as a tree of tables in TOML, or the same in JSON.

Responsible for telling a well-formed policy, within bounds, from anything else, and for writing it
so that it reads the same. A policy that names a unit or dimension that there is not is well
formed: a router whose file is older than the policy goes on with it. Who sets one is told
(`require_known`).
"""

import json
from collections.abc import Callable, Collection
from typing import Any, Final

from globaltable.errors import ConfigError
from globaltable.routing.fleet import Fleet, Selection
from globaltable.routing.policies import (
    Excluding,
    FirstOf,
    Home,
    Nearest,
    Policy,
    Switch,
    To,
    Weighted,
    parts,
)
from globaltable.toml_section import Section, as_text

TEXT_BYTES_MAX: Final = 16_384
DEPTH_MAX: Final = 12
PARTS_MAX: Final = 256

_FORMS: Final = "unit, home, weighted, nearest, switch, first_of, excluding"


def parse(setting: str, value: object) -> Policy:
    """The policy that a tree of plain values says. Raises `ConfigError`."""
    policy = _parse(setting, value, DEPTH_MAX)
    count = sum(1 for _ in parts(policy))
    if count > PARTS_MAX:
        raise ConfigError(f"{setting} has {count} parts; at most {PARTS_MAX} are allowed")
    return policy


def parse_json(setting: str, text: str) -> Policy:
    """The policy in JSON text. Raises `ConfigError`."""
    size = len(text.encode(errors="replace"))
    if size > TEXT_BYTES_MAX:
        raise ConfigError(f"{setting} is {size} bytes long; at most {TEXT_BYTES_MAX} are allowed")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{setting} is not valid JSON: {error}") from error
    return parse(setting, value)


def to_json(policy: Policy) -> str:
    """Text that `parse_json` reads as the same policy: ASCII, and no longer than it must be."""
    return json.dumps(to_plain(policy), separators=(",", ":"))


def to_plain(policy: Policy) -> dict[str, Any]:
    """The tree that `parse` reads as the same policy."""
    match policy:
        case To(unit):
            return {"unit": unit}
        case Home(dimension):
            return {"home": dimension}
        case Weighted(among):
            return {"weighted": _selection_to_plain(among)}
        case Nearest(among):
            return {"nearest": _selection_to_plain(among)}
        case Switch(attribute, cases, otherwise):
            plain: dict[str, Any] = {"switch": attribute}
            plain["cases"] = {value: to_plain(one) for value, one in cases.items()}
            return plain if otherwise is None else plain | {"else": to_plain(otherwise)}
        case FirstOf(policies):
            return {"first_of": [to_plain(one) for one in policies]}
        case Excluding(units, one):
            return {"excluding": _selection_to_plain(units), "policy": to_plain(one)}


def require_known(setting: str, policy: Policy, fleet: Fleet, homes: Collection[str]) -> None:
    """Refuse what could never place anything, for it names what there is not."""
    regions = {unit.region for unit in fleet.units.values()}
    tags = {tag for unit in fleet.units.values() for tag in unit.tags}
    for part in parts(policy):
        match part:
            case To(unit):
                fleet.require(f"{setting}: unit", unit)
            case Home(dimension) if dimension not in homes:
                raise ConfigError(
                    f"{setting}: home = {dimension!r} is no dimension of layer L1; those there "
                    f"are: {', '.join(sorted(homes)) or 'none'}"
                )
            case Weighted(among) | Nearest(among) | Excluding(among, _):
                for unit in among.units:
                    fleet.require(f"{setting}: units", unit)
                for what, named, known in (
                    ("regions", among.regions, regions),
                    ("tags", among.tags, tags),
                ):
                    if not named <= known:
                        raise ConfigError(
                            f"{setting}: {what} names {', '.join(sorted(named - known))}, which no "
                            f"unit has; those there are: {', '.join(sorted(known)) or 'none'}"
                        )


# --- the forms -----------------------------------------------------------------------------------


def _parse(setting: str, value: object, depth: int) -> Policy:
    if depth == 0:
        raise ConfigError(f"{setting} is nested over {DEPTH_MAX} levels deep")
    if not isinstance(value, dict):
        raise ConfigError(f"{setting} = {value!r}: give a policy, one of {_FORMS}")
    section = Section(setting, value)

    def inner(key: str) -> Policy:
        return section.take(key, lambda name, one: _parse(name, one, depth - 1))

    policy: Policy
    if "unit" in section:
        policy = To(section.take("unit", as_text))
        section.finish("unit")
    elif "home" in section:
        policy = Home(section.take("home", as_text))
        section.finish("home")
    elif "weighted" in section:
        policy = Weighted(section.take("weighted", as_selection))
        section.finish("weighted")
    elif "nearest" in section:
        policy = Nearest(section.take("nearest", as_selection))
        section.finish("nearest")
    elif "switch" in section:
        attribute = section.take("switch", as_text)
        named = section.take("cases", _as_table)
        cases = {
            case: _parse(f"{section.setting('cases')}.{case}", one, depth - 1)
            for case, one in named.items()
        }
        policy = Switch(attribute, cases, inner("else") if "else" in section else None)
        section.finish("switch, cases, else")
    elif "first_of" in section:
        listed = section.take("first_of", _as_list)
        name = section.setting("first_of")
        policy = FirstOf(
            tuple(_parse(f"{name}[{at}]", one, depth - 1) for at, one in enumerate(listed))
        )
        section.finish("first_of")
    elif "excluding" in section:
        excluded = section.take("excluding", as_selection)
        if excluded.is_everything:
            raise ConfigError(f"{section.setting('excluding')} is empty; name units, regions, tags")
        policy = Excluding(excluded, inner("policy"))
        section.finish("excluding, policy")
    else:
        raise ConfigError(f"{setting} = {value!r}: give a policy, one of {_FORMS}")
    return policy


def as_selection(setting: str, value: object) -> Selection:
    if not isinstance(value, dict):
        raise ConfigError(
            f"{setting} = {value!r}: give units, regions or tags, or {{}} for all units"
        )
    section = Section(setting, value)
    take: Callable[[str], frozenset[str]] = lambda key: section.take(  # noqa: E731
        key, _as_names, frozenset()
    )
    selection = Selection(take("units"), take("regions"), take("tags"))
    section.finish("units, regions, tags")
    return selection


def _selection_to_plain(selection: Selection) -> dict[str, Any]:
    return {key: sorted(names) for key, names in selection._asdict().items() if names}


def _as_names(setting: str, value: object) -> frozenset[str]:
    return frozenset(as_text(setting, one) for one in _as_list(setting, value))


def _as_list(setting: str, value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{setting} = {value!r}: give a list that is not empty")
    return value


def _as_table(setting: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict) or not value:
        raise ConfigError(f"{setting} = {value!r}: give a table that is not empty")
    return value
