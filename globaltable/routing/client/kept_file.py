"""Files that spare a restart some questions: replaced as a whole, and ignored if they are damaged.

Responsible for the disk; what is in them is told by whoever encodes it (`stored_routes`,
`stored_keys`). These calls block: an event loop hands them to a thread.

Invariant: after a crash at any moment the file holds what it held before, or what was to be kept.
"""

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from globaltable.errors import Corrupt, StorageError

T = TypeVar("T")
_log: Final = logging.getLogger(__name__)


def replace(path: Path, content: bytes) -> None:
    """Keep `content` in `path`, for the owner's eyes only. Raises `StorageError`."""
    try:
        descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(scratch)
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


def load(path: Path, bytes_max: int, decode: Callable[[bytes], T]) -> T | None:
    """What `path` holds, decoded; None, with a warning, if that is nothing to go by.

    A file that is not there is no reason to warn. `decode` raises `Corrupt`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(bytes_max + 1)
        if len(content) > bytes_max:
            raise Corrupt(f"over {bytes_max} bytes")
        return decode(content)
    except FileNotFoundError:
        return None
    except (OSError, Corrupt) as error:
        _log.warning("%s is ignored: %s", path, error)
        return None
