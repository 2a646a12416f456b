"""What says who somebody is, or that nobody believes it: tokens, and the file of revocations."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from globaltable.errors import ConfigError
from globaltable.server.identities import Unidentified
from globaltable.server.revocation import parse_revoked
from globaltable.server.tokens import Token, TokenKeys, encoded
from tests.fuzz.mutations import Grammar
from tests.fuzz.subject import Subject, Target

_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(32))
_KEYS: Final = TokenKeys(
    {"k1": _KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)}, "im", "im/7f"
)
_CLAIMS: Final = (
    b'{"sub":"web","aud":"im/7f","exp":1900000000,"nbf":0}',
    '{"sub":"北京","aud":"im/7f","exp":1}'.encode(),
)
_HEADER: Final = encoded(b'{"alg":"EdDSA","kid":"k1"}')


def _token() -> Subject:
    seeds = [_signed(claims).encode() for claims in _CLAIMS]
    return Subject(seeds, lambda data: _KEYS.read(data.decode("latin-1"), 0.0))


def _signed(claims: bytes) -> str:
    signed = f"{_HEADER}.{encoded(claims)}"
    return f"{signed}.{encoded(_KEY.sign(signed.encode()))}"


def _signed_claims() -> Subject:
    """Whatever they say, they are signed: what comes behind the check of the signature."""

    def decode(data: bytes) -> Token:
        return _KEYS.read(_signed(data), 0.0)

    return Subject(_CLAIMS, decode)


def _revoked() -> Subject:
    seeds = [b"serial=5F2C09D41A7B # lost\n", b"globaltable://im/client/web\n\n# more\n", b""]
    return Subject(seeds, lambda data: parse_revoked(data.decode("latin-1"), "revoked.txt"))


TARGETS: Final = (
    Target("token", _token, (Unidentified,), Grammar.TEXT),
    Target("claims of a token", _signed_claims, (Unidentified,), Grammar.TEXT),
    Target("file of revocations", _revoked, (ConfigError,), Grammar.TEXT),
)
