"""Real nodes, one of them killed and restarted under load: what every client was told is judged.

The promises: ops on a key are linearizable, a key and version have one unit, and local reads tell
what has been, whatever happens to a node meanwhile.
"""

import asyncio
from pathlib import Path

import pytest

from globaltable.testing import LocalCluster
from tests.faults.history import Ending, Event, Kind, write_history
from tests.faults.judge import Promise, judge
from tests.faults.recorder import Recorder
from tests.faults.workload import TABLE, Lives, Plan, run

pytestmark = pytest.mark.cluster


async def _with_a_kill(cluster: LocalCluster, plan: Plan, killed: str) -> list[Event]:
    """The node is gone for a while, and back before the end."""
    recorder, lives = Recorder(), Lives()
    async with asyncio.TaskGroup() as group:
        group.create_task(run(plan, cluster.addresses, recorder, lives))
        await asyncio.sleep(plan.seconds / 4)
        lives.end(killed)
        cluster.kill(killed)
        lives.begin(killed)
        await asyncio.sleep(plan.seconds / 5)
        cluster.start(killed)
    return recorder.history()


@pytest.fixture(scope="module")
def history() -> list[Event]:
    # Those who are given the killed node alone run out of time while it is away.
    plan = Plan(seed=1, seconds=3.6, timeout_s=0.5)
    with LocalCluster(tables=[TABLE], groups=3) as cluster:
        return asyncio.run(_with_a_kill(cluster, plan, "a"))


def test_what_clients_were_told_while_a_node_was_killed_is_linearizable(
    history: list[Event], tmp_path: Path
) -> None:
    judgement = judge(history)
    path = tmp_path / "history.jsonl"
    write_history(path, history)
    assert judgement.kept, f"{judgement}\nto judge it again: python -m tests.faults.judge {path}"
    assert judgement.endings[Ending.OK] > 300, judgement
    assert judgement.contended > 20, judgement
    assert judgement.endings[Ending.FAILED] + judgement.endings[Ending.UNKNOWN] > 0, judgement
    assert {event.kind for event in history if event.ending is Ending.OK} == set(Kind)
    local = {e.replica for e in history if e.kind is Kind.LOCAL_GET and e.ending is Ending.OK}
    assert {"a.0", "b.0", "c.0"} <= local, "reads of one node that can be held against each other"


def test_a_lie_told_in_this_very_history_is_found(history: list[Event]) -> None:
    """Else the judge would be of no use for histories of this kind."""
    seen = {e.told.unit for e in history if e.kind is Kind.GET and e.told is not None}
    moved = [e for e in history if e.kind is Kind.MOVE and e.ending is Ending.OK and e.told]
    (move, *_) = [event for event in moved if event.unit in seen]
    assert move.told is not None
    lies = {
        Promise.ONE_UNIT: move._replace(told=move.told._replace(version=move.version)),
        Promise.LINEARIZABLE: move._replace(ending=Ending.FAILED, told=None),
    }
    for promise, lie in lies.items():
        violations = judge(lie if event is move else event for event in history).violations
        assert promise in {violation.promise for violation in violations}
