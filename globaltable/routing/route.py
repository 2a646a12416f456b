"""A route: where one key of one dimension lives, as it is cached, signed and carried.

It says what was true when it was made. Whether it still is, only the unit's own fence or
GlobalTable can say; `version` is what the two are compared by.
"""

from typing import NamedTuple


class Route(NamedTuple):
    """`dimension` is what is routed ("chat", "document"), `key` the one of it, `unit` its owner.

    `version` is the binding's: 1 at bind, one more at each move, never reused. A route is to be
    used until `expires_at_s` (seconds since the epoch).
    """

    dimension: str
    key: str
    unit: str
    version: int
    expires_at_s: int
