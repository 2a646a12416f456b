"""What a run of the bench found: frozen values, and their JSON.

Responsible for the results file (`--json`), from which the page can be made again. Units stand in
the names: `binds_per_s`, `resumed_s`. A figure that could not be had is absent, never zero.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from globaltable.bench.histogram import Histogram
from globaltable.errors import GlobalTableError

FORMAT: Final = 1

Case = Mapping[str, str | int | float]
"""What was varied: `{"callers": 256, "load": "closed"}`."""


class ResultsError(GlobalTableError):
    """A file holds no results this version can read; the message says why."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One system, measured once, in one case."""

    scenario: str
    system: str
    case: Case
    repeat: int
    figures: Mapping[str, float] = field(default_factory=dict)
    latencies: Mapping[str, Histogram] = field(default_factory=dict)
    """By region, or by what was waited for."""
    timeline: Sequence[tuple[float, float]] = ()
    """Seconds since the start of the measurement, and a rate at that time."""


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run."""

    machine: Mapping[str, str]
    command: str
    started_at: str
    """UTC, ISO 8601."""
    network: str
    """The kind: what joined the regions."""
    regions: tuple[str, ...]
    round_trips_ms: Mapping[str, float]
    """As asked for, by pair: `{"a-b": 10.0}`."""
    pings: Mapping[str, Histogram]
    """As measured in the same run over the same network, by pair: the limit."""
    measurements: tuple[Measurement, ...]
    skipped: tuple[str, ...] = ()
    """What was asked for and could not be measured, and why."""

    def of(self, scenario: str) -> list[Measurement]:
        return [one for one in self.measurements if one.scenario == scenario]


def to_json(report: Report) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "machine": dict(report.machine),
        "command": report.command,
        "started_at": report.started_at,
        "network": report.network,
        "regions": list(report.regions),
        "round_trips_ms": dict(report.round_trips_ms),
        "pings": _encode(report.pings),
        "skipped": list(report.skipped),
        "measurements": [
            {
                "scenario": one.scenario,
                "system": one.system,
                "case": dict(one.case),
                "repeat": one.repeat,
                "figures": dict(one.figures),
                "latencies": _encode(one.latencies),
                "timeline": [list(point) for point in one.timeline],
            }
            for one in report.measurements
        ],
    }


def from_json(document: Any) -> Report:
    """Raises `ResultsError`."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise ResultsError(f"results of format {found!r}: this version reads {FORMAT}; run anew")
    try:
        return Report(
            machine=document["machine"],
            command=document["command"],
            started_at=document["started_at"],
            network=document["network"],
            regions=tuple(document["regions"]),
            round_trips_ms=document["round_trips_ms"],
            pings=_decode(document["pings"]),
            skipped=tuple(document["skipped"]),
            measurements=tuple(map(_measurement, document["measurements"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultsError(f"not a results file: {type(error).__name__} {error}") from error


def save(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(to_json(report), indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> Report:
    """Raises `ResultsError`, naming the file."""
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ResultsError) as error:
        raise ResultsError(f"{path}: {error}") from error


def _measurement(document: Any) -> Measurement:
    return Measurement(
        scenario=document["scenario"],
        system=document["system"],
        case=document["case"],
        repeat=document["repeat"],
        figures=document["figures"],
        latencies=_decode(document["latencies"]),
        timeline=tuple((at_s, value) for at_s, value in document["timeline"]),
    )


def _encode(histograms: Mapping[str, Histogram]) -> dict[str, str]:
    return {name: histogram.encode() for name, histogram in histograms.items()}


def _decode(texts: Mapping[str, str]) -> dict[str, Histogram]:
    return {name: Histogram.decode(text) for name, text in texts.items()}
