"""Which keys sign headers, and when: as they are kept in GlobalTable, and as they are used.

Responsible for a key's times, its record (a binding of `routing.meta`), and the ring of all keys
of an audience. Roots and signatures are `signatures`', the plan of changes `key_rotation`'s.

A key signs from `not_before_s` until `sign_until_s`, and what it has signed counts until
`verify_until_s`. Its record is published some time before it signs, so that all units know it by
then, and stays until the last header that it signed has expired.

Invariants: a ring is a value; a change makes a new ring. A record holds nothing secret. The record
says how a key signs: a header only names the key, so that it cannot choose how it is checked.
"""

import base64
import binascii
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from globaltable.errors import Corrupt, InvalidArgument
from globaltable.routing.signatures import (
    PUBLIC_BYTES,
    Algorithm,
    Checks,
    Ed25519PublicKey,
    KeyTerms,
    RootSecret,
    Signs,
    require_audience,
    signing_key,
)

KEYS_MAX: Final = 64
"""Keys in one ring: rotation needs two or three at a time."""
KEY_ID_MAX: Final = 2**32 - 1
TIME_S_MAX: Final = 2**32 - 1
"""Seconds since the epoch that fit a header: until 2106."""

_FORMAT: Final = "1"
_RECORD: Final = struct.Struct(f">{PUBLIC_BYTES}sIII")
_RECORD_TEXT: Final = 2 + (_RECORD.size * 8 + 5) // 6
_ID_DIGITS: Final = 10


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What everybody may know of a key. Times are in seconds since the epoch."""

    key_id: int
    algorithm: Algorithm
    public: bytes
    """The public key (Ed25519), or a check value that tells whether a root is the right one."""
    not_before_s: int
    sign_until_s: int
    verify_until_s: int

    def __post_init__(self) -> None:
        if not 1 <= self.key_id <= KEY_ID_MAX:
            raise InvalidArgument(f"key id {self.key_id} is out of range: 1 to {KEY_ID_MAX}")
        if len(self.public) != PUBLIC_BYTES:
            raise InvalidArgument(f"{len(self.public)} public bytes, not {PUBLIC_BYTES}")
        times = (0, self.not_before_s, self.sign_until_s, self.verify_until_s, TIME_S_MAX)
        if list(times) != sorted(times) or self.not_before_s == self.sign_until_s:
            raise InvalidArgument(
                f"key {self.key_id} is to sign from {self.not_before_s} until {self.sign_until_s}"
                f" and to count until {self.verify_until_s}: these must come in this order"
            )

    @property
    def terms(self) -> KeyTerms:
        return KeyTerms(self.key_id, self.not_before_s, self.sign_until_s, self.verify_until_s)

    def signs_at(self, now_s: float) -> bool:
        return self.not_before_s <= now_s < self.sign_until_s


def record_prefix(audience: str) -> str:
    """What the names of an audience's key records begin with, in `routing.meta`."""
    require_audience(audience)
    return f"header-key/{audience}/"


def record_name(audience: str, key_id: int) -> str:
    """The name of a key's record, in `routing.meta`."""
    return f"{record_prefix(audience)}{key_id:0{_ID_DIGITS}}"


def key_id_of_name(audience: str, name: str) -> int:
    """The key id in the name of a record; 0 if it names none."""
    digits = name.removeprefix(record_prefix(audience))
    if len(digits) != _ID_DIGITS or not (digits.isascii() and digits.isdigit()):
        return 0
    key_id = int(digits)
    return key_id if key_id <= KEY_ID_MAX else 0


def encode_record(record: KeyRecord) -> str:
    """A record as the unit of its binding: 61 characters, where a unit may have 64."""
    times = (record.not_before_s, record.sign_until_s, record.verify_until_s)
    packed = base64.urlsafe_b64encode(_RECORD.pack(record.public, *times)).decode()
    return _FORMAT + record.algorithm.value + packed.rstrip("=")


