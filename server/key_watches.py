"""In which group a watcher of one key goes on, that may have watched it in another before."""

from collections.abc import Mapping

from globaltable.server.core import NodeCore
from globaltable.topology import slot_of


def group_to_watch(core: NodeCore, name: bytes, after: Mapping[int, int]) -> int:
    """The group that holds the key, or one that held it, as long as the watcher has not been told
    of all that was changed there. `after` is its position."""
    topology = core.topology
    slot = slot_of(name, topology.slots)
    holder = core.routes.group_of(name)
    known = topology.groups
    for group, revision in after.items():
        if not core.refusal(group) and known[group].geo == known[holder].geo:
            holdings = core.replicas[group].table.holdings
            left = holdings.went_to(slot) is not None
            if left and revision < holdings.of(slot).revision:
                return group
    return holder
