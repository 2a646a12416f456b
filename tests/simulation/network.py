"""Links between simulated nodes: one connection for each pair, ordered as TCP is.

A connection loses messages only by being reset, and then all that were in flight. While a direction
is cut its messages wait, as in a sender's buffer; a cut that lasts resets the connection.

The *unruly* network is worse than any that TCP allows: single messages are lost, repeated and
delivered in any order, also those of earlier connections. The guard must stand that too.
"""

import random
from dataclasses import dataclass, field
from typing import Final, Protocol

from tests.simulation.timeline import Timeline

UNRULY_LATE_S_MAX: Final = 3.0
SLOW_TIMES: Final = 20.0
_RETRY_S: Final = 0.1


class Host(Protocol):
    """What the network needs of a node."""

    @property
    def reachable(self) -> bool: ...

    def frame_arrived(self, sender: str, payload: bytes) -> None: ...

    def link_changed(self, peer: str, up: bool) -> None: ...


@dataclass(slots=True)
class _Direction:
    cut: bool = False
    delay_s: float = 0.005
    slow_until: float = 0.0
    free_at: float = 0.0
    """When the last message sent arrives: none sent later arrives earlier."""
    held: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Pair:
    ends: tuple[str, str]
    epoch: int = 0
    """Counts the connections that these two have had."""
    up: bool = False
    connecting: bool = False


class Network:
    def __init__(self, names: list[str], rng: random.Random, timeline: Timeline) -> None:
        self._rng = rng
        self._timeline = timeline
        self._after = timeline.after
        self._hosts: dict[str, Host] = {}
        self._pairs: dict[tuple[str, str], _Pair] = {}
        self._directions: dict[tuple[str, str], _Direction] = {}
        self.unruly = False
        self.jitter = 0.3
        for a in names:
            for b in names:
                if a < b:
                    self._pairs[a, b] = self._pairs[b, a] = _Pair((a, b))
                if a != b:
                    self._directions[a, b] = _Direction()

    def join(self, name: str, host: Host) -> None:
        self._hosts[name] = host

    def set_delay(self, a: str, b: str, delay_s: float) -> None:
        self._directions[a, b].delay_s = self._directions[b, a].delay_s = delay_s

    def slow(self, a: str, b: str, seconds: float) -> None:
        """For so long the link takes many times as long, both ways."""
        for ends in ((a, b), (b, a)):
            self._directions[ends].slow_until = self._timeline.now + seconds

    def delay(self, a: str, b: str) -> float:
        direction = self._directions[a, b]
        times = SLOW_TIMES if self._timeline.now < direction.slow_until else 1.0
        return direction.delay_s * times * (1 + self.jitter * self._rng.random())

    # --- messages --------------------------------------------------------------------------------

    def send(self, a: str, b: str, payload: bytes) -> None:
        pair = self._pairs[a, b]
        if self.unruly:
            self._send_unruly(a, b, payload)
            return
        if not pair.up:
            return
        direction = self._directions[a, b]
        if direction.cut:
            direction.held.append(payload)
            return
        now = self._timeline.now
        direction.free_at = max(direction.free_at, now + self.delay(a, b))
        epoch = pair.epoch
        self._after(direction.free_at - now, self._arrive, a, b, epoch, payload)

    def _send_unruly(self, a: str, b: str, payload: bytes) -> None:
        copies = 0 if self._rng.random() < 0.02 else 2 if self._rng.random() < 0.15 else 1
        for _ in range(copies):
            delay = self.delay(a, b)
            if self._rng.random() < 0.2:
                delay += self._rng.random() * 0.1
            if self._rng.random() < 0.07:
                delay += self._rng.random() * UNRULY_LATE_S_MAX
            self._after(delay, self._arrive, a, b, None, payload)

    def _arrive(self, a: str, b: str, epoch: int | None, payload: bytes) -> None:
        direction = self._directions[a, b]
        if epoch is not None and epoch != self._pairs[a, b].epoch:
            return
        if direction.cut:
            if epoch is not None:
                direction.held.append(payload)
            return
        if self._hosts[b].reachable:
            self._hosts[b].frame_arrived(a, payload)

    # --- connections -----------------------------------------------------------------------------

    def reset(self, a: str, b: str) -> None:
        """The connection breaks. Each end notices in its own time, and then they connect anew."""
        pair = self._pairs[a, b]
        pair.epoch += 1
        pair.up = False
        for x, y in ((a, b), (b, a)):
            self._directions[x, y].held.clear()
            self._after(self._rng.random() * 0.05, self._notice, x, y, pair.epoch)
        self.connect(a, b)

    def _notice(self, at: str, peer: str, epoch: int) -> None:
        pair = self._pairs[at, peer]
        if pair.epoch == epoch and not pair.up:
            self._hosts[at].link_changed(peer, False)

    def connect(self, a: str, b: str) -> None:
        """Try, and go on trying, until the two are connected."""
        pair = self._pairs[a, b]
        if not pair.connecting:
            pair.connecting = True
            self._after(_RETRY_S * (0.3 + self._rng.random()), self._try, pair)

    def _try(self, pair: _Pair) -> None:
        a, b = pair.ends
        cut = self._directions[a, b].cut or self._directions[b, a].cut
        if cut or not (self._hosts[a].reachable and self._hosts[b].reachable):
            self._after(_RETRY_S * (1 + self._rng.random()), self._try, pair)
            return
        pair.epoch += 1
        pair.up, pair.connecting = True, False
        for x, y in ((a, b), (b, a)):
            self._directions[x, y].free_at = 0.0
            self._hosts[x].link_changed(y, False)
            self._hosts[x].link_changed(y, True)

    def cut(self, a: str, b: str) -> None:
        self._directions[a, b].cut = True

    def heal(self, a: str, b: str) -> None:
        """Neither cut nor slow any more."""
        direction = self._directions[a, b]
        direction.cut = False
        direction.slow_until = 0.0
        held, direction.held = direction.held, []
        if self._pairs[a, b].up:
            for payload in held:
                self.send(a, b, payload)
