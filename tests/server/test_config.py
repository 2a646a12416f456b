"""What the values of a configuration say: who is where, how far, and who should lead."""

from dataclasses import replace
from pathlib import Path

import pytest

from globaltable.errors import ConfigError
from globaltable.server.config import Address, Config, InjectedLatency, NodeConfig, Placement

REGIONS = tuple(
    NodeConfig(
        name,
        name,
        Address(f"node-{name}", 7001),
        Address(f"node-{name}", 7101),
        Path("/data", name),
    )
    for name in "abc"
)
CONFIG = Config("im", ("im.session",), REGIONS, groups=8)
UNEQUAL = {frozenset("ab"): 5.0, frozenset("bc"): 25.0}


def test_a_region_is_found_by_its_name() -> None:
    assert CONFIG.node("b") is REGIONS[1]


def test_an_unknown_region_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'z' is not in the configuration; it has a, b, c"):
        CONFIG.node("z")


def test_one_way_is_half_a_round_trip_in_either_direction() -> None:
    injected = InjectedLatency(10.0, {frozenset("ab"): 30.0})
    assert injected.one_way_s("a", "b") == injected.one_way_s("b", "a") == 0.015
    assert injected.one_way_s("a", "c") == 0.005
    assert injected.one_way_s("a", "a") == 0.0


class TestPlacement:
    def _preferred(
        self, injected: InjectedLatency | None = None, placement: Placement | None = None
    ) -> list[str]:
        config = replace(CONFIG, injected_latency=injected, placement=placement)
        return [group.preferred for group in config.topology().groups]

    def test_leaders_stand_where_the_round_trips_want_them(self) -> None:
        assert self._preferred(placement=Placement(28.0, UNEQUAL)) == ["b"] * 8

    def test_injected_latency_is_a_round_trip_like_any_other(self) -> None:
        assert self._preferred(InjectedLatency(28.0, UNEQUAL)) == ["b"] * 8

    def test_but_what_the_placement_says_goes_before_it(self) -> None:
        assert self._preferred(InjectedLatency(28.0, UNEQUAL), Placement(10.0)) == [*"abcabcab"]

    def test_without_either_they_are_dealt_out(self) -> None:
        assert self._preferred() == [*"abcabcab"]

    def test_shares_count(self) -> None:
        shares = {"a": 0.0, "b": 0.0, "c": 9.0}
        preferred = self._preferred(placement=Placement(28.0, UNEQUAL, shares))
        assert sorted(preferred) == [*"bbbbcccc"]


@pytest.mark.parametrize(
    ("text", "address", "is_loopback"),
    [
        ("127.0.0.1:7101", Address("127.0.0.1", 7101), True),
        ("127.9.9.9:1", Address("127.9.9.9", 1), True),
        ("localhost:7101", Address("localhost", 7101), True),
        ("[::1]:7101", Address("::1", 7101), True),
        ("[fd00::1]:65535", Address("fd00::1", 65535), False),
        ("0.0.0.0:7101", Address("0.0.0.0", 7101), False),
        ("node.example:7101", Address("node.example", 7101), False),
    ],
)
def test_an_address_reads_as_it_is_written(text: str, address: Address, is_loopback: bool) -> None:
    assert Address.parse(text, "here") == address
    assert str(address) == text
    assert address.is_loopback is is_loopback
