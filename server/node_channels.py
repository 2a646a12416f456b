"""Channels from this node to the client ports of others: shown there is its own certificate.

With TLS everything this node asks of another goes by its certificate as a node, which `rules` allow
only what nodes ask of each other. A channel is kept for its address, and made anew once the
certificate has been.

Invariant, with TLS: no channel outlives the certificate that it was opened with, nor is one used
that is older than `AGE_S_MAX`: so the other end, too, has shown that it is still believed.
"""

import math
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import grpc
import grpc.aio

from globaltable.server.tls import Certificates

AGE_S_MAX: Final = 60.0
"""What is asked comes in bursts; a handshake a minute is nothing."""


class _Kept(NamedTuple):
    channel: grpc.aio.Channel
    credentials: grpc.ChannelCredentials | None
    until_s: float
    """By the clock."""


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
        now_s = time.time()
        await self._close_old(now_s)
        kept = self._kept.get(address)
        if kept is not None and kept.credentials is credentials:
            return kept.channel
        until_s = math.inf
        if certificates is not None:
            # One that has expired already is refused at the handshake, which says so.
            expires_at_s = certificates.expires_at_s
            until_s = min(now_s + AGE_S_MAX, expires_at_s if expires_at_s > now_s else math.inf)
        channel = (
            grpc.aio.insecure_channel(address, options=self._options)
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, options=self._options)
        )
        self._kept[address] = _Kept(channel, credentials, until_s)
        if kept is not None:
            await kept.channel.close(None)
        return channel

    async def _close_old(self, now_s: float) -> None:
        for address, one in list(self._kept.items()):
            # A clock that was set back must not keep one for long.
            if not now_s < one.until_s <= now_s + AGE_S_MAX and one.until_s < math.inf:
                del self._kept[address]
                await one.channel.close(None)

    async def close(self) -> None:
        kept, self._kept = self._kept, {}
        for one in kept.values():
            await one.channel.close(None)
