"""Promise: dashboard and alerts ask for metrics that there are; each alert fires when it should.

Prometheus's own `promtool` judges the expressions where it is installed (`.ci/run` sees to it).
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from globaltable.server.metrics.declared import METRICS

ROOT: Final = Path(__file__).parents[2]
ALERTS: Final = ROOT / "deploy" / "prometheus" / "alerts.yml"
ALERTS_TESTED: Final = Path(__file__).parent / "alerts_test.yml"
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "globaltable.json"
OPERATIONS: Final = ROOT / "docs" / "operations.md"

SERIES: Final = {series for metric in METRICS for series in metric.series}
LABELS_OF: Final = {series: set(metric.labels) for metric in METRICS for series in metric.series}
OF_THE_SCRAPE: Final = {"job", "instance", "le"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)


def _promtool(*arguments: str | Path) -> None:
    run = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def _expressions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("expr"), str):
            yield value["expr"]
        for inner in value.values():
            yield from _expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _expressions(inner)


def _of_dashboard() -> list[str]:
    return list(_expressions(json.loads(DASHBOARD.read_text())))


def _alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", ALERTS.read_text())


def test_every_metric_asked_for_is_declared() -> None:
    for text in (*_of_dashboard(), ALERTS.read_text()):
        for name in re.findall(r"\bglobaltable_\w+", text):
            assert name in SERIES, f"{name} is asked for by {text[:200]}"


def test_every_label_selected_is_one_of_its_metric() -> None:
    found = 0
    for text in (*_of_dashboard(), ALERTS.read_text(), ALERTS_TESTED.read_text()):
        for name, selector in re.findall(r"\b(globaltable_\w+)\{([^}]*)\}", text):
            for label in re.findall(r"(\w+)\s*=~?\"", selector):
                found += 1
                assert label in LABELS_OF[name] | OF_THE_SCRAPE, f"{name}{{{selector}}}"
    assert found > 100


def test_every_metric_is_on_the_dashboard() -> None:
    """One that nobody ever sees is not worth its bytes."""
    shown = " ".join([*_of_dashboard(), DASHBOARD.read_text()])
    for metric in METRICS:
        assert any(re.search(rf"\b{series}\b", shown) for series in metric.series), metric.name


def test_the_panels_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


@needs_promtool
def test_alerts_fire_when_they_should_and_not_otherwise() -> None:
    _promtool("check", "rules", ALERTS)
    _promtool("test", "rules", ALERTS_TESTED)


def test_each_alert_is_seen_to_fire_and_is_explained() -> None:
    alerts = _alerts()
    assert len(alerts) > 10
    tested = set(
        re.findall(
            r"alertname=\"(\w+)\", alertstate=\"firing\"\}$", ALERTS_TESTED.read_text(), re.M
        )
    )
    assert tested == set(alerts)
    operations = OPERATIONS.read_text()
    for alert in alerts:
        assert f"`{alert}`" in operations, f"docs/operations.md does not say what to do at {alert}"
    explained = set(re.findall(r"`(GlobalTable[A-Z]\w+)`", operations))
    assert explained <= set(alerts)


@needs_promtool
def test_every_panel_asks_what_prometheus_understands(tmp_path: Path) -> None:
    rules = ["groups:", "  - name: panels", "    rules:"]
    for number, expression in enumerate(_of_dashboard()):
        plain = expression.replace("$__rate_interval", "1m").replace("$job", ".*")
        plain = plain.replace("$instance", ".*")
        assert "$" not in plain, expression
        rules += [f"      - record: panel:{number}", f"        expr: {json.dumps(plain)}"]
    file = tmp_path / "panels.yml"
    file.write_text("\n".join(rules) + "\n")
    _promtool("check", "rules", file)
