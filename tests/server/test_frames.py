"""Frames come out as they went in, however the stream is cut; what is no frame is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.errors import ProtocolError
from globaltable.server.frames import FrameKind, FrameParser, encode

BOUND = 64
_FRAMES = st.lists(
    st.tuples(st.sampled_from(FrameKind), st.binary(max_size=BOUND - 1)), min_size=1, max_size=6
)


def _fed(parser: FrameParser, *pieces: bytes) -> list[tuple[FrameKind, bytes]]:
    return [frame for piece in pieces for frame in parser.feed(piece)]


def test_split_at_any_byte() -> None:
    frames = [(FrameKind.HELLO, b"abc"), (FrameKind.DATA, b""), (FrameKind.PONG, b"12345678")]
    stream = b"".join(encode(*frame) for frame in frames)
    for cut in range(len(stream) + 1):
        assert _fed(FrameParser(BOUND), stream[:cut], stream[cut:]) == frames


@given(_FRAMES, st.integers(1, BOUND))
def test_fed_in_pieces_of_any_size(frames: list[tuple[FrameKind, bytes]], size: int) -> None:
    stream = b"".join(encode(*frame) for frame in frames)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert _fed(FrameParser(BOUND), *pieces) == frames


def test_a_frame_of_the_bound_passes() -> None:
    frame = (FrameKind.DATA, b"x" * (BOUND - 1))
    assert _fed(FrameParser(BOUND), encode(*frame)) == [frame]


@pytest.mark.parametrize("size", [0, BOUND + 1, 2**32 - 1])
def test_a_length_out_of_bounds_is_refused_by_its_header_alone(size: int) -> None:
    with pytest.raises(ProtocolError, match=f"a frame of {size} bytes"):
        _fed(FrameParser(BOUND), size.to_bytes(4, "big"))


@pytest.mark.parametrize("kind", [0, 7, 255])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(ProtocolError, match=f"frame kind {kind} is not known"):
        _fed(FrameParser(BOUND), b"\0\0\0\1" + bytes((kind,)))


def test_what_came_before_the_garbage_is_delivered() -> None:
    frames = FrameParser(BOUND).feed(encode(FrameKind.DATA, b"good") + b"GET / HTTP/1.1")
    assert next(frames) == (FrameKind.DATA, b"good")
    with pytest.raises(ProtocolError):
        next(frames)


@given(st.binary(max_size=4 * BOUND))
def test_any_bytes_are_frames_or_refused_and_little_is_held(data: bytes) -> None:
    parser = FrameParser(BOUND)
    try:
        frames = _fed(parser, data)
    except ProtocolError:
        return
    consumed = b"".join(encode(*frame) for frame in frames)
    assert data.startswith(consumed)
    assert len(data) - len(consumed) < 4 + BOUND
