"""The tool itself: that a round is drawn from its seed, and that whole rounds pass."""

import asyncio

import pytest

from tests.faults.history import Ending
from tests.faults.mix import draw, impossible
from tests.faults.round import line_of, play
from tests.faults.scene import FaultKind

ALL = list(FaultKind)


def test_a_seed_and_kinds_give_the_same_mix() -> None:
    assert [draw(seed, ALL, True) for seed in range(50)] == [
        draw(seed, ALL, True) for seed in range(50)
    ]


def test_every_kind_is_drawn_and_only_where_it_can_be() -> None:
    mixes = [draw(seed, ALL, True) for seed in range(200)]
    drawn = {kind for mix in mixes for kind in (*mix.of_nodes, *mix.of_the_network)}
    assert drawn == set(ALL) - {FaultKind.CROWD}
    assert any(mix.idle_watchers for mix in mixes)
    for mix in mixes:
        assert (FaultKind.RESET if mix.packets else FaultKind.LOSS) not in mix.of_the_network
    assert not any(draw(seed, ALL, False).packets for seed in range(50))
    assert draw(1, [FaultKind.LOSS], True).packets
    assert not any(draw(seed, [FaultKind.RESET], True).packets for seed in range(50))


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("seed", range(1, 5))
def test_a_round_of_all_that_is_possible_here(seed: int) -> None:
    left_out = impossible()
    kinds = [kind for kind in ALL if kind not in left_out]
    mix = draw(seed, kinds, FaultKind.LOSS not in left_out)
    result = asyncio.run(play(mix, seconds=10.0))
    assert result.passed, line_of(0, result)
    assert result.judgement.endings[Ending.OK] > 0, line_of(0, result)
