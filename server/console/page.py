"""The page's files: read once, when the console starts, and served from memory.

Invariant: nothing is served but what stands in `static/`, by its own name; no path of a request
ever reaches a file system.
"""

from pathlib import Path
from typing import Final, NamedTuple

_STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class File(NamedTuple):
    content_type: str
    body: bytes


def files() -> dict[str, File]:
    """By name."""
    return {
        path.name: File(_TYPES[path.suffix], path.read_bytes())
        for path in sorted(_STATIC.iterdir())
        if path.suffix in _TYPES
    }
