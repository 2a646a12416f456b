"""The fenced blocks of a document, under the heading that they stand under."""

from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
_FENCE: Final = "```"


class Block(NamedTuple):
    document: str
    heading: str
    language: str
    text: str


def blocks_of(document: str) -> list[Block]:
    """Of a file named from the root of the project."""
    found: list[Block] = []
    heading, language, lines = "", None, list[str]()
    for line in (ROOT / document).read_text(encoding="utf-8").splitlines():
        if line.startswith(_FENCE):
            if language is None:
                language, lines = line.removeprefix(_FENCE).strip(), []
            else:
                found.append(Block(document, heading, language, "\n".join(lines)))
                language = None
        elif language is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    assert language is None, f"{document}: a block under {heading!r} does not end"
    return found


def documents() -> list[str]:
    """Those that users and operators read."""
    return ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
