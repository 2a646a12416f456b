"""Exit statuses: what a script can tell from one, and which error ends with which."""

import enum

from globaltable.errors import (
    ConfigError,
    DeadlineExceeded,
    GlobalTableError,
    InvalidArgument,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)


class ExitStatus(enum.IntEnum):
    """As `globaltable --help` lists them."""

    OK = 0
    REJECTED = 1
    USAGE = 2
    UNAVAILABLE = 3
    UNKNOWN = 4
    FAILED = 5
    INTERRUPTED = 130


def status_of(error: GlobalTableError) -> ExitStatus:
    match error:
        case ConfigError() | InvalidArgument():
            return ExitStatus.USAGE
        case Rejected():
            return ExitStatus.REJECTED
        case OutcomeUnknown():
            return ExitStatus.UNKNOWN
        case Unavailable() | DeadlineExceeded():
            return ExitStatus.UNAVAILABLE
        case _:
            return ExitStatus.FAILED
