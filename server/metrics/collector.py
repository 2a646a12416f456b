"""Metrics are collected when they are asked for, from where their state stands anyway.

Nothing is kept for their sake, so they cost nothing while nobody asks; what must be recorded as it
happens is in `measures`. `of_the_loop` runs on the event loop's thread, between turns, and only
copies numbers; text is made of them by who asks.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from globaltable import __version__
from globaltable.group import Replica
from globaltable.server.call_room import CallRoom
from globaltable.server.config import Config
from globaltable.server.core import NodeCore
from globaltable.server.health import Health
from globaltable.server.histogram import Histogram
from globaltable.server.live_topology import LiveTopology
from globaltable.server.measures import Measures
from globaltable.server.metrics import declared
from globaltable.server.metrics.declared import Kind, Metric
from globaltable.server.peers import PeerLinks
from globaltable.server.watches import Watches
from globaltable.store.lmdb_table import LmdbTableStore

Labels = tuple[str, ...]
Family = Any
"""Of prometheus-client, which has no common type for them that can be added to."""

_FAMILIES: Mapping[Kind, Any] = {
    Kind.GAUGE: GaugeMetricFamily,
    Kind.COUNTER: CounterMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
}


class _Families:
    """Samples by metric; a metric without samples is served all the same, with its help."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.by_metric: dict[Metric, Family] = {
            metric: _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
            for metric in metrics
        }

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        self.by_metric[metric].add_metric(labels, value)

    def add_histogram(self, metric: Metric, histogram: Histogram, *labels: str) -> None:
        bounds = [*map(repr, histogram.bounds_s), "+Inf"]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        self.by_metric[metric].add_metric(labels, buckets, histogram.sum_s)


class NodeCollector:
    """Of one node."""

    def __init__(
        self,
        *,
        config: Config,
        core: NodeCore,
        measures: Measures,
        links: PeerLinks,
        watches: Watches,
        live: LiveTopology,
        store: LmdbTableStore,
        health: Health,
        room: CallRoom,
    ) -> None:
        self._config = config
        self._core = core
        self._measures = measures
        self._links = links
        self._watches = watches
        self._live = live
        self._store = store
        self._health = health
        self._room = room
        self._directory = config.node(core.node).data_dir

    def of_the_loop(self) -> Sequence[Family]:
        """What is the loop's thread's: called there."""
        metrics = [one for one in declared.METRICS if one not in declared.OF_THE_DISK]
        families = _Families(metrics)
        self._add_node(families)
        self._add_ops(families)
        readiness = self._health.readiness
        families.add(declared.READY, readiness.is_ready)
        topology = self._core.topology
        for number in sorted({*self._core.replicas, *self._core.failures}):
            group = str(number)
            preferred = topology.preferred(topology.groups[number]) == self._core.node
            families.add(declared.GROUP_READY, not readiness.of_group(number), group)
            families.add(declared.GROUP_PREFERRED, preferred, group)
            families.add(declared.GROUP_FAILED, number in self._core.failures, group)
            if (replica := self._core.replicas.get(number)) is not None:
                _add_replica(families, group, replica)
        self._add_peers(families)
        return list(families.by_metric.values())

    def of_the_disk(self) -> Sequence[Family]:
        """What is asked of the file system, on any thread."""
        families = _Families(declared.OF_THE_DISK)
        for store in ("log", "table"):
            size = (self._directory / store / "data.mdb").stat().st_size
            families.add(declared.STORE_BYTES, size, store)
        file_system = os.statvfs(self._directory)
        families.add(declared.DISK_FREE, file_system.f_bavail * file_system.f_frsize)
        families.add(declared.DISK_SIZE, file_system.f_blocks * file_system.f_frsize)
        return list(families.by_metric.values())

    # --- on the loop's thread --------------------------------------------------------------------

    def _add_node(self, families: _Families) -> None:
        topology, limits = self._live.newest, self._config.limits
        region = topology.region_of.get(self._core.node, "")
        families.add(declared.NODE_INFO, 1, topology.cluster, self._core.node, region, __version__)
        families.add_histogram(declared.LOOP_LAG, self._measures.loop_lag)
        families.add(declared.TOPOLOGY_VERSION, topology.version)
        families.add(declared.TOPOLOGY_UNSETTLED, len(self._live.unsettled))
        families.add(declared.WATCHERS, len(self._watches))
        families.add(declared.WATCHERS_LIMIT, limits.watchers)
        families.add(declared.CALLS, self._room.calls)
        families.add(declared.CALLS_LIMIT, self._room.calls_max)
        families.add(declared.CALLS_REFUSED, self._room.refused)
        families.add(declared.PENDING_LIMIT, limits.pending_ops_per_group)
        families.add(declared.PEER_BUFFER_LIMIT, limits.peer_buffer_bytes)
        families.add(declared.PERSISTING, self._measures.persisting_for_s)
        families.add(declared.TABLE_ROWS, self._store.rows_stored)

    def _add_ops(self, families: _Families) -> None:
        measures = self._measures
        for (table, status), ops in measures.ops.items():
            families.add(declared.OPS, ops, table, status.name.lower())
        for (table, linearizable), keys in measures.keys_read.items():
            families.add(declared.KEYS_READ, keys, table, str(linearizable).lower())
        for (method, table), histogram in measures.requests.items():
            families.add_histogram(declared.REQUESTS, histogram, method, table)
        families.add_histogram(declared.COMMIT, measures.commit)
        for phase, histogram in measures.phases.items():
            families.add_histogram(declared.PHASES, histogram, phase.value)
        for number, changes in measures.leader_changes.items():
            families.add(declared.GROUP_LEADER_CHANGES, changes, str(number))

    def _add_peers(self, families: _Families) -> None:
        for node in self._live.newest.nodes:
            peer, region = node.name, node.region
            if peer == self._core.node:
                continue
            families.add(declared.PEER_CONNECTED, self._links.connected(peer), peer, region)
            buffered = self._links.buffered_bytes(peer)
            families.add(declared.PEER_BUFFER, buffered, peer, region)
            round_trip = self._links.round_trip(peer)
            if round_trip.samples:
                families.add(declared.PEER_ROUND_TRIP, round_trip.smooth_s, peer, region)


def _add_replica(families: _Families, group: str, replica: Replica) -> None:
    guard, table = replica.guard, replica.table
    journal = guard.journal
    families.add(declared.GROUP_LEADS, replica.is_leader, group)
    families.add(declared.GROUP_LED, guard.has_live_leader, group)
    families.add(declared.GROUP_TERM, guard.term, group)
    families.add(declared.GROUP_COMMITTED, guard.commit_index, group)
    families.add(declared.GROUP_APPLIED, table.applied, group)
    families.add(declared.GROUP_BEHIND, guard.entries_behind, group)
    families.add(declared.GROUP_LOG_ENTRIES, len(journal), group)
    families.add(declared.GROUP_LOG_BYTES, journal.size_bytes, group)
    families.add(declared.GROUP_UNFLUSHED, table.unflushed_rows, group)
    families.add(declared.GROUP_PENDING, replica.pending_ops, group)
    families.add(declared.GROUP_REBUILDING, bool(replica.rebuilding), group)
    if replica.is_leader:
        for peer in guard.fellows:
            behind = max(0, journal.last_index - guard.match_index(peer))
            families.add(declared.GROUP_FOLLOWER_BEHIND, behind, group, peer)
