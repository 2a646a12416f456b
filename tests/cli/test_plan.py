"""`globaltable plan`: what nodes measure becomes a section of the file, and makes its plan."""

import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from globaltable.cli.main import run
from globaltable.cli.plan import _make
from globaltable.client import GroupStatus, PeerStatus, Role, Status
from globaltable.errors import Unavailable
from globaltable.server.config import Address, Config, InjectedLatency, Placement
from globaltable.server.config_file import parse, render
from globaltable.testing import LocalCluster
from tests.client.scripted_node import dead_address

PAIRS_MS = {frozenset("ab"): 4.0, frozenset("bc"): 40.0, frozenset("ac"): 90.0}

EXAMPLE = parse(
    """
    cluster = "im"
    tables = ["im.session"]
    groups.count = 4
    [regions]
    a = {peer = "10.0.0.1:1", client = "10.0.0.1:2"}
    b = {peer = "10.0.0.2:1", client = "10.0.0.2:2"}
    c = {peer = "10.0.0.3:1", client = "10.0.0.3:2"}
    """,
    base_dir=Path("/srv"),
)


def _status(
    region: str,
    round_trips_ms: Mapping[str, float],
    leaders: str = "abca",
    preferred: str = "abca",
    term: int = 1,
) -> Status:
    return Status(
        cluster="im",
        node=region,
        region=region,
        version="1",
        uptime_s=100.0,
        tables=("im.session",),
        groups=tuple(
            GroupStatus(
                number, Role.FOLLOWER, term, leader.strip(), wanted, 1, 1, 1, 1, False, "", ""
            )
            for number, (leader, wanted) in enumerate(zip(leaders, preferred, strict=True))
        ),
        peers=tuple(PeerStatus(p, p, True, ms / 1_000) for p, ms in round_trips_ms.items()),
        slots=4_096,
    )


STATUSES = {
    "a": _status("a", {"b": 5.0, "c": 28.0}),
    "b": _status("b", {"a": 5.0, "c": 25.0}),
    "c": _status("c", {"a": 28.0, "b": 25.0}),
}


class TestPlan:
    def test_of_both_ends_of_a_link_the_less_busy_is_believed(self) -> None:
        busy = _status("b", {"a": 9.0, "c": 24.96})
        made = _make(EXAMPLE, {**STATUSES, "b": busy})
        assert made.placement == Placement(
            28.0, {frozenset("ab"): 5.0, frozenset("ac"): 28.0, frozenset("bc"): 25.0}
        )
        assert made.presumed == [] and made.disagreeing == []

    def test_what_a_commit_costs_with_either_plan(self) -> None:
        made = _make(EXAMPLE, STATUSES)
        assert list(made.present) == list(made.preferred) == [*"abca"]
        assert list(made.planned) == [*"bbbb"]
        # From c: 28 to a, twice; 25 to b; and 25 if it leads itself.
        assert made.before_ms == pytest.approx({"a": 10.75, "b": 10.0, "c": 26.5})
        assert made.after_ms == pytest.approx({"a": 5.0, "b": 5.0, "c": 25.0})

    def test_the_section_makes_every_node_come_to_that_plan(self) -> None:
        made = _make(EXAMPLE, STATUSES)
        topology = replace(EXAMPLE, placement=made.placement).topology()
        assert [group.preferred for group in topology.groups] == list(made.planned)

    def test_one_end_will_do_and_so_will_the_file(self) -> None:
        one = {"a": STATUSES["a"]}
        with pytest.raises(Unavailable, match="between b and c is not known"):
            _make(EXAMPLE, one)
        filed = replace(EXAMPLE, placement=Placement(40.0, {}, {"a": 1.0, "b": 1.0, "c": 2.0}))
        made = _make(filed, one)
        assert made.presumed == [frozenset("bc")]
        assert made.placement.pairs[frozenset("bc")] == 40.0
        assert made.placement.weights == {"a": 1.0, "b": 1.0, "c": 2.0}

    def test_the_latest_term_says_who_leads(self) -> None:
        later = _status("b", {"a": 5.0, "c": 25.0}, leaders=" cba", term=2)
        made = _make(EXAMPLE, {**STATUSES, "b": later})
        assert list(made.present) == [*"acba"]

    def test_a_node_that_reads_another_file_is_named(self) -> None:
        other = _status("b", {"a": 5.0, "c": 25.0}, preferred="bbbb")
        assert _make(EXAMPLE, {**STATUSES, "b": other}).disagreeing == ["b"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Led as if all links were equal."""
    with LocalCluster(
        groups=3, injected_latency=InjectedLatency(0.0, PAIRS_MS), placement=Placement(10.0)
    ) as running:
        until = time.monotonic() + 20.0
        while not all(
            peer.round_trip_s > 0 for region in "abc" for peer in running.status(region).peers
        ):
            assert time.monotonic() < until
            time.sleep(0.05)
        yield running


@pytest.mark.cluster
class TestCommand:
    def test_it_prints_a_section_that_the_file_takes(self, cluster: LocalCluster) -> None:
        command = [sys.executable, "-m", "globaltable", "plan", "--config"]
        ended = subprocess.run(
            [*command, cluster.config_path], capture_output=True, text=True, timeout=20, check=False
        )
        assert ended.returncode == 0, ended.stderr
        for title in ("ROUND TRIP", "LED BY", "FROM REGION"):
            assert title in ended.stdout
        section = ended.stdout[ended.stdout.index("[placement]") :]
        assert set(tomllib.loads(section)["placement"]["pairs"]) == {"a-b", "a-c", "b-c"}
        text = render(replace(cluster.config, placement=None)) + section
        assert isinstance(parse(text, base_dir=Path("/srv")), Config)

    def test_as_json(self, cluster: LocalCluster, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["plan", "--config", str(cluster.config_path), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["preferred_leaders"] == [*"abc"]
        assert set(told["planned_leaders"]) <= {*"abc"} and len(told["planned_leaders"]) == 3
        for pair, ms in PAIRS_MS.items():
            assert told["round_trips_ms"]["-".join(sorted(pair))] >= ms - 0.1
        assert told["not_measured"] == told["disagreeing"] == []

    def test_no_node_no_plan(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "cluster.toml"
        with ExitStack() as stack:
            regions = [
                replace(one, client=Address.parse(stack.enter_context(dead_address()), "client"))
                for one in EXAMPLE.nodes
            ]
            file.write_text(render(replace(EXAMPLE, nodes=tuple(regions))))
            assert run(["plan", "--config", str(file), "--timeout", "0.2"]) == 3
        printed = capsys.readouterr()
        assert "no node answers" in printed.err and not printed.out
