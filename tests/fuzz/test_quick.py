"""A few thousand inputs for every decoder, and what hypothesis makes of it; the rest by hand:
`python -m tests.fuzz`."""

import random
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import main, quieten
from tests.fuzz.mutations import Mutator
from tests.fuzz.running import Tally, judge, opened, run_shard
from tests.fuzz.subject import Target
from tests.fuzz.targets import BY_NAME, TARGETS

_INPUTS_PER_SHARE = 15
_SEED = 7
_CHEAP = sorted(target.name for target in TARGETS if target.share >= 50)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    quieten()
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name.replace(" ", "-"))
def test_a_decoder_accepts_or_refuses(target: Target) -> None:
    inputs = min(1_000, target.share * _INPUTS_PER_SHARE)
    tally = run_shard(target.name, _SEED, 0, inputs)
    assert not tally.findings, tally.findings[0]
    assert tally.inputs == inputs and tally.accepted and tally.refused.total()


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(_CHEAP), data=st.binary(max_size=300))
def test_any_bytes_at_all(name: str, data: bytes) -> None:
    tally = Tally()
    judge(BY_NAME[name], opened(name), data, tally, traced=False)
    assert not tally.findings, tally.findings[0]


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(_CHEAP), data=st.data())
def test_any_change_of_a_valid_encoding(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(list(opened(name).seeds)))
    start = data.draw(st.integers(0, len(seed)))
    end = data.draw(st.integers(start, len(seed)))
    changed = seed[:start] + data.draw(st.binary(max_size=20)) + seed[end:]
    tally = Tally()
    judge(BY_NAME[name], opened(name), changed, tally, traced=False)
    assert not tally.findings, tally.findings[0]


def test_the_same_seed_makes_the_same_inputs() -> None:
    for target in TARGETS[:3]:
        seeds = opened(target.name).seeds
        one, other = (Mutator(seeds, target.grammar, random.Random(5)) for _ in range(2))
        assert [one.next() for _ in range(300)] == [other.next() for _ in range(300)]


def test_one_input_is_told_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--target", "handshake", "--input", "c1"]) == 0
    assert "ProtocolError 2" in capsys.readouterr().out
