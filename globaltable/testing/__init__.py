"""A real cluster on this machine, for tests: processes, disks, sockets, and faults at hand.

::

    with LocalCluster(round_trip_ms=10) as cluster:
        with SyncGlobalTable.connect(cluster.addresses.values(), table="im.session") as sessions:
            sessions.bind("cid:1", unit="A")
            cluster.kill("a")
"""

from globaltable.testing.cluster import ClusterError, LocalCluster

__all__ = ["ClusterError", "LocalCluster"]
