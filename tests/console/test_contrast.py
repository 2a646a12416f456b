"""What is written on the page can be read, in light and in dark: WCAG 2.1 AA, 1.4.3 and 1.4.11.

A browser's judge leaves much of it open (axe-core calls it incomplete), so colours are told apart
here, by the formula of the standard.
"""

import re

import pytest

from globaltable.server.console.page import files

TEXT, LINES = 4.5, 3.0
PAIRS = [
    *((ink, ground, TEXT) for ink in ("ink", "soft") for ground in ("card", "ground", "sunk")),
    *((ink, "card", TEXT) for ink in ("accent", "good", "bad", "wait")),
    ("accent", "ground", TEXT),
    ("bad", "ground", TEXT),
    ("bad", "bad-tint", TEXT),
    ("ink", "accent-tint", TEXT),
    ("wait", "accent-tint", TEXT),
    ("accent-ink", "accent", TEXT),
    *((line, "card", LINES) for line in ("p50", "p99", "target", "soft", "accent")),
]


def _colours(dark: bool) -> dict[str, str]:
    css = files()["console.css"].body.decode()
    light, darker = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    found = re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light + (darker if dark else ""))
    return dict(found)


def _luminance(colour: str) -> float:
    """Relative, of sRGB."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_formula_is_the_standards() -> None:
    assert _contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert _contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground", "least"), PAIRS)
def test_it_stands_out(dark: bool, ink: str, ground: str, least: float) -> None:
    colours = _colours(dark)
    assert _contrast(colours[ink], colours[ground]) >= least
