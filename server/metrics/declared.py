"""All metrics of a node: name, kind, labels and help. What is not here is not served.

Names follow Prometheus's conventions: `globaltable_`, the thing, the unit (seconds, bytes), and
`_total` for what only grows. A label's values are bounded: `group` by the topology, `table` by the
configuration, `peer` by the nodes, and the others by enumerations. Keys and units are never labels.
"""

import enum
from typing import Final, NamedTuple


class Kind(enum.Enum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """A counter's name is without the `_total` that it is served with."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str

    @property
    def series(self) -> tuple[str, ...]:
        """The names that its samples are served under."""
        match self.kind:
            case Kind.GAUGE:
                return (self.name,)
            case Kind.COUNTER:
                return (f"{self.name}_total",)
            case Kind.HISTOGRAM:
                return (f"{self.name}_bucket", f"{self.name}_count", f"{self.name}_sum")


def _gauge(name: str, help: str, *labels: str) -> Metric:  # noqa: A002
    return Metric(f"globaltable_{name}", Kind.GAUGE, labels, help)


def _counter(name: str, help: str, *labels: str) -> Metric:  # noqa: A002
    return Metric(f"globaltable_{name}", Kind.COUNTER, labels, help)


def _histogram(name: str, help: str, *labels: str) -> Metric:  # noqa: A002
    return Metric(f"globaltable_{name}", Kind.HISTOGRAM, labels, help)


# --- the node

NODE_INFO: Final = _gauge(
    "node_info", "1; who this node is.", "cluster", "node", "region", "version"
)
READY: Final = _gauge("ready", "Whether the node may be sent requests: as /readyz says.")
LOOP_LAG: Final = _histogram(
    "loop_lag_seconds", "How late the event loop came to what was due, a few times a second."
)
TOPOLOGY_VERSION: Final = _gauge("topology_version", "Of the newest topology this node knows.")
TOPOLOGY_UNSETTLED: Final = _gauge(
    "topology_unsettled_groups", "Groups not known to be as the newest topology wants them."
)

# --- writes and reads

OPS: Final = _counter(
    "ops", "Ops that ended here, by table and outcome (`overloaded`: refused).", "table", "outcome"
)
KEYS_READ: Final = _counter("keys_read", "Keys read here.", "table", "linearizable")
REQUESTS: Final = _histogram(
    "request_duration_seconds",
    "From the arrival of a request until all of it was answered.",
    "method",
    "table",
)
COMMIT: Final = _histogram(
    "commit_duration_seconds",
    "Of each batch that entered here, from the submission of what waited longest in it to its "
    "outcomes.",
)
PHASES: Final = _histogram(
    "commit_phase_duration_seconds",
    "Of each batch that entered here: `queue` until it was proposed, `replicate` from then until "
    "it was committed and applied. Of each turn: `persist` until the log was synced, `apply` what "
    "the loop spent on what it committed.",
    "phase",
)
PERSISTING: Final = _gauge(
    "log_persisting_seconds", "How long the log has been at its oldest write; 0 if at none."
)
WATCHERS: Final = _gauge("watchers", "Watches open here.")
WATCHERS_LIMIT: Final = _gauge("watchers_limit", "Watches that may be open here.")
CALLS: Final = _gauge("calls", "Calls under way here, streams among them.")
CALLS_LIMIT: Final = _gauge("calls_limit", "Calls that may be under way here.")
CALLS_REFUSED: Final = _counter("calls_refused", "Calls refused, for there was no room for more.")
PENDING_LIMIT: Final = _gauge("group_pending_ops_limit", "Ops of one group that may wait here.")

# --- groups, as the replica held here knows them

GROUP_READY: Final = _gauge("group_ready", "Whether it serves, and is not far behind.", "group")
GROUP_LEADS: Final = _gauge("group_is_leader", "Whether this replica leads.", "group")
GROUP_LED: Final = _gauge(
    "group_has_leader", "Whether this replica leads, or hears from who does.", "group"
)
GROUP_PREFERRED: Final = _gauge(
    "group_is_preferred_leader", "Whether this node is the one that should lead.", "group"
)
GROUP_TERM: Final = _gauge("group_term", "The Raft term.", "group")
GROUP_LEADER_CHANGES: Final = _counter(
    "group_leader_changes", "Times that another leader, or another term's, was seen.", "group"
)
GROUP_COMMITTED: Final = _gauge("group_commit_revision", "Committed up to here.", "group")
GROUP_APPLIED: Final = _gauge("group_applied_revision", "Applied up to here.", "group")
GROUP_BEHIND: Final = _gauge(
    "group_behind_entries", "Committed entries, told of by the leader, that are not here.", "group"
)
GROUP_FOLLOWER_BEHIND: Final = _gauge(
    "group_follower_behind_entries",
    "At the leader: entries of its log that a follower is not known to hold.",
    "group",
    "peer",
)
GROUP_LOG_ENTRIES: Final = _gauge("group_log_entries", "Entries in the log.", "group")
GROUP_LOG_BYTES: Final = _gauge("group_log_bytes", "Bytes of the entries in the log.", "group")
GROUP_UNFLUSHED: Final = _gauge(
    "group_unflushed_rows", "Rows applied and not yet written to the table.", "group"
)
GROUP_PENDING: Final = _gauge("group_pending_ops", "Ops that wait here for an outcome.", "group")
GROUP_FAILED: Final = _gauge(
    "group_out_of_service", "Whether the replica has stopped: damage, or a broken rule.", "group"
)
GROUP_REBUILDING: Final = _gauge(
    "group_rebuilding", "Whether the replica is being rebuilt, or joins.", "group"
)

# --- peers

PEER_CONNECTED: Final = _gauge("peer_connected", "Whether the link is up.", "peer", "region")
PEER_ROUND_TRIP: Final = _gauge(
    "peer_round_trip_seconds", "The least of the last pings, smoothed.", "peer", "region"
)
PEER_BUFFER: Final = _gauge("peer_send_buffer_bytes", "Unsent to the peer.", "peer", "region")
PEER_BUFFER_LIMIT: Final = _gauge(
    "peer_send_buffer_limit_bytes", "That may be unsent to a peer; beyond it, frames are dropped."
)

# --- the disk

TABLE_ROWS: Final = _gauge(
    "table_rows", "Rows in the table on disk, of all groups; tombstones are rows."
)
STORE_BYTES: Final = _gauge("store_bytes", "Of the data file.", "store")
DISK_FREE: Final = _gauge("disk_free_bytes", "Free where the data is.")

DISK_SIZE: Final = _gauge("disk_size_bytes", "Size of the file system that the data is on.")

OF_THE_DISK: Final = (STORE_BYTES, DISK_FREE, DISK_SIZE)
"""Read on the scraping thread; all others on the loop's."""

METRICS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
