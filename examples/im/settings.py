"""One TOML file for all units: where GlobalTable is, and where the units are."""

import tomllib
from pathlib import Path
from typing import NamedTuple

TABLE = "im.chat"
AUDIENCE = "im"


class Settings(NamedTuple):
    endpoints: list[str]
    """Nodes of GlobalTable."""
    units: dict[str, str]
    """Where each unit serves, "host:port"."""
    directory: Path
    """Where each unit keeps its files: the one that the settings are in."""

    @property
    def roots(self) -> Path:
        """The root secret of route headers."""
        return self.directory / "roots"

    def messages(self, unit: str) -> Path:
        return self.directory / f"{unit}.messages.db"

    def fence(self, unit: str) -> Path:
        return self.directory / f"{unit}.fence.db"


def load(path: Path) -> Settings:
    with path.open("rb") as file:
        read = tomllib.load(file)
    return Settings(read["endpoints"], read["units"], path.parent)


def save(path: Path, endpoints: list[str], units: dict[str, str]) -> None:
    quoted = ", ".join(f'"{one}"' for one in endpoints)
    lines = [f"endpoints = [{quoted}]", "[units]"]
    lines += [f'{unit} = "{address}"' for unit, address in units.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
