"""The client library: `GlobalTable` for asyncio, `SyncGlobalTable` for threads.

::

    async with GlobalTable.connect(["127.0.0.1:7101"], table="im.session") as sessions:
        binding = await sessions.bind("cid:1001", unit="A")
        binding = await sessions.move("cid:1001", to="B", version=binding.version)
        key, binding = await sessions.create(unit="A")

Both are thin shells over one exchange that does no I/O: `_exchange` decides what is sent where
and when, `_attempts` what a failure means, `_nodes` which node is asked. Errors are those of
`globaltable.errors`, and `ClientClosed`.
"""

from globaltable.client._async_watch import Watch
from globaltable.client._asynchronous import GlobalTable
from globaltable.client._creating import Created
from globaltable.client._settings import USE_CLIENT_DEFAULT, ClientClosed, UseClientDefault
from globaltable.client._sync_watch import SyncWatch
from globaltable.client._synchronous import SyncGlobalTable
from globaltable.client.tls import TlsConfig, TlsToken
from globaltable.client.values import (
    Change,
    ChangeKind,
    GroupStatus,
    PeerStatus,
    Role,
    Status,
)
from globaltable.model import Binding

__all__ = [
    "USE_CLIENT_DEFAULT",
    "Binding",
    "Change",
    "ChangeKind",
    "ClientClosed",
    "Created",
    "GlobalTable",
    "GroupStatus",
    "PeerStatus",
    "Role",
    "Status",
    "SyncGlobalTable",
    "SyncWatch",
    "TlsConfig",
    "TlsToken",
    "UseClientDefault",
    "Watch",
]
