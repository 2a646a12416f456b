"""The activities by name, as a job in JSON gives them."""

from dataclasses import asdict
from typing import Any, Final

from globaltable.bench.activities.closed_loop import ClosedLoop
from globaltable.bench.activities.gets import Gets
from globaltable.bench.activities.idle_connections import IdleConnections
from globaltable.bench.activities.idle_watches import IdleWatches
from globaltable.bench.activities.mints import Mints
from globaltable.bench.activities.open_loop import OpenLoop
from globaltable.bench.activities.rounds import Rounds
from globaltable.bench.activities.traced import Traced

AnyActivity = ClosedLoop | OpenLoop | Rounds | Traced | Gets | IdleConnections | IdleWatches | Mints

_BY_NAME: Final[dict[str, type[AnyActivity]]] = {
    kind.__name__: kind
    for kind in (
        ClosedLoop,
        OpenLoop,
        Rounds,
        Traced,
        Gets,
        IdleConnections,
        IdleWatches,
        Mints,
    )
}


def to_json(activity: AnyActivity) -> dict[str, Any]:
    return {"name": type(activity).__name__, "fields": asdict(activity)}


def from_json(document: dict[str, Any]) -> AnyActivity:
    return _BY_NAME[document["name"]](**document["fields"])
