"""chalicelib/auth/id_token.py: RS256 without `cryptography`, tested with `cryptography`, RFC 7515 and forgeries."""

import base64
import hashlib
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from chalicelib.auth import id_token
from chalicelib.auth.id_token import IdTokenInvalid, PublicKey
from tests.support.slack_server import jwk

NOW = 1_763_938_000_000
NONCE = "n-0S6_WzA2Mj"
RSA = id_token._RS256()

RFC_7515_N = (
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pC"
    "gNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg6"
    "65xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRW"
    "yuXpoQ"
)
RFC_7515_INPUT = (
    b"eyJhbGciOiJSUzI1NiJ9."
    b"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
RFC_7515_SIGNATURE = (
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t"
    "1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12j"
    "zDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ"
    "Ge77Rw"
)


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_example_of_rfc_7515_verifies_and_fails_with_a_changed_bit() -> None:
    key = PublicKey(int.from_bytes(decode(RFC_7515_N), "big"), 65_537)
    signature = decode(RFC_7515_SIGNATURE)
    assert RSA.verify(RFC_7515_INPUT, key, signature)
    for bit in range(0, 2_048, 97):
        changed = (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(256, "big")
        assert not RSA.verify(RFC_7515_INPUT, key, changed)
    assert not RSA.verify(RFC_7515_INPUT + b".", key, signature)


@pytest.mark.parametrize("bits", [2_048, 2_056, 3_072])
def test_signature_made_by_cryptography_verifies(bits: int) -> None:
    private = generate_private_key(65_537, bits)
    keys = id_token.public_keys({"keys": [jwk(private, "k")]})
    token = jwt.encode(valid_claims(), private, "RS256", headers={"kid": "k"})
    assert verify(token, keys) == valid_claims()


def test_signature_of_wrong_length_or_beyond_the_modulus_fails() -> None:
    key = PublicKey(int.from_bytes(decode(RFC_7515_N), "big"), 65_537)
    signature = decode(RFC_7515_SIGNATURE)
    for other in (b"", signature[1:], b"\0" + signature, signature + b"\0", bytes(256), b"\xff" * 256):
        assert not RSA.verify(RFC_7515_INPUT, key, other)
    beyond_modulus = (int.from_bytes(signature, "big") + key.n).to_bytes(257, "big")[-256:]
    assert not RSA.verify(RFC_7515_INPUT, key, beyond_modulus)


def cube_root(number: int) -> int:
    """The smallest integer whose cube is at least `number`."""
    low, high = 0, 1 << (number.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**3 < number else (low, middle)
    return low


def test_forgery_with_arbitrary_bytes_after_the_hash_fails() -> None:
    """Bleichenbacher's forgery of 2006. With the exponent 3, a cube root fools a verifier that parses the padding."""
    private = generate_private_key(3, 2_048)
    key = PublicKey(private.public_key().public_numbers().n, 3)
    hashed = id_token._SHA256 + hashlib.sha256(b"a message").digest()
    prefix = b"\x00\x01" + b"\xff" * 8 + b"\x00" + hashed
    forged = cube_root(int.from_bytes(prefix.ljust(256, b"\x00"), "big"))
    assert (forged**3).to_bytes(256, "big").startswith(prefix)
    assert forged**3 < key.n
    assert not RSA.verify(b"a message", key, forged.to_bytes(256, "big"))


def valid_claims(**changes: Any) -> dict[str, Any]:
    times = {"iat": NOW // 1_000, "exp": NOW // 1_000 + 300}
    return {"iss": "https://slack.com", "aud": "client", "nonce": NONCE} | times | changes


PRIVATE = generate_private_key(65_537, 2_048)
KEYS = id_token.public_keys({"keys": [jwk(PRIVATE, "k")]})


def verify(token: str, keys: id_token.Keys = KEYS, now: int = NOW) -> dict[str, Any]:
    nonce_hash = hashlib.sha256(NONCE.encode()).hexdigest()
    return id_token.verified_claims(
        token, keys, issuer="https://slack.com", audience="client", nonce_hash=nonce_hash, now=now
    )


def sign(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, PRIVATE, "RS256", headers={"kid": "k"})


@pytest.mark.parametrize("changes", [{}, {"aud": ["client"]}, {"aud": ["client", "other"], "azp": "client"}])
def test_token_for_this_client_is_verified(changes: dict[str, Any]) -> None:
    assert verify(sign(valid_claims(**changes))) == valid_claims(**changes)


def test_times_have_thirty_seconds_of_leeway_at_both_ends() -> None:
    token = sign(valid_claims())
    for at in (NOW - 30_000, NOW + 300_000 + 29_999):
        verify(token, now=at)
    for at in (NOW - 31_000, NOW + 300_000 + 30_000):
        with pytest.raises(IdTokenInvalid):
            verify(token, now=at)


@pytest.mark.parametrize(
    "changes",
    [{"aud": ["other"]}, {"aud": []}, {"aud": {"client": 1}}, {"aud": ["client"], "azp": "other"}, {"exp": []}],
)
def test_token_for_another_client_or_without_valid_claims_is_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(IdTokenInvalid):
        verify(sign(valid_claims(**changes)))


def test_keys_that_cannot_verify_are_skipped() -> None:
    (entry,) = [jwk(PRIVATE, "k")]
    small = jwk(generate_private_key(65_537, 1_024), "small")  # noqa: S505  # deliberately too small
    document = {"keys": [small, entry | {"kid": "enc", "use": "enc"}, entry | {"kid": "e", "e": "Ag"}, {}, None, entry]}
    assert set(id_token.public_keys(json.loads(json.dumps(document)))) == {"k"}
    malformed: list[Any] = [None, [], "keys", {"keys": None}, {"keys": "k"}]
    for document in malformed:
        assert id_token.public_keys(document) == {}
