"""Once the faults are over a cluster recovers, within a bound: whether it did.

Responsible for liveness: every node runs, every group has a leader and no failed replica, all
replicas have applied the same and hold the same, and a write through each node is acknowledged.
"""

import time
from typing import Final

import grpc

from globaltable.client import SyncGlobalTable
from globaltable.errors import GlobalTableError
from globaltable.model import Binding
from globaltable.testing import ClusterError, LocalCluster
from tests.faults.workload import TABLE

RECOVERY_TIMEOUT_S: Final = 40.0
_POLL_S: Final = 0.1
_WRITE_TIMEOUT_S: Final = 10.0


class NotRecovered(AssertionError):
    """What does not go on, or is not the same, although nothing is at fault any more."""


def wait_recovered(cluster: LocalCluster, timeout_s: float = RECOVERY_TIMEOUT_S) -> float:
    """How many seconds it took. Raises `NotRecovered`. No client may write meanwhile."""
    began = time.monotonic()
    deadline = began + timeout_s
    try:
        cluster.wait_ready(timeout_s)
        for region, address in cluster.addresses.items():
            with SyncGlobalTable.connect([address], table=TABLE, discover=False) as client:
                client.bind(f"recovered:{region}:{began}", region, timeout=_WRITE_TIMEOUT_S)
        _wait_applied(cluster, deadline)
        first, *others = [held(cluster, region) for region in cluster.regions]
    except (ClusterError, GlobalTableError) as error:
        raise NotRecovered(f"{type(error).__name__}: {error}") from error
    for region, other in zip(cluster.regions[1:], others, strict=True):
        if other != first:
            differing = sorted(key for key in {*first, *other} if first.get(key) != other.get(key))
            shown = [(key, first.get(key), other.get(key)) for key in differing[:3]]
            raise NotRecovered(
                f"{cluster.regions[0]} and {region} differ in {len(differing)} keys: {shown}"
            )
    return time.monotonic() - began


def held(cluster: LocalCluster, region: str) -> dict[str, Binding]:
    """Every binding as the region's own replicas hold it."""
    address = cluster.addresses[region]
    with SyncGlobalTable.connect([address], table=TABLE, discover=False) as client:
        return dict(client.scan(timeout=_WRITE_TIMEOUT_S))


def _wait_applied(cluster: LocalCluster, deadline: float) -> None:
    while True:
        stands = {}
        for region in cluster.regions:
            try:
                groups = cluster.status(region).groups
            except grpc.RpcError as error:
                stands[region] = repr(error)
            else:
                stands[region] = str([group.applied_revision for group in groups])
        if len(set(stands.values())) == 1:
            return
        if time.monotonic() > deadline:
            raise NotRecovered(f"replicas have not applied the same: {stands}")
        time.sleep(_POLL_S)
