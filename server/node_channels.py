"""Channels from this node to the client ports of others: shown there is its own certificate.

With TLS everything this node asks of another goes by its certificate as a node, which `rules` allow
only what nodes ask of each other. A channel is kept for its address, and made anew once the
certificate has been.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc
import grpc.aio

from globaltable.server.tls import Certificates


class _Kept(NamedTuple):
    channel: grpc.aio.Channel
    credentials: grpc.ChannelCredentials | None


class NodeChannels:
    def __init__(self, certificates: Certificates | None, options: Sequence[tuple[str, Any]] = ()):
        """Without certificates everything goes in the clear."""
        self._certificates = certificates
        self._options = options
        self._kept: dict[str, _Kept] = {}
        """By address."""

    async def to(self, address: str) -> grpc.aio.Channel:
        """To whoever listens there."""
        certificates = self._certificates
        credentials = certificates.grpc_dialling if certificates is not None else None
        kept = self._kept.get(address)
        if kept is not None and kept.credentials is credentials:
            return kept.channel
        channel = (
            grpc.aio.insecure_channel(address, options=self._options)
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, options=self._options)
        )
        self._kept[address] = _Kept(channel, credentials)
        if kept is not None:
            await kept.channel.close(None)
        return channel

    async def close(self) -> None:
        kept, self._kept = self._kept, {}
        for one in kept.values():
            await one.channel.close(None)
