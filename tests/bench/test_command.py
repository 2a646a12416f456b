"""The command, from its arguments to a real, tiny run."""

from pathlib import Path

import pytest

from globaltable.bench import command, results, workers
from globaltable.bench.activities.closed_loop import ClosedLoop
from globaltable.bench.injected import Injected
from globaltable.bench.round_trips import RoundTrips
from globaltable.bench.scenarios.registry import SCENARIOS
from globaltable.bench.scenarios.scenario import PINGS_AT_A_TIME
from globaltable.bench.systems.globaltable import GlobalTableTarget


@pytest.mark.parametrize("scenario", [*(one.name for one in SCENARIOS), "all", "report"])
def test_every_scenario_has_its_help(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([scenario, "--help"])
    assert ended.value.code == 0
    assert "--html" in capsys.readouterr().out


def test_the_short_options_of_all_are_understood() -> None:
    options = command.parser().parse_args(["all"])
    for scenario in SCENARIOS:
        command.parser().parse_args([scenario.name, *scenario.short])
    assert options.repeats >= 5


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["reads", "--pairs", "a-d=5", "--network", "injected"], "no such two regions"),
        (["report", "/nowhere/results.json"], "/nowhere/results.json"),
    ],
)
def test_wrong_usage_is_said(
    words: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(words) == 2
    assert wrong in capsys.readouterr().err


def test_pairs_are_read() -> None:
    options = command.parser().parse_args(["reads", "--pairs", "a-b=5,a-c=25,b-c=28"])
    assert options.pairs[frozenset("bc")] == 28.0
    with pytest.raises(SystemExit):
        command.parser().parse_args(["reads", "--pairs", "a=5"])


@pytest.mark.cluster
@pytest.mark.slow
def test_a_tiny_run_writes_its_results_and_its_page(tmp_path: Path) -> None:
    files = {kind: tmp_path / f"results.{kind}" for kind in ("json", "html")}
    words = [
        "commit-latency",
        "--network",
        "injected",
        "--round-trip-ms",
        "2",
        "--ops",
        "3",
        "--repeats",
        "1",
    ]
    words += ["--json", str(files["json"]), "--html", str(files["html"])]
    assert command.main(words) == 0
    report = results.load(files["json"])
    (one,) = report.measurements
    assert {region: h.count for region, h in one.latencies.items()} == {"a": 3, "b": 3, "c": 3}
    assert all(one.figures[f"failed:{region}"] == 0 for region in "abc")
    # Nothing is faster than what is injected.
    assert all(h.percentile_ms(0) >= 2.0 for h in one.latencies.values())
    assert all(h.percentile_ms(0) >= 2.0 for h in report.pings.values())
    assert one.figures["limit_p50_ms:a"] >= 2.0
    assert "Commit latency" in files["html"].read_text()


@pytest.mark.cluster
@pytest.mark.slow
def test_a_run_over_links_alike_is_played_over_unequal_ones_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    words = ["create-latency", "--network", "injected", "--round-trip-ms", "2"]
    words += ["--unequal-ms", "2,8,9", "--ops", "3", "--repeats", "1", "--json", str(path)]
    assert command.main(words) == 0
    report = results.load(path)
    played = [(one.case["round_trips"], one.case["leaders"]) for one in report.measurements]
    assert played == [
        ("2 ms", "planned"),
        ("a-b 2, a-c 8, b-c 9 ms", "planned"),
        ("a-b 2, a-c 8, b-c 9 ms", "in turn"),
    ]
    for one in report.measurements:
        assert {what: h.count for what, h in one.latencies.items()} == {
            f"{kind}, {region}": 3 for kind in ("minted", "given") for region in "abc"
        }
    # Pings of the other links are held against their own sessions only.
    assert report.round_trips_ms == {"a-b": 2.0, "a-c": 2.0, "b-c": 2.0}
    assert {seen.count for seen in report.pings.values()} == {2 * PINGS_AT_A_TIME}
    assert report.measurements[1].figures["floor_ms:c"] >= 0.999 * 8.0
    assert "a-b 2, a-c 8, b-c 9 ms, leaders in turn" in " ".join(capsys.readouterr().out.split())


@pytest.mark.cluster
def test_what_needs_namespaces_is_said_to_be_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    words = ["compare", "--network", "injected", "--round-trip-ms", "0", "--repeats", "1"]
    assert command.main([*words, "--json", str(path)]) == 0
    (why,) = results.load(path).skipped
    assert "namespaces" in why
    assert "namespaces" in capsys.readouterr().out


def test_a_load_process_that_fails_says_why_and_is_gone() -> None:
    network = Injected(("a",), RoundTrips(0.0))
    nobody = GlobalTableTarget(("127.0.0.1:1",), timeout_s=0.2)
    placement = workers.Placement("a", nobody, ClosedLoop(1, 1.0))
    with pytest.raises(workers.WorkerFailed, match=r"in a: ended early; it said: .*ConnectFailed"):
        workers.run(network, "k", [placement], 30.0)
    children = Path("/proc/self/task").glob("*/children")
    commands = [
        Path(f"/proc/{pid}/cmdline").read_bytes()
        for listed in children
        for pid in listed.read_text().split()
    ]
    assert not any(b"globaltable.bench.worker" in words for words in commands)
