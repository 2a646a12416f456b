"""A configuration in a TOML file: read whole, and refused with the file's name."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from globaltable.errors import ConfigError

T = TypeVar("T")


def load_toml(path: Path, parse: Callable[[str, Path], T]) -> T:
    """What `parse` makes of the text and of the directory that relative paths are taken from.
    Raises `ConfigError`, naming the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    try:
        return parse(text, path.resolve().parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
