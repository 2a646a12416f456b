"""What a client is told once: addresses, timeouts and bounds, checked where they are made."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from globaltable import limits, validation
from globaltable.errors import GlobalTableError, InvalidArgument

TIMEOUT_S_DEFAULT: Final = 5.0
ATTEMPT_TIMEOUT_S_DEFAULT: Final = 2.0
PENDING_MAX_DEFAULT: Final = 65_536

TIMEOUT_S_MAX: Final = 1e9
"""Some thirty years. What is longer the system's own waits refuse, and the thread that keeps the
time of all calls would die of one."""
_ADDRESS_CHARACTERS_MAX: Final = 512
_PORT_DIGITS_MAX: Final = 5

GRACE_S: Final = 0.25
"""How long past its deadline an op that is under way waits for the node's own last word."""


class UseClientDefault(enum.Enum):
    """The type of `USE_CLIENT_DEFAULT`, which is not `None`: that means no timeout."""

    USE_CLIENT_DEFAULT = "the client's default"


USE_CLIENT_DEFAULT: Final = UseClientDefault.USE_CLIENT_DEFAULT

Timeout = float | None | UseClientDefault
"""Seconds; `None` for no timeout; `USE_CLIENT_DEFAULT` for what `connect` was given."""


class ClientClosed(GlobalTableError, RuntimeError):
    """The client is closed, or was never opened. What was asked of it did not happen."""


def require_timeout(what: str, timeout: float | None) -> None:
    """Refuse what is no span of time that something could happen in."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise InvalidArgument(f"{what} must be seconds or None, not {timeout!r}")
    if not 0 < timeout <= TIMEOUT_S_MAX:
        raise InvalidArgument(
            f"{what} must be above 0 and at most {TIMEOUT_S_MAX:.0f} seconds, not {timeout!r}"
        )


def is_address(text: str) -> bool:
    """Whether it is "host:port"."""
    host, _, port = text.rpartition(":")
    fits = len(text) <= _ADDRESS_CHARACTERS_MAX and len(port) <= _PORT_DIGITS_MAX
    return bool(fits and host and port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535)


def _require_address(address: str) -> None:
    if not isinstance(address, str):
        raise InvalidArgument(f"an address is a string 'host:port', not {address!r}")
    if not is_address(address):
        raise InvalidArgument(f"address {address!r} is not of the form 'host:port'")


@dataclass(frozen=True, slots=True)
class Settings:
    """What `connect` was given."""

    addresses: tuple[str, ...]
    table: str
    timeout_s: float | None = TIMEOUT_S_DEFAULT
    attempt_timeout_s: float = ATTEMPT_TIMEOUT_S_DEFAULT
    pending_max: int = PENDING_MAX_DEFAULT
    discover: bool = True
    """Whether nodes are asked that others have told of."""
    tracing: bool = False
    """Whether writes have spans (`_tracing`)."""

    def __post_init__(self) -> None:
        if not self.addresses:
            raise InvalidArgument("addresses is empty; give one 'host:port' for each node")
        for address in self.addresses:
            _require_address(address)
        if len(set(self.addresses)) != len(self.addresses):
            raise InvalidArgument(f"an address is given twice: {list(self.addresses)}")
        validation.require_table(self.table)
        require_timeout("timeout", self.timeout_s)
        if self.attempt_timeout_s is None:
            raise InvalidArgument("attempt_timeout must be seconds, not None")
        require_timeout("attempt_timeout", self.attempt_timeout_s)
        if isinstance(self.pending_max, bool) or not isinstance(self.pending_max, int):
            raise InvalidArgument(f"pending_max must be an int, not {self.pending_max!r}")
        if self.pending_max < 1:
            raise InvalidArgument(f"pending_max must be at least 1, not {self.pending_max}")
        if not isinstance(self.discover, bool):
            raise InvalidArgument(f"discover must be True or False, not {self.discover!r}")


def addresses_of(addresses: Iterable[str]) -> tuple[str, ...]:
    """The addresses as given; one bare string is a mistake worth naming."""
    if isinstance(addresses, str):
        raise InvalidArgument(f"addresses must be a list of 'host:port', not {addresses!r}")
    return tuple(addresses)


CHANNEL_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    # A node that restarts is found again within about a second.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A peer that is gone without a word breaks a watch after 15 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.max_send_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    # An error of a watch names a revision for each group, in its trailers.
    ("grpc.max_metadata_size", 2_097_152),
    # Every retry is the exchange's: only it knows what an op's earlier attempts came to.
    ("grpc.enable_retries", 0),
    # Clients of one process share no connection, so that closing one cannot hurt another.
    ("grpc.use_local_subchannel_pool", 1),
)
