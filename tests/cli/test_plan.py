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
from globaltable.geo import Geo
from globaltable.server.config import Address, Config, GeoConfig, InjectedLatency, Placement
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
        assert made.plan.presumed == [] and made.disagreeing == []

    def test_what_a_commit_costs_with_either_plan(self) -> None:
        made = _make(EXAMPLE, STATUSES).plan
        assert list(made.present) == list(made.preferred) == [*"abca"]
        assert list(made.planned) == [*"bbbb"]
        (default,) = made.geos
        # From c: 28 to a, twice; 25 to b; and 25 if it leads itself.
        assert default.before_ms == pytest.approx({"a": 10.75, "b": 10.0, "c": 26.5})
        assert default.after_ms == pytest.approx({"a": 5.0, "b": 5.0, "c": 25.0})

    def test_what_it_would_cost_with_any_other_region_leading(self) -> None:
        (default,) = _make(EXAMPLE, STATUSES).plan.geos
        assert [one.region for one in default.placements] == [*"bac"], "the best first"
        led_by_c = default.placements[2]
        assert led_by_c.commit_ms == pytest.approx({"a": 28.0, "b": 25.0, "c": 25.0})
        assert led_by_c.mean_ms == pytest.approx(26.0)
        weighed = _make(EXAMPLE, STATUSES, {"a": 0.0, "b": 3.0, "c": 1.0}).plan.geos[0]
        assert weighed.placements[2].mean_ms == pytest.approx(25.0)

    def test_a_region_that_is_to_lead_does(self) -> None:
        made = _make(EXAMPLE, STATUSES, None, {"": "c"}).plan
        assert list(made.planned) == [*"cccc"]
        assert made.geos[0].after_ms == made.geos[0].placements[2].commit_ms

    def test_geos_are_planned_each_for_its_own_callers(self) -> None:
        geo = GeoConfig(Geo("g", ("b", "c", "d"), ("g.*",)), groups=2)
        four = (*EXAMPLE.nodes, replace(EXAMPLE.nodes[0], name="d", region="d"))
        config = replace(EXAMPLE, nodes=four, groups=1, geos=(geo,))
        far = {"a": 80.0, "b": 70.0, "c": 9.0}
        statuses = {
            name: _status(name, {**trips, "d": far[name]}, leaders="bbc", preferred="bbc")
            for name, trips in (("a", {"b": 5.0, "c": 28.0}), ("b", {"c": 25.0}), ("c", {}))
        }
        made = _make(config, statuses).plan
        default, own = made.geos
        assert (own.geo, own.groups, default.groups) == ("g", [1, 2], [0])
        assert own.before_ms == pytest.approx({"b": 25.0, "c": 17.0, "d": 39.5})
        assert own.after_ms == pytest.approx({"b": 25.0, "c": 9.0, "d": 9.0})
        assert list(made.planned[1:]) == ["c", "c"]

    def test_the_section_makes_every_node_come_to_that_plan(self) -> None:
        made = _make(EXAMPLE, STATUSES)
        topology = replace(EXAMPLE, placement=made.placement).topology()
        assert [group.preferred for group in topology.groups] == list(made.plan.planned)

    def test_one_end_will_do_and_so_will_the_file(self) -> None:
        one = {"a": STATUSES["a"]}
        with pytest.raises(Unavailable, match="between b and c is not known"):
            _make(EXAMPLE, one)
        filed = replace(EXAMPLE, placement=Placement(40.0, {}, {"a": 1.0, "b": 1.0, "c": 2.0}))
        made = _make(filed, one)
        assert made.plan.presumed == [frozenset("bc")]
        assert made.placement.pairs[frozenset("bc")] == 40.0
        assert made.placement.weights == {"a": 1.0, "b": 1.0, "c": 2.0}

    def test_the_latest_term_says_who_leads(self) -> None:
        later = _status("b", {"a": 5.0, "c": 25.0}, leaders=" cba", term=2)
        made = _make(EXAMPLE, {**STATUSES, "b": later})
        assert list(made.plan.present) == [*"acba"]

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
@pytest.mark.long
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

    def test_options_that_name_nothing_are_refused(
        self, cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
    ) -> None:
        endpoints = ("--endpoints", ",".join(cluster.addresses.values()))
        for words in (
            ("--weight", "z=1"),
            ("--weight", "a=1"),
            ("--weight", "a=-1"),
            ("--leader", "z"),
            ("--leader", "g=a"),
            ("--apply", "--config", str(cluster.config_path)),
        ):
            assert run(["plan", *words, *endpoints]) == 2, words
        assert capsys.readouterr().out == ""

    def test_the_running_cluster_is_planned_and_led_so(
        self, cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """By what its nodes measure, and by its own topology: no file is asked."""
        endpoints = ("--endpoints", cluster.addresses["c"])
        assert run(["plan", *endpoints]) == 0
        shown = capsys.readouterr().out
        for said in ("ROUND TRIP", "PREFERRED", "ALL LED FROM", "plan again", "plan --apply"):
            assert said in shown
        assert run(["plan", "--apply", "--json", *endpoints]) == 0
        planned, *_, done = map(json.loads, capsys.readouterr().out.splitlines())
        assert planned["preferred_leaders"] == [*"abc"]
        assert planned["planned_leaders"] == [*"bbb"] and done["done"]
        assert [g.leader_region for g in cluster.status("a").groups] == [*"bbb"]
        for pair, ms in PAIRS_MS.items():
            assert planned["round_trips_ms"]["-".join(sorted(pair))] >= ms - 0.1
        assert run(["plan", "--apply", *endpoints]) == 0
        assert "set already" in capsys.readouterr().out
        assert run(["plan", "--apply", "--leader", "c", *endpoints]) == 0
        assert "as wanted" in capsys.readouterr().out
        assert [g.leader_region for g in cluster.status("a").groups] == [*"ccc"]
