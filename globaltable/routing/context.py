"""What is known of who asks for a route: a plain value that rules and policies look at."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from globaltable.errors import InvalidArgument, LimitExceeded

ATTRIBUTES_MAX: Final = 16
ATTRIBUTE_CHARACTERS_MAX: Final = 256

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Context(NamedTuple):
    """All of it may be left out; a policy that asks for what is not there has no opinion."""

    region: str = ""
    """Where the client is."""
    creator: str = ""
    """Who creates the session: a key of the policy's home dimension."""
    attributes: Mapping[str, str] = _NONE
    """What else the application knows: {"tier": "vip", "kind": "education"}."""

    def require_valid(self) -> None:
        """Refuse what is too much, or no text. Raises `InvalidArgument`, `LimitExceeded`."""
        if len(self.attributes) > ATTRIBUTES_MAX:
            raise LimitExceeded(
                f"{len(self.attributes)} attributes in a context; at most {ATTRIBUTES_MAX}"
            )
        texts = [("region", self.region), ("creator", self.creator), *self.attributes.items()]
        for name, value in texts:
            if not isinstance(name, str) or not isinstance(value, str):
                raise InvalidArgument(f"{name!r} = {value!r} of a context: give text")
            if (
                len(name.encode()) > ATTRIBUTE_CHARACTERS_MAX
                or len(value.encode()) > ATTRIBUTE_CHARACTERS_MAX
            ):
                raise LimitExceeded(
                    f"{name[:32]!r} of a context is over {ATTRIBUTE_CHARACTERS_MAX} characters long"
                )


NO_CONTEXT: Final = Context()
