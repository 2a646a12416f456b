"""A section of a TOML document, of which settings are taken one at a time, each as what it must be.

Whatever is wrong is refused with one line that names the setting, the value and what to do. Knows
nothing of which settings there are.

Invariant: a section that is finished had no setting but those that were taken, for a misspelt one
would otherwise be ignored.
"""

import math
import tomllib
from collections.abc import Callable
from typing import Any, Final, TypeVar

from globaltable.errors import ConfigError, InvalidArgument
from globaltable.validation import require_table

_NAME_CHARACTERS_MAX: Final = 64
_NESTING_MAX: Final = 16

T = TypeVar("T")


def parse_document(text: str) -> dict[str, Any]:
    """A TOML document as plain values. Raises `ConfigError`."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Beside its own error: numbers of too many digits, and too deep a nesting.
        raise ConfigError(f"not valid TOML: {error}") from error
    _require_modest(document, _NESTING_MAX)
    return document


def _require_modest(value: object, levels: int) -> None:
    """Refuse what error messages could not show: huge integers, and deep nesting."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ConfigError("not valid TOML: an integer of more than 64 bits")
    if isinstance(value, dict | list):
        if levels == 0:
            raise ConfigError(f"not a configuration: nested over {_NESTING_MAX} levels deep")
        for inner in value.values() if isinstance(value, dict) else value:
            _require_modest(inner, levels - 1)


class Section:
    """A table of the document, from which every setting must be taken."""

    def __init__(self, name: str, values: object) -> None:
        if not isinstance(values, dict):
            raise ConfigError(f"{name} = {values!r}: this is a section, write [{name}]")
        self.name = name
        self._values = dict(values)

    def setting(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def take(self, key: str, check: Callable[[str, object], T], default: T | None = None) -> T:
        if key not in self._values:
            if default is None:
                raise ConfigError(f"{self.setting(key)} is missing")
            return default
        return check(self.setting(key), self._values.pop(key))

    def section(self, key: str) -> "Section":
        return Section(self.setting(key), self._values.pop(key, {}))

    def names(self) -> list[str]:
        return list(self._values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def finish(self, known: str) -> None:
        if self._values:
            key = self.setting(next(iter(self._values)))
            raise ConfigError(f"{key} is not a known setting; known here: {known}")


def as_text(setting: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigError(f"{setting} = {value!r}: give a string that is not empty, without NUL")
    return value


def as_name(setting: str, value: object) -> str:
    text = as_text(setting, value)
    if len(text) > _NAME_CHARACTERS_MAX or not all(c.isalnum() or c in "._-" for c in text):
        raise ConfigError(
            f"{setting} = {value!r}: use up to {_NAME_CHARACTERS_MAX} letters, digits, "
            "'.', '_' and '-'"
        )
    return text


def as_count(setting: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{setting} = {value!r}: give a whole number above 0")
    return value


def as_switch(setting: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{setting} = {value!r}: give true or false")
    return value


def as_seconds(setting: str, value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:  # type: ignore[arg-type,operator]
        raise ConfigError(f"{setting} = {value!r}: give a number of seconds above 0")
    return float(value)  # type: ignore[arg-type]


def as_milliseconds(setting: str, value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 60_000:  # type: ignore[operator]
        raise ConfigError(f"{setting} = {value!r}: give milliseconds between 0 and 60000")
    return float(value)  # type: ignore[arg-type]


def as_weight(setting: str, value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1e9:  # type: ignore[operator]
        raise ConfigError(f"{setting} = {value!r}: give a share, from 0 to 1e9")
    return float(value)  # type: ignore[arg-type]


def as_share(setting: str, value: object) -> float:
    share = as_weight(setting, value)
    if not share:
        raise ConfigError(f"{setting} = {value!r}: give a number above 0")
    return share


def as_names(setting: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{setting} = {value!r}: give a list of names")
    return tuple(value)


def as_tables(setting: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f'{setting} = {value!r}: give a list of names, as in ["im.session"]')
    for table in value:
        try:
            require_table(table)
        except InvalidArgument as error:
            raise ConfigError(f"{setting}: {error}") from error
    if len(set(value)) != len(value):
        raise ConfigError(f"{setting} = {value!r}: a table is named twice")
    return tuple(value)


def one_of(choices: tuple[str, ...]) -> Callable[[str, object], str]:
    def check(setting: str, value: object) -> str:
        if value not in choices:
            raise ConfigError(f"{setting} = {value!r}: give one of {', '.join(choices)}")
        return str(value)

    return check
