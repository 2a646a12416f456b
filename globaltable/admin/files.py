"""A file that is there whole or not at all, and takes no other's place unasked."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from globaltable.errors import ConfigError, StorageError


@contextlib.contextmanager
def created(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Write to a file beside `path` that takes its place at the end, durably, or is removed."""
    if path.exists() and not force:
        raise ConfigError(f"{path} exists; --force writes over it")
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        file = partial.open("xb")
    except OSError as error:
        raise ConfigError(f"{partial} cannot be written: {error}") from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force:
            partial.replace(path)
        else:
            # A rename would take the place of what somebody else has written meanwhile.
            os.link(partial, path)
        _sync(path.resolve().parent)
    except FileExistsError as error:
        raise ConfigError(f"{path} exists; --force writes over it") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    with file:
        try:
            yield file
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error}") from error
