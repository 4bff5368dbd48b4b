"""Id tokens (OpenID Connect Core 1.0, section 3.1.3.7): what one must say to be believed. No I/O.

Slack signs with RS256. OpenID Connect would let us take the TLS of the token endpoint for the signature; we check it
all the same, so that nothing hangs on how the token came. PyJWT does that with `cryptography` alone, which would put
16 MB into every function for one operation on a public key; so that operation stands here (RFC 8017, section 8.2.2). It
handles no secret, and it makes the one encoding that is right and compares, instead of reading the one that came, which
is where such code goes wrong.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import jwt
from jwt.algorithms import Algorithm
from jwt.api_jws import PyJWS

from chalicelib.core.errors import DevFlowError
from chalicelib.core.settings import SECOND
from chalicelib.core.text import sha256_hex

LEEWAY = 30 * SECOND
MIN_KEY_BITS = 2_048
"""RFC 7518, section 3.3."""

_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
"""What stands before a SHA-256 hash in a signature (RFC 8017, section 9.2, note 1)."""


class IdTokenInvalid(DevFlowError):
    """The id token is not one to believe."""


class PublicKey(NamedTuple):
    """An RSA public key."""

    n: int
    e: int


Keys = Mapping[str, PublicKey]
"""By key id."""


class _RS256(Algorithm):
    """RSASSA-PKCS1-v1_5 with SHA-256, verifying only."""

    def prepare_key(self, key: Any) -> Any:
        return key

    def sign(self, msg: bytes, key: Any) -> bytes:
        raise NotImplementedError

    def verify(self, msg: bytes, key: PublicKey, sig: bytes) -> bool:
        size = (key.n.bit_length() + 7) // 8
        number = int.from_bytes(sig, "big")
        if len(sig) != size or number >= key.n:
            return False
        info = _SHA256 + hashlib.sha256(msg).digest()
        wanted = b"\x00\x01" + b"\xff" * (size - 3 - len(info)) + b"\x00" + info
        return hmac.compare_digest(pow(number, key.e, key.n).to_bytes(size, "big"), wanted)

    @staticmethod
    def to_jwk(key_obj: Any, as_dict: bool = False) -> Any:  # noqa: FBT001, FBT002  # PyJWT's signature
        raise NotImplementedError

    @staticmethod
    def from_jwk(jwk: Any) -> Any:
        raise NotImplementedError


_jws = PyJWS(algorithms=[])
_jws.register_algorithm("RS256", _RS256())


def key_id(token: str) -> str:
    """Which key a token says that it was signed with. Raises NotBelieved."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except jwt.PyJWTError:
        raise IdTokenInvalid("It is no token.") from None
    if not isinstance(kid, str):
        raise IdTokenInvalid("It names no key.")
    return kid


def public_keys(document: Any) -> Keys:
    """The keys of a JWK Set (RFC 7517, section 5) that can verify RS256; others are passed over."""
    listed = document.get("keys") if isinstance(document, dict) else None
    found = {}
    for entry in listed if isinstance(listed, list) else []:
        try:
            if entry["kty"] != "RSA" or entry.get("use", "sig") != "sig" or entry.get("alg", "RS256") != "RS256":
                continue
            key = PublicKey(_decode_integer(entry["n"]), _decode_integer(entry["e"]))
            kid = str(entry["kid"])
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        if key.n.bit_length() >= MIN_KEY_BITS and key.e in (3, 17, 65_537):
            found[kid] = key
    return found


def verified_claims(token: str, keys: Keys, *, issuer: str, audience: str, nonce_hash: str, now: int) -> dict[str, Any]:
    """What a token says, if it was signed by one of the issuer's keys, for us, for this login, and not too long ago.

    Raises NotBelieved. `nonce_hash` is what `hashed` makes of the nonce that went out.
    """
    key = keys.get(key_id(token))
    if key is None:
        raise IdTokenInvalid("It is signed with a key that the issuer does not have.")
    try:
        said = jwt.PyJWT().decode(token, options={"verify_signature": False})
        _jws.decode(token, cast(Any, key), algorithms=["RS256"])
        expires, issued = int(said["exp"]), int(said["iat"])
        addressed = said["aud"] if isinstance(said["aud"], list) else [said["aud"]]
        nonce = sha256_hex(str(said["nonce"]))
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError):
        raise IdTokenInvalid("Its signature or its claims are not as they should be.") from None
    if said.get("iss") != issuer:
        raise IdTokenInvalid("It is of another issuer.")
    if audience not in addressed or said.get("azp", audience) != audience:
        raise IdTokenInvalid("It is for somebody else.")
    if now >= expires * SECOND + LEEWAY or issued * SECOND > now + LEEWAY:
        raise IdTokenInvalid("It has expired, or is of the future.")
    if not hmac.compare_digest(nonce, nonce_hash):
        raise IdTokenInvalid("It is of another login.")
    return said


def _decode_integer(text: str) -> int:
    """A Base64urlUInt (RFC 7518, section 2)."""
    return int.from_bytes(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True), "big")
