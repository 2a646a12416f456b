"""A small file that is replaced as a whole: it holds what it held, or what is new, never half."""

import os
from pathlib import Path

from globaltable.errors import StorageError


def replace(path: Path, content: bytes) -> None:
    """Durable when it returns. Raises `StorageError` if it cannot be."""
    partial = path.with_suffix(".new")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        # The name is durable once the directory is.
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
