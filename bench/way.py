"""How a network treats what one region sends to another, as a value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """One direction between two regions."""

    cut: bool = False
    delay_s: float = 0.0
    jitter_s: float = 0.0
    """Added to the delay at random. Packets overtake each other by it; bytes of a stream do not."""
    bytes_per_s: float | None = None
    loss: float = 0.0
    """The share of packets that is lost. As with `duplicates`, only packets can be."""
    duplicates: float = 0.0


OPEN = Way()
