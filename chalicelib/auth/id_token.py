"""Verifies id tokens (OpenID Connect Core 1.0, section 3.1.3.7). No I/O.

Slack signs id tokens with RS256. OpenID Connect allows a client that gets the token from the token endpoint over TLS to
skip the signature. This module verifies it nevertheless, so that security does not depend on how the token arrived.

PyJWT verifies RS256 only with `cryptography`, which would add 16 MB to every function for one operation with a public
key. So this module implements that operation (RFC 8017, section 8.2.2). It handles no secret. It encodes the expected
message and compares, instead of parsing the received encoding. Errors in such parsers have made signatures forgeable.
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
"""The DER prefix of a SHA-256 hash in a signature (RFC 8017, section 9.2, note 1)."""


class IdTokenInvalid(DevFlowError):
    """The id token could not be verified."""


class PublicKey(NamedTuple):
    """An RSA public key."""

    n: int
    e: int


Keys = Mapping[str, PublicKey]
"""The keys of an issuer, by key id."""


class _RS256(Algorithm):
    """RSASSA-PKCS1-v1_5 with SHA-256. It can only verify."""

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
        expected = b"\x00\x01" + b"\xff" * (size - 3 - len(info)) + b"\x00" + info
        return hmac.compare_digest(pow(number, key.e, key.n).to_bytes(size, "big"), expected)

    @staticmethod
    def to_jwk(key_obj: Any, as_dict: bool = False) -> Any:  # noqa: FBT001, FBT002  # PyJWT's signature
        raise NotImplementedError

    @staticmethod
    def from_jwk(jwk: Any) -> Any:
        raise NotImplementedError


_jws = PyJWS(algorithms=[])
_jws.register_algorithm("RS256", _RS256())


def key_id(token: str) -> str:
    """The id of the key in the header of a token, which is not verified yet. Raises IdTokenInvalid."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except jwt.PyJWTError:
        raise IdTokenInvalid("The id token is not a JWT.") from None
    if not isinstance(kid, str):
        raise IdTokenInvalid("The id token has no key id.")
    return kid


def public_keys(document: Any) -> Keys:
    """The keys of a JWK Set (RFC 7517, section 5) that can verify RS256. Other keys are skipped."""
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
    """The claims of a token that one of the issuer's keys signed for this client and this login, and that has not
    expired.

    `nonce_hash` is the SHA-256 hash, in hexadecimal, of the nonce that was sent to the issuer. Raises IdTokenInvalid.
    """
    key = keys.get(key_id(token))
    if key is None:
        raise IdTokenInvalid("The id token names a key that the issuer does not publish.")
    try:
        claims = jwt.PyJWT().decode(token, options={"verify_signature": False})
        _jws.decode(token, cast(Any, key), algorithms=["RS256"])
        expires, issued = int(claims["exp"]), int(claims["iat"])
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        nonce = sha256_hex(str(claims["nonce"]))
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError):
        raise IdTokenInvalid("The signature or a claim of the id token is not valid.") from None
    if claims.get("iss") != issuer:
        raise IdTokenInvalid("The id token has another issuer.")
    if audience not in audiences or claims.get("azp", audience) != audience:
        raise IdTokenInvalid("The id token is for another client.")
    if now >= expires * SECOND + LEEWAY or issued * SECOND > now + LEEWAY:
        raise IdTokenInvalid("The id token has expired, or its time of issue is in the future.")
    if not hmac.compare_digest(nonce, nonce_hash):
        raise IdTokenInvalid("The id token is for another login.")
    return claims


def _decode_integer(text: str) -> int:
    """A Base64urlUInt (RFC 7518, section 2)."""
    return int.from_bytes(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True), "big")
