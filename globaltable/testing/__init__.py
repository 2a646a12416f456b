"""A real cluster on this machine, for tests: processes, disks, sockets, and faults at hand.

::

    with LocalCluster(link_faults=True) as cluster:
        with SyncGlobalTable.connect(cluster.addresses.values(), table="im.session") as sessions:
            sessions.bind("cid:1", unit="A")
            cluster.kill("a")
            cluster.cut("b", "c")

With pytest it is the fixture `globaltable_cluster` (`pytest_plugin`). Needs `globaltable[server]`.
"""

from globaltable.testing.cluster import ClusterError, LocalCluster

__all__ = ["ClusterError", "LocalCluster"]
