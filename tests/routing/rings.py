"""Keys that sign, for tests."""

from typing import Final

from globaltable.routing.key_rotation import new_record
from globaltable.routing.keyring import KeyRecord, Keyring
from globaltable.routing.signatures import Algorithm, KeyTerms, RootSecret

NOW_S: Final = 1_900_000_000
AUDIENCE: Final = "im/chat"
ROOT: Final = RootSecret(bytes(range(32)))
DAY_S: Final = 86_400


def record(
    key_id: int = 1,
    algorithm: Algorithm = Algorithm.HMAC_SHA256_128,
    *,
    begins_s: int = NOW_S - 100,
    signs_for_s: int = DAY_S,
    root: RootSecret = ROOT,
    audience: str = AUDIENCE,
) -> KeyRecord:
    """The record of a key; what it signs counts for a day after it."""
    ends_s = begins_s + signs_for_s
    terms = KeyTerms(key_id, begins_s, ends_s, ends_s + DAY_S)
    return new_record(terms, root, algorithm, audience)


def ring(*records: KeyRecord, audience: str = AUDIENCE) -> Keyring:
    return Keyring(audience, records, [ROOT])


def ring_of(algorithm: Algorithm) -> Keyring:
    return ring(record(algorithm=algorithm))
