"""Data of a cluster as of before there were levels: made of what this release has just founded.

Only what was added with levels is taken away again; nothing else of a level above the first may
have been written. `test_older_release` has data that an older release wrote itself.
"""

from dataclasses import replace
from pathlib import Path

from globaltable.levels import FIRST
from globaltable.store import durable_file, known_topology
from globaltable.testing import LocalCluster
from globaltable.wire.packing import pack, unpack


def founded_before(cluster: LocalCluster) -> None:
    """Stop the nodes of a new cluster, and start them as if an older release had founded it."""
    for node in cluster.nodes:
        assert cluster.terminate(node) == 0
        without_level(cluster.data_dir(node))
    cluster.start()
    cluster.wait_ready()


def without_level(directory: Path) -> None:
    known = known_topology.load(directory)
    assert known is not None and known.newest.version == 0, "decided topologies are in group 0 too"
    founded = replace(known.newest, level=FIRST)
    known_topology.forget(directory)
    known_topology.keep(directory, known._replace(newest=founded, founding=founded))
    identity = dict(unpack((directory / "identity").read_bytes()))
    del identity["level"]
    durable_file.replace(directory / "identity", pack([*{**identity, "format": 1}.items()]))
