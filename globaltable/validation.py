"""What a caller may ask for: a value is checked once, where it enters, and trusted from then on.

Each function returns if the value is one, and raises `InvalidArgument` or `LimitExceeded` that name
the value and the bound (`limits`).
"""

from globaltable import limits
from globaltable.errors import InvalidArgument, LimitExceeded


def _require_text(what: str, value: str, bytes_max: int) -> None:
    if type(value) is str and value.isascii() and 0 < len(value) <= bytes_max:
        return  # what nearly every value is, told without encoding it
    if not isinstance(value, str):
        raise InvalidArgument(f"{what} must be a string, not {type(value).__name__}: {value!r}")
    if not value:
        raise InvalidArgument(f"{what} is empty; it must hold 1 to {bytes_max} bytes")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what} is not valid Unicode: {value!r}") from error
    if size > bytes_max:
        raise LimitExceeded(f"{what} is {size} bytes long; at most {bytes_max} are allowed")


def require_table(table: str) -> None:
    """Refuse what cannot name a table."""
    _require_text("table", table, limits.TABLE_BYTES_MAX)
    if not all(c.isalnum() or c in "._-" for c in table):
        raise InvalidArgument(f"table {table!r} may hold letters, digits, '.', '_' and '-' only")


def require_key(key: str) -> None:
    """Refuse what cannot be a key."""
    _require_text("key", key, limits.KEY_BYTES_MAX)


def require_unit(unit: str) -> None:
    """Refuse what cannot name a unit."""
    _require_text("unit", unit, limits.UNIT_BYTES_MAX)


def require_version(version: int) -> None:
    """Refuse what no binding's version can be."""
    if isinstance(version, bool) or not isinstance(version, int):
        raise InvalidArgument(f"version must be an int, not {type(version).__name__}: {version!r}")
    if not 1 <= version <= limits.VERSION_MAX:
        raise InvalidArgument(f"version {version} is out of range: 1 to {limits.VERSION_MAX}")
