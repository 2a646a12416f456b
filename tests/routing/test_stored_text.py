"""A text among bindings: it is read whole as it was written, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable import validation
from globaltable.errors import Corrupt, LimitExceeded
from globaltable.routing.stored_text import TEXT_BYTES_MAX, Head, cut, joined

TEXTS = st.text(st.characters(max_codepoint=127, exclude_characters="\0"), min_size=1, max_size=300)


@given(TEXTS)
def test_what_was_cut_is_joined_and_its_parts_may_be_bound(text: str) -> None:
    head, pieces = cut(text)
    assert joined(Head.parse(head.unit), pieces) == text
    validation.require_unit(head.unit)
    for key, piece in pieces.items():
        validation.require_key(key)
        validation.require_unit(piece)


@given(TEXTS, st.data())
def test_a_text_with_a_piece_missing_is_none_and_with_another_one_is_refused(
    text: str, data: st.DataObject
) -> None:
    head, pieces = cut(text)
    lost = data.draw(st.sampled_from(sorted(pieces)))
    assert joined(head, {key: one for key, one in pieces.items() if key != lost}) is None
    with pytest.raises(Corrupt, match="are not those of that text"):
        joined(head, pieces | {lost: pieces[lost] + "x"})


def test_the_same_text_has_the_same_pieces() -> None:
    assert cut("x" * 100) == cut("x" * 100)
    assert cut("x" * 100)[0] != cut("y" * 100)[0]


def test_the_longest_text_is_kept_and_a_longer_one_refused() -> None:
    head, pieces = cut("x" * TEXT_BYTES_MAX)
    assert joined(Head.parse(head.unit), pieces) == "x" * TEXT_BYTES_MAX
    with pytest.raises(LimitExceeded, match=f"at most {TEXT_BYTES_MAX} fit"):
        cut("x" * (TEXT_BYTES_MAX + 1))


@pytest.mark.parametrize(
    "unit",
    ["A", "", ":", "a" * 32, f"{'a' * 32}:0", f"{'a' * 32}:257", f"{'a' * 32}:{'9' * 5_000}"],
)
def test_a_name_that_is_bound_to_no_text_is_refused(unit: str) -> None:
    with pytest.raises(Corrupt, match="names no stored text"):
        Head.parse(unit)
