"""The nearest node that is up is asked; one that failed is left alone until a probe is answered."""

import pytest

from globaltable.client._nodes import Nodes

ADDRESSES = ("a:1", "b:1", "c:1")
NOW = 100.0


def _up(*round_trips_s: float) -> Nodes:
    """Nodes that were probed twice and are this far away."""
    nodes = Nodes(ADDRESSES[: len(round_trips_s)], NOW)
    for _ in range(2):
        nodes.take_probes(NOW)
        for number, round_trip_s in enumerate(round_trips_s):
            nodes.probe_answered(number, round_trip_s, NOW)
    return nodes


def _round(nodes: Nodes) -> list[int]:
    """The nodes in the order in which one op would ask them."""
    order = []
    avoided = 0
    while (number := nodes.choose(avoided)) is not None:
        order.append(number)
        avoided |= 1 << number
    return order


class _Asker:
    avoided = 0


class TestRounds:
    def test_those_that_failed_are_passed_over_until_all_that_are_up_have(self) -> None:
        nodes = _up(0.001, 0.030, 0.060)
        asker = _Asker()
        asked = []
        for _ in range(4):
            asked.append(nodes.next_for(asker))
            asker.avoided |= 1 << asked[-1]
        assert asked == [0, 1, 2, 0]
        assert asker.avoided == 0b001

    def test_one_whose_every_node_that_is_up_has_failed_it_begins_another_round(self) -> None:
        """Not with one that is down, though it has not asked that."""
        nodes = _up(0.001, 0.030, 0.060)
        asker = _Asker()
        asker.avoided = 0b110
        nodes.failed(0, NOW)
        assert nodes.next_for(asker) == 1
        assert asker.avoided == 0


class TestOrder:
    @pytest.mark.parametrize(
        ("round_trips_s", "order"),
        [
            ((0.001, 0.030, 0.060), [0, 1, 2]),
            ((0.060, 0.030, 0.001), [2, 1, 0]),
            ((0.030, 0.001, 0.060), [1, 0, 2]),
            # As near as the nearest, within half as much again and 2 ms: as given.
            ((0.016, 0.010, 0.017), [0, 1, 2]),
            ((0.0171, 0.010, 0.011), [1, 2, 0]),
            ((0.0019, 0.0001, 0.0001), [0, 1, 2]),
            ((0.0025, 0.0001, 0.0001), [1, 2, 0]),
            # Those that are farther are in the order of their distance.
            ((0.090, 0.001, 0.060), [1, 2, 0]),
        ],
    )
    def test_nearest_first_and_as_given_among_those_equally_near(
        self, round_trips_s: tuple[float, ...], order: list[int]
    ) -> None:
        assert _round(_up(*round_trips_s)) == order

    def test_the_shortest_round_trip_seen_is_the_distance(self) -> None:
        """The first probe pays for the connection."""
        nodes = Nodes(ADDRESSES[:2], NOW)
        nodes.take_probes(NOW)
        nodes.probe_answered(0, 0.200, NOW)
        nodes.probe_answered(1, 0.050, NOW)
        assert nodes.choose() == 1
        nodes.take_probes(NOW)
        nodes.probe_answered(0, 0.001, NOW)
        nodes.probe_answered(1, 0.040, NOW)
        assert nodes.choose() == 0
        nodes.suspected(0, NOW)
        nodes.take_probes(NOW)
        nodes.probe_answered(0, 0.900, NOW)
        assert nodes.choose() == 0

    def test_before_anything_is_known_all_are_asked_as_given(self) -> None:
        nodes = Nodes(ADDRESSES, NOW)
        assert _round(nodes) == [0, 1, 2]
        assert not any(nodes.is_up(number) for number in range(3))

    def test_a_node_that_is_down_is_in_no_round(self) -> None:
        nodes = _up(0.001, 0.030, 0.060)
        nodes.failed(0, NOW)
        assert not nodes.is_up(0)
        assert _round(nodes) == [1, 2]

    def test_unless_none_is_up(self) -> None:
        nodes = _up(0.060, 0.030, 0.001)
        for number in range(3):
            nodes.failed(number, NOW)
        assert _round(nodes) == [0, 1, 2]

    def test_one_that_answers_a_call_is_up_again_in_its_place(self) -> None:
        nodes = _up(0.060, 0.030, 0.001)
        nodes.failed(2, NOW)
        nodes.answered(2)
        assert nodes.is_up(2) and nodes.choose() == 2
        assert nodes.next_due() is None

    def test_one_that_answers_a_call_before_it_was_ever_measured_is_measured_yet(self) -> None:
        """Or it would count as the farthest for as long as it is up."""
        nodes = Nodes(ADDRESSES[:2], NOW)
        nodes.take_probes(NOW)
        nodes.probe_failed(0, NOW)
        nodes.probe_answered(1, 0.050, NOW)
        nodes.take_probes(NOW)
        nodes.probe_answered(1, 0.050, NOW)
        nodes.failed(1, NOW)
        nodes.answered(0)
        for _ in range(2):
            for number in nodes.take_probes(NOW + 1):
                nodes.probe_answered(number, (0.001, 0.050)[number], NOW + 1)
        assert _round(nodes) == [0, 1]