def decode_record(audience: str, name: str, unit: str) -> KeyRecord:
    """A record from its binding. Raises `Corrupt` if it is none of this version's."""
    what = f"key record {name!r}"
    key_id = key_id_of_name(audience, name)
    if not key_id:
        raise Corrupt(f"{what} is not named by the {_ID_DIGITS} digits of a key id")
    if unit[:1] != _FORMAT or len(unit) != _RECORD_TEXT:
        raise Corrupt(f"{what} is of an unknown format: {unit[:8]!r}…; upgrade, or remove it")
    try:
        algorithm = Algorithm(unit[1])
        packed = unit[2:].translate(_FROM_URLSAFE) + "=" * (-(_RECORD_TEXT - 2) % 4)
        public, *times = _RECORD.unpack(binascii.a2b_base64(packed, strict_mode=True))
        record = KeyRecord(key_id, algorithm, public, *times)
    except (ValueError, struct.error) as error:
        raise Corrupt(f"{what} does not decode: {error}") from error
    if encode_record(record) != unit:
        raise Corrupt(f"{what} is not in its one form")
    return record


_FROM_URLSAFE: Final = str.maketrans({"-": "+", "_": "/", "+": "!", "/": "!"})


class RingKey:
    """A key in a ring: its record, and what can be done with it here."""

    __slots__ = ("checks", "record", "signature_bytes", "signs")

    def __init__(self, record: KeyRecord, checks: Checks, signs: Signs | None) -> None:
        self.record: Final = record
        self.checks: Final = checks
        self.signature_bytes: Final = record.algorithm.signature_bytes
        self.signs: Final = signs
        """None where no root secret is held that it was derived from."""

    def __repr__(self) -> str:
        return f"RingKey({self.record!r}, signs={self.signs is not None})"


class Keyring:
    """The keys of one audience, as one process can use them. A value."""

    __slots__ = ("_keys", "audience", "records", "unusable")

    def __init__(
        self, audience: str, records: Iterable[KeyRecord] = (), roots: Iterable[RootSecret] = ()
    ) -> None:
        """Raises `InvalidArgument` for two records of one id, or more than `KEYS_MAX`."""
        require_audience(audience)
        self.audience: Final = audience
        by_id: dict[int, KeyRecord] = {}
        for record in records:
            if record.key_id in by_id:
                raise InvalidArgument(f"two records of key {record.key_id}")
            by_id[record.key_id] = record
        if len(by_id) > KEYS_MAX:
            raise InvalidArgument(f"{len(by_id)} keys in one ring; at most {KEYS_MAX} are allowed")
        self.records: Final[Mapping[int, KeyRecord]] = MappingProxyType(by_id)
        roots = tuple(roots)
        self._keys: dict[int, RingKey] = {}
        for record in by_id.values():
            key = _ring_key(audience, record, roots)
            if key is not None:
                self._keys[record.key_id] = key
        self.unusable: Final = frozenset(by_id) - frozenset(self._keys)
        """Keys that cannot even be checked with here: HMAC keys of roots that are not held."""

    def find(self, key_id: int) -> RingKey | None:
        """The key of this id, if it can be checked with."""
        return self._keys.get(key_id)

    def signing(self, now_s: float) -> RingKey | None:
        """The key to sign with now: of those that may, the one that began last."""
        able = [key for key in self._keys.values() if key.signs and key.record.signs_at(now_s)]
        return max(able, key=lambda key: (key.record.not_before_s, key.record.key_id), default=None)

    def __repr__(self) -> str:
        return f"Keyring({self.audience!r}, keys={sorted(self.records)})"


def _ring_key(audience: str, record: KeyRecord, roots: tuple[RootSecret, ...]) -> RingKey | None:
    signs = signing_key(roots, record.public, record.algorithm, audience, record.terms)
    if signs is not None:
        return RingKey(record, signs, signs)
    if record.algorithm is Algorithm.ED25519:
        return RingKey(record, Ed25519PublicKey(record.public, audience), None)
    return None
