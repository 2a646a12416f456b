"""The channels of one client by node, and what each was opened with. The same for both clients.

Responsible for what is connected to, and for when a connection is out of date; the shell says when
to open one, and closes what is taken from here, each in its way.
"""

from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar

import grpc

from globaltable.client._lanes import methods_of
from globaltable.client._settings import CHANNEL_OPTIONS
from globaltable.client.tls import Credentials, Options

C = TypeVar("C", bound=grpc.Channel | grpc.aio.Channel)


class Connections(Generic[C]):
    """`open_channel` is of `tls`."""

    def __init__(
        self,
        credentials: Credentials,
        open_channel: Callable[[str, grpc.ChannelCredentials | None, Options], C],
    ) -> None:
        self._credentials = credentials
        self._open_channel = open_channel
        self._channels: dict[int, C] = {}
        self._methods: dict[int, dict[str, Any]] = {}
        self._shown: dict[int, grpc.ChannelCredentials | None] = {}

    @property
    def channels(self) -> Collection[C]:
        return self._channels.values()

    def each(self, method: str) -> list[Any]:
        """A method of each node that is connected to."""
        return [methods[method] for methods in self._methods.values()]

    def methods(self, node: int) -> dict[str, Any] | None:
        """What can be called there; None if it is not connected to."""
        return self._methods.get(node)

    def open(self, node: int, address: str) -> dict[str, Any]:
        """Connect to a node that is not; what can be called there."""
        shown = self._shown[node] = self._credentials.newest()
        channel = self._channels[node] = self._open_channel(address, shown, CHANNEL_OPTIONS)
        methods = self._methods[node] = methods_of(channel)
        return methods

    def is_outdated(self, node: int) -> bool:
        """Whether the certificate that is shown there has been renewed since: if the node is down,
        it may have refused one that has expired."""
        return node in self._shown and self._credentials.newest() is not self._shown[node]

    def take(self, node: int) -> C | None:
        """There is no connection to the node any more but the one returned, which is to be
        closed."""
        self._shown.pop(node, None)
        self._methods.pop(node, None)
        return self._channels.pop(node, None)