class TestProbes:
    def test_one_that_fails_for_hours_is_left_alone_for_no_longer(self) -> None:
        """A retry each 20 ms makes some thousands of failures in a minute."""
        nodes = _up(0.001)
        for _ in range(3_000):
            nodes.failed(0, NOW)
        due = nodes.next_due()
        assert due is not None and NOW < due <= NOW + 1.0
        assert nodes.take_probes(due) == [0]

    def test_each_is_probed_twice_at_first_one_at_a_time(self) -> None:
        nodes = Nodes(ADDRESSES, NOW)
        assert nodes.next_due() == NOW
        assert nodes.take_probes(NOW) == [0, 1, 2]
        assert nodes.take_probes(NOW) == [] and nodes.next_due() is None
        nodes.probe_answered(1, 0.010, NOW + 0.010)
        assert nodes.next_due() == NOW + 0.010
        assert nodes.take_probes(NOW + 0.010) == [1]
        nodes.probe_answered(1, 0.010, NOW + 0.020)
        assert nodes.take_probes(NOW + 0.020) == [] and nodes.next_due() is None

    def test_one_that_fails_again_and_again_is_probed_after_ever_longer_up_to_a_second(
        self,
    ) -> None:
        nodes = _up(0.001, 0.001, 0.001)
        now = NOW
        nodes.failed(0, now)
        pauses_s = []
        for _ in range(7):
            due = nodes.next_due()
            assert due is not None
            pauses_s.append(due - now)
            now = due
            assert nodes.take_probes(now) == [0]
            nodes.probe_failed(0, now)
        assert pauses_s == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0])

    def test_an_answered_probe_alone_does_not_clear_a_node_that_fails_calls(self) -> None:
        nodes = _up(0.001, 0.001, 0.001)
        for pause_s in (0.1, 0.2, 0.4):
            nodes.failed(0, NOW)
            assert nodes.next_due() == pytest.approx(NOW + pause_s)
            nodes.take_probes(NOW + 1)
            nodes.probe_answered(0, 0.001, NOW + 1)
            assert nodes.is_up(0) and nodes.next_due() is None
        nodes.answered(0)
        nodes.failed(0, NOW)
        assert nodes.next_due() == pytest.approx(NOW + 0.1)

    def test_one_that_is_suspected_is_probed_at_once_and_still_asked(self) -> None:
        nodes = _up(0.001, 0.001, 0.001)
        nodes.suspected(1, NOW)
        assert nodes.is_up(1)
        assert nodes.take_probes(NOW) == [1]
        nodes.probe_failed(1, NOW)
        assert not nodes.is_up(1)

    def test_suspicion_does_not_hasten_the_probe_of_one_that_is_down(self) -> None:
        nodes = _up(0.001, 0.001, 0.001)
        nodes.failed(1, NOW)
        nodes.suspected(1, NOW)
        assert nodes.take_probes(NOW) == [] and nodes.next_due() == pytest.approx(NOW + 0.1)

    def test_suspicion_while_a_probe_is_under_way_sends_no_second(self) -> None:
        nodes = _up(0.001, 0.001, 0.001)
        nodes.suspected(1, NOW)
        nodes.take_probes(NOW)
        nodes.suspected(1, NOW)
        assert nodes.take_probes(NOW) == [] and nodes.next_due() is None
        nodes.probe_answered(1, 0.001, NOW)
        assert nodes.next_due() is None


class TestReady:
    def test_not_before_a_node_has_answered(self) -> None:
        nodes = Nodes(ADDRESSES, NOW)
        nodes.take_probes(NOW)
        assert nodes.ready_at() is None
        nodes.probe_failed(0, NOW)
        assert nodes.ready_at() is None

    def test_when_all_are_measured(self) -> None:
        assert _up(0.001, 0.030, 0.060).ready_at() == NOW

    def test_or_have_failed(self) -> None:
        nodes = Nodes(ADDRESSES[:2], NOW)
        nodes.probe_failed(0, NOW)
        nodes.probe_answered(1, 0.010, NOW + 0.010)
        nodes.probe_answered(1, 0.010, NOW + 0.020)
        assert nodes.ready_at() == NOW + 0.010

    def test_or_soon_after_the_first_if_others_are_silent(self) -> None:
        nodes = Nodes(ADDRESSES, NOW)
        nodes.probe_answered(1, 0.010, NOW + 0.010)
        assert nodes.ready_at() == pytest.approx(NOW + 0.030)
