"""Watchers to whom nothing happens are told how far they have come, before it is too late."""

from collections.abc import Mapping

import pytest

from globaltable.errors import NoQuorum
from globaltable.server.watch_progress import WatchProgress
from globaltable.server.watches import Watcher, Watches


class _Watches(Watches):
    """What the history of each group holds is given."""

    def __init__(self, held: Mapping[int, tuple[int, int]]) -> None:
        super().__init__(lambda group: pytest.fail("no replica is asked"))
        self._held = held

    def kept(self, group: int) -> tuple[int, int]:
        if group not in self._held:
            raise NoQuorum(f"group {group} is out of service")
        return self._held[group]


def _watcher(told: dict[int, int], *, exact: bool = False) -> Watcher:
    watcher = Watcher(b"t\0", exact, told)
    watcher.told = told
    return watcher


def _woken(held: Mapping[int, tuple[int, int]], watcher: Watcher, *, keys: bool = False) -> bool:
    WatchProgress(_Watches(held)).look([watcher], keys=keys)
    return watcher.awake.is_set()


def test_while_nothing_is_written_nobody_is_woken() -> None:
    held = {0: (1, 1), 1: (500, 9_000)}
    assert not _woken(held, _watcher({0: 1, 1: 9_000}))
    assert not _woken(held, _watcher({0: 1, 1: 9_000}, exact=True), keys=True)


@pytest.mark.parametrize(
    ("told", "woken"), [(9_000, False), (8_000, False), (7_900, True), (1_000, True), (10, True)]
)
def test_a_position_is_told_anew_while_nearly_all_that_follows_it_is_kept(
    told: int, woken: bool
) -> None:
    assert _woken({0: (1_000, 9_000)}, _watcher({0: told})) is woken


def test_one_group_that_went_on_is_enough() -> None:
    assert _woken({0: (1, 1), 1: (1_000, 9_000)}, _watcher({0: 1, 1: 1_000}))


def test_who_watches_a_key_is_told_in_some_rounds_only() -> None:
    held = {0: (1_000, 9_000)}
    assert not _woken(held, _watcher({0: 1_000}, exact=True))
    assert _woken(held, _watcher({0: 1_000}, exact=True), keys=True)


def test_of_a_group_that_is_out_of_service_nothing_is_told_here() -> None:
    assert not _woken({}, _watcher({3: 1}))
