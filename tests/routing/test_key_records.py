"""What is learned of key records, in whatever order it comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.client import GlobalTable
from globaltable.errors import InvalidArgument
from globaltable.routing.client.keys import META_TABLE, HeaderKeys, Records, Rotation
from globaltable.routing.keyring import KeyRecord, encode_record, record_name
from globaltable.routing.signatures import Algorithm
from tests.routing.rings import AUDIENCE, record

ONE, TWO = record(1), record(2)
NAME = record_name(AUDIENCE, 1)


@given(order=st.permutations([(1, "bound"), (2, None), (3, "bound again"), (4, None)]))
def test_the_highest_version_counts_in_whatever_order_they_come(
    order: list[tuple[int, str | None]],
) -> None:
    records = Records(AUDIENCE)
    seen = 0
    for version, unit in order:
        before = dict(records.by_id)
        changed = records.learn(NAME, version, encode_record(ONE) if unit else None)
        seen = max(seen, version)
        assert (1 in records.by_id) == (seen % 2 == 1)
        assert changed == (records.by_id != before)
        assert not records.learn(NAME, version, encode_record(TWO)), "known already"
    assert records.last_id == 1


def test_what_was_assumed_gives_way_to_what_is_known() -> None:
    records = Records(AUDIENCE)
    records.assume([ONE, TWO])
    assert records.by_id == {1: ONE, 2: TWO} and records.last_id == 2
    other = record(1, Algorithm.ED25519)
    assert records.learn(NAME, 1, encode_record(other))
    records.assume([ONE])
    assert records.by_id[1] == other
    asked = records.versions_of([record_name(AUDIENCE, 2), record_name(AUDIENCE, 3)])
    assert records.missing(asked)
    assert not records.missing(asked)
    assert records.by_id == {1: other}


def test_an_answer_from_before_a_key_was_published_does_not_remove_it() -> None:
    """The key is bound, and known, while the question whether it is there is under way."""
    records = Records(AUDIENCE)
    asked = records.versions_of([NAME])
    records.learn(NAME, 1, encode_record(ONE))
    assert not records.missing(asked) and records.by_id == {1: ONE}
    asked = records.versions_of([NAME])
    records.learn(NAME, 2, None)
    records.learn(NAME, 3, encode_record(ONE))
    assert not records.missing(asked) and records.by_id == {1: ONE}


@pytest.mark.parametrize(
    ("name", "last_id"), [(record_name(AUDIENCE, 7), 7), ("header-key/im/chat/seven", 0)]
)
def test_a_record_that_cannot_be_read_is_left_out_and_its_number_kept(
    name: str, last_id: int
) -> None:
    records = Records(AUDIENCE)
    expected: dict[int, KeyRecord] = {}
    assert not records.learn(name, 1, "what a later version writes")
    assert records.by_id == expected and records.last_id == last_id


def test_who_rotates_has_a_root() -> None:
    meta = GlobalTable.connect(["127.0.0.1:1"], table=META_TABLE)
    with pytest.raises(InvalidArgument, match="new-root"):
        HeaderKeys(meta, AUDIENCE, rotation=Rotation(Algorithm.ED25519))
