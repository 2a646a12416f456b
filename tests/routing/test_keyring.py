"""Keys: their records hold no secret and one meaning, and a root is known by what it makes."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable import limits, validation
from globaltable.cli.main import run
from globaltable.errors import ConfigError, Corrupt, InvalidArgument
from globaltable.routing.client import roots
from globaltable.routing.keyring import (
    KEYS_MAX,
    TIME_S_MAX,
    KeyRecord,
    Keyring,
    decode_record,
    encode_record,
    key_id_of_name,
    record_name,
)
from globaltable.routing.signatures import Algorithm, RootSecret
from tests.routing.rings import AUDIENCE, NOW_S, ROOT, record, ring

HMAC, ED25519 = Algorithm.HMAC_SHA256_128, Algorithm.ED25519
OTHER_ROOT = RootSecret(b"y" * 32)
times = st.lists(st.integers(0, TIME_S_MAX), min_size=3, max_size=3).map(sorted)


@given(
    key_id=st.integers(1, 2**32 - 1),
    algorithm=st.sampled_from(Algorithm),
    public=st.binary(min_size=32, max_size=32),
    times=times.filter(lambda three: three[0] < three[1]),
)
def test_a_record_fits_a_binding_and_comes_back(
    key_id: int, algorithm: Algorithm, public: bytes, times: list[int]
) -> None:
    made = KeyRecord(key_id, algorithm, public, *times)
    name, unit = record_name(AUDIENCE, key_id), encode_record(made)
    validation.require_key(name)
    validation.require_unit(unit)
    assert decode_record(AUDIENCE, name, unit) == made
    assert key_id_of_name(AUDIENCE, name) == key_id


GOOD = encode_record(record())


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("header-key/im/chat/1", GOOD),
        ("header-key/im/room/0000000001", GOOD),
        (record_name(AUDIENCE, 1).replace("1", "١"), GOOD),
        ("header-key/im/chat/0000000000", GOOD),
        ("header-key/im/chat/9999999999", GOOD),
        (record_name(AUDIENCE, 1), ""),
        (record_name(AUDIENCE, 1), "2" + GOOD[1:]),
        (record_name(AUDIENCE, 1), "1x" + GOOD[2:]),
        (record_name(AUDIENCE, 1), GOOD + "A"),
        (record_name(AUDIENCE, 1), GOOD[:-1]),
        (record_name(AUDIENCE, 1), GOOD[:-1] + "="),
        (record_name(AUDIENCE, 1), GOOD[:-1] + chr(ord(GOOD[-1]) + 1)),
        (record_name(AUDIENCE, 1), GOOD[:10] + "+" + GOOD[11:]),
        (record_name(AUDIENCE, 1), GOOD[:10] + "é" + GOOD[11:]),
        (record_name(AUDIENCE, 1), "1h" + "A" * 59),
    ],
)
def test_what_is_no_record_is_corrupt(name: str, unit: str) -> None:
    with pytest.raises(Corrupt):
        decode_record(AUDIENCE, name, unit)


@pytest.mark.parametrize("three", [(2, 1, 3), (1, 3, 2), (1, 1, 1), (-1, 1, 2), (1, 2, 2**32)])
def test_a_key_signs_before_it_ends(three: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidArgument):
        KeyRecord(1, HMAC, bytes(32), *three)


def test_who_holds_no_root_can_check_ed25519_and_nothing_else() -> None:
    keys = Keyring(AUDIENCE, [record(1, HMAC), record(2, ED25519)])
    assert keys.unusable == {1} and keys.find(1) is None
    found = keys.find(2)
    assert found is not None and found.signs is None
    assert keys.signing(NOW_S) is None


def test_a_wrong_root_is_noticed_before_it_signs_anything() -> None:
    keys = Keyring(AUDIENCE, [record(1, HMAC), record(2, ED25519)], [OTHER_ROOT])
    assert keys.unusable == {1} and keys.signing(NOW_S) is None


def test_while_a_root_is_replaced_keys_of_both_count() -> None:
    keys = Keyring(
        AUDIENCE, [record(1), record(2, begins_s=NOW_S, root=OTHER_ROOT)], [OTHER_ROOT, ROOT]
    )
    assert not keys.unusable
    signing = keys.signing(NOW_S)
    assert signing is not None and signing.record.key_id == 2


def test_the_same_number_at_another_time_is_another_key() -> None:
    """So headers of a table that was lost do not count with the keys of the next one."""
    assert record(1, begins_s=NOW_S).public != record(1, begins_s=NOW_S + 1).public
    assert record(1, audience="im/a").public != record(1, audience="im/b").public


@pytest.mark.parametrize("field", ["not_before_s", "sign_until_s", "verify_until_s"])
def test_who_may_write_records_cannot_give_an_hmac_key_more_time(field: str) -> None:
    made = record(1, HMAC)
    longer = replace(made, **{field: getattr(made, field) + (-1 if field[0] == "n" else 1)})
    assert ring(longer).unusable == {1}


def test_a_ring_is_bounded_and_names_each_key_once() -> None:
    many = [record(n) for n in range(1, KEYS_MAX + 2)]
    ring(*many[:-1])
    with pytest.raises(InvalidArgument, match="at most"):
        ring(*many)
    with pytest.raises(InvalidArgument, match="two records"):
        ring(many[0], many[0])


@pytest.mark.parametrize("audience", ["", "a\0b", "x" * 129, "\ud800"])
def test_an_audience_has_a_name(audience: str) -> None:
    with pytest.raises(InvalidArgument):
        Keyring(audience)


def test_the_longest_audience_leaves_room_for_the_name_of_a_record() -> None:
    assert len(record_name("x" * 128, 2**32 - 1).encode()) <= limits.KEY_BYTES_MAX


def test_nothing_shows_a_secret() -> None:
    secret = bytes(range(32))
    keys = ring(record(1, HMAC), record(2, ED25519))
    found = [keys.find(1), keys.find(2)]
    shown = repr([ROOT, keys, found, [one and one.signs for one in found], *keys.records.values()])
    for key_id, algorithm in enumerate(Algorithm, 1):
        derived = ROOT._derive(algorithm, AUDIENCE, record(key_id, algorithm).terms)
        for kept in (secret, derived):
            assert repr(kept)[2:-1] not in shown and kept.hex() not in shown
    assert "object at" in repr(ROOT)


def test_roots_come_from_a_file_of_the_owners(tmp_path: Path) -> None:
    path = tmp_path / "roots"
    lines = [roots.new_root(), roots.new_root()]
    path.write_text("\n".join(lines) + "\n\n")
    path.chmod(0o600)
    first, second = roots.load(path)
    secret = base64.urlsafe_b64decode(lines[0] + "=")
    terms = record().terms
    public = RootSecret(secret).public(HMAC, AUDIENCE, terms)
    assert first.public(HMAC, AUDIENCE, terms) == public != second.public(HMAC, AUDIENCE, terms)


def test_the_shell_makes_a_root_and_does_not_show_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "roots"
    assert run(["keys", "new-root", str(path)]) == 0
    assert run(["keys", "new-root", str(path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"{path} holds 1 root secret", f"{path} holds 2 root secrets"]
    path.chmod(0o644)
    assert run(["keys", "new-root", str(path)]) == 2
    assert "chmod 600" in capsys.readouterr().err


def test_a_file_of_roots_is_made_and_added_to_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "roots"
    assert roots.add(path) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(path.read_text().rstrip("\n"))
    for count in range(2, roots.ROOTS_MAX + 1):
        assert roots.add(path) == count == len(roots.load(path))
    for refused in (path, tmp_path / "none" / "roots"):
        with pytest.raises(ConfigError):
            roots.add(refused)
    assert len(roots.load(path)) == roots.ROOTS_MAX


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        ("", 0o600),
        ("hunter2", 0o600),
        ("aHVudGVyMg", 0o600),
        ("not base64 hunter2 not base64 hunter2 not base64", 0o600),
        ("A" * 20_000, 0o600),
        ("A" * 43 + "\n" + "B", 0o600),
        ("\n".join(["A" * 43] * 9), 0o600),
        ("A" * 43, 0o640),
        ("A" * 43, 0o604),
    ],
)
def test_a_file_that_is_none_is_refused_without_showing_it(
    tmp_path: Path, content: str, mode: int
) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(ConfigError) as refused:
        roots.load(path)
    assert str(path) in str(refused.value) and "hunter2" not in str(refused.value)
    with pytest.raises(ConfigError):
        roots.load(tmp_path / "none")


@pytest.mark.parametrize("size", [0, 31, 1_025])
def test_a_root_is_long_enough_to_be_one(size: int) -> None:
    with pytest.raises(InvalidArgument):
        RootSecret(b"x" * size)
