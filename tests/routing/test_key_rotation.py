"""Keys come and go so that somebody can always sign, and what was signed counts to its end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from globaltable.errors import InvalidArgument
from globaltable.routing.header import HeaderSigner, HeaderVerifier
from globaltable.routing.key_rotation import Publish, Remove, Schedule, new_record, plan
from globaltable.routing.keyring import KEYS_MAX, KeyRecord
from globaltable.routing.route import Route
from globaltable.routing.signatures import Algorithm, KeyTerms
from tests.routing.rings import AUDIENCE, NOW_S, ROOT, record, ring

HMAC, ED25519 = Algorithm.HMAC_SHA256_128, Algorithm.ED25519
SCHEDULE = Schedule(sign_s=1_000, publish_ahead_s=100, lifetime_s=300, remove_after_s=500)


def carry_out(records: dict[int, KeyRecord], schedule: Schedule, now_s: float) -> None:
    for step in plan(records, HMAC, schedule, now_s, max(records, default=0)):
        match step:
            case Publish(terms):
                records[terms.key_id] = new_record(terms, ROOT, HMAC, AUDIENCE)
            case Remove(key_id):
                del records[key_id]


@settings(max_examples=30)
@given(
    schedule=st.builds(
        Schedule,
        sign_s=st.integers(400, 1_000),
        publish_ahead_s=st.integers(2, 399),
        lifetime_s=st.integers(1, 600),
        remove_after_s=st.integers(0, 600),
    ),
    pauses=st.lists(st.floats(0.1, 1), min_size=60, max_size=60),
)
def test_somebody_can_always_sign_and_nothing_signed_is_cut_short(
    schedule: Schedule, pauses: list[float]
) -> None:
    records: dict[int, KeyRecord] = {}
    now_s = float(NOW_S)
    under_way: list[tuple[bytes, int]] = []
    for pause in pauses:
        carry_out(records, schedule, now_s)
        assert len(records) <= KEYS_MAX
        keys = ring(*records.values())
        signer, verifier = HeaderSigner(keys), HeaderVerifier(keys)
        for header, expires_at_s in under_way:
            if now_s < expires_at_s:
                verifier.verify(header, now_s)
        expires_at_s = int(now_s) + schedule.lifetime_s
        under_way.append((signer.sign(Route("d", "k", "A", 1, expires_at_s), now_s), expires_at_s))
        # Until just before the next planning, the same ring has to do.
        now_s += pause * schedule.publish_ahead_s / 2
        signer.sign(Route("d", "k", "A", 1, int(now_s) + schedule.lifetime_s), now_s)


def test_a_key_is_known_before_it_signs() -> None:
    records: dict[int, KeyRecord] = {}
    published: dict[int, float] = {}
    for now_s in range(NOW_S, NOW_S + 5_000, 25):
        carry_out(records, SCHEDULE, now_s)
        for key_id in records.keys() - published.keys():
            published[key_id] = records[key_id].not_before_s - now_s
    first, *others = published.values()
    assert first == 0, "nobody could sign before"
    assert len(others) == 5 and all(75 <= ahead_s <= 100 for ahead_s in others)


@pytest.mark.parametrize(
    ("what", "records", "steps"),
    [
        ("the first", [], [Publish(KeyTerms(8, NOW_S, NOW_S + 1_000, NOW_S + 1_300))]),
        ("covered", [record(7, begins_s=NOW_S - 100, signs_for_s=201)], []),
        (
            "due",
            [record(7, begins_s=NOW_S - 100, signs_for_s=200)],
            [Publish(KeyTerms(8, NOW_S + 100, NOW_S + 1_100, NOW_S + 1_400))],
        ),
        (
            "covered by two",
            [record(6, begins_s=NOW_S - 100, signs_for_s=110), record(7, begins_s=NOW_S + 10)],
            [],
        ),
        (
            "a gap, for one was revoked",
            [record(7, begins_s=NOW_S + 90)],
            [Publish(KeyTerms(8, NOW_S, NOW_S + 1_000, NOW_S + 1_300))],
        ),
        (
            "of the other kind",
            [record(7, ED25519)],
            [Publish(KeyTerms(8, NOW_S, NOW_S + 1_000, NOW_S + 1_300))],
        ),
        (
            "of the other kind, and long over",
            [record(3, ED25519, begins_s=NOW_S - 90_000, signs_for_s=3_000), record(7)],
            [Remove(3)],
        ),
    ],
)
def test_what_is_due(what: str, records: list[KeyRecord], steps: list[Publish | Remove]) -> None:
    assert plan({one.key_id: one for one in records}, HMAC, SCHEDULE, NOW_S, 7) == steps, what


@pytest.mark.parametrize(
    "wrong",
    [
        {"lifetime_s": 0},
        {"lifetime_s": 86_401},
        {"publish_ahead_s": 1},
        {"publish_ahead_s": 86_400},
        {"remove_after_s": -1},
        {"sign_s": 1_000},
    ],
)
def test_a_schedule_that_cannot_be_kept_is_refused(wrong: dict[str, int]) -> None:
    """The last one would have more keys stand at a time than a ring may hold."""
    with pytest.raises(InvalidArgument):
        Schedule(**wrong)
