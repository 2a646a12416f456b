"""Every private seam of PySyncObj that the adaptor reaches for, and that nothing is pickled.

If one of these fails after an upgrade, a seam has moved: read `globaltable/raft/adaptor.py` again
beside the new `pysyncobj/syncobj.py` before changing anything here.
"""

import importlib.metadata
import inspect
import pickle
import random
import re
from typing import Any

import pysyncobj.syncobj
import pytest
from pysyncobj import SyncObj, SyncObjConf

from globaltable.members import Members
from globaltable.raft import adaptor
from globaltable.raft.adaptor import PRIVATE_GLOBALS, PRIVATE_NAMES, Adaptor, Role
from globaltable.raft.journal import InvariantViolated, Journal
from globaltable.raft.messages import Held
from globaltable.store.log import LogImage
from tests.raft.rig import ROOT, Rig, ack, append, command, entries


def _adaptor(journal: Journal | None = None) -> Adaptor:
    return Adaptor(
        node="a",
        members=Members(("a", "b", "c")),
        journal=journal or Journal(0, LogImage((ROOT,)), 1, 0),
        applied=1,
        timing=adaptor.Timing(),
        rng=random.Random(1),
        now=100.0,
        send=lambda peer, message: None,
    )


def test_the_version_is_the_one_the_seams_were_read_in() -> None:
    assert importlib.metadata.version("pysyncobj") == adaptor.PYSYNCOBJ_VERSION
    requires = importlib.metadata.requires("globaltable") or []
    assert any(f"pysyncobj=={adaptor.PYSYNCOBJ_VERSION}" in line for line in requires)


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_a_private_name_is_an_attribute_of_a_constructed_object(name: str) -> None:
    assert hasattr(_adaptor().core, name)


def test_every_private_name_that_the_adaptor_uses_is_listed() -> None:
    used = set(re.findall(r"_SyncObj__\w+", inspect.getsource(adaptor)))
    assert used == set(PRIVATE_NAMES)


@pytest.mark.parametrize("name", PRIVATE_GLOBALS)
def test_a_private_global_is_one_of_the_module_and_is_read_by_its_code(name: str) -> None:
    assert hasattr(pysyncobj.syncobj, name)
    assert inspect.getsource(pysyncobj.syncobj).count(name) > 1


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("doTick", ["self", "timeToWait"]),
        ("_checkCommandsToApply", ["self"]),
        ("transferLeadership", ["self", "node", "callback"]),
        ("_applyCommand", ["self", "command", "callback", "commandType"]),
    ],
)
def test_a_method_takes_what_the_adaptor_gives(name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(SyncObj, name)).parameters) == parameters


def test_the_settings_exist() -> None:
    conf = SyncObjConf()
    for name in (
        "autoTick",
        "commandsQueueSize",
        "raftMinTimeout",
        "raftMaxTimeout",
        "appendEntriesPeriod",
        "leaderFallbackTimeout",
        "appendEntriesUseBatch",
        "appendEntriesBatchSizeBytes",
        "logCompactionMinEntries",
        "dynamicMembershipChange",
    ):
        assert hasattr(conf, name)


def test_the_numbers_of_the_states_are_the_librarys() -> None:
    states = pysyncobj.syncobj._RAFT_STATE
    assert tuple(Role) == (states.FOLLOWER, states.CANDIDATE, states.LEADER)


def test_replicas_share_nothing_with_each_other_or_with_the_library() -> None:
    one, other = _adaptor().core, _adaptor().core
    assert type(one) is not type(other)
    assert type(one) is not SyncObj
    assert pysyncobj.syncobj.pickle.loads(pickle.dumps(1)) == 1


def test_nothing_is_pickled_in_a_life_of_elections_and_entries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("pickled")

    for name in ("dumps", "loads"):
        monkeypatch.setattr(pickle, name, refuse)
        monkeypatch.setattr(pysyncobj.syncobj.pickle, name, refuse)
    rig = Rig(1).elect()
    rig.guard.append(command(7))
    rig.turn()
    rig.tell("b", ack(2, 4))
    assert rig.guard.commit_index == 4
    rig.tell("b", append(3, (4, 2), entries(3, after=4)), Held(3, 5))
    assert rig.guard.commit_index == 5


@pytest.mark.parametrize("name", ["loads", "dumps", "load", "dump"])
def test_whatever_would_pickle_stops_the_replica(name: str) -> None:
    core = _adaptor().core
    module_globals = type(core).doTick.__globals__
    with pytest.raises(InvariantViolated, match="pickle"):
        getattr(module_globals["pickle"], name)(b"")


def test_the_library_takes_no_snapshot_and_drops_no_entry() -> None:
    rig = Rig(1, 1, 1, committed=4)
    for _ in range(200):
        rig.turn(5.0)
    assert rig.log == [0, 1, 1, 1]
