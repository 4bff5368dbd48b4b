"""chalicelib/auth/id_token.py: RS256 without `cryptography`, held against it, against RFC 7515 and against forgers."""

import base64
import hashlib
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from chalicelib.auth import id_token
from chalicelib.auth.id_token import IdTokenInvalid, PublicKey
from tests.support.slack import jwk

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


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_example_of_rfc_7515_is_right_and_with_any_bit_changed_wrong() -> None:
    key = PublicKey(int.from_bytes(decoded(RFC_7515_N), "big"), 65_537)
    signature = decoded(RFC_7515_SIGNATURE)
    assert RSA.verify(RFC_7515_INPUT, key, signature)
    for bit in range(0, 2_048, 97):
        changed = (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(256, "big")
        assert not RSA.verify(RFC_7515_INPUT, key, changed)
    assert not RSA.verify(RFC_7515_INPUT + b".", key, signature)


@pytest.mark.parametrize("bits", [2_048, 2_056, 3_072])
def test_what_cryptography_signs_is_right(bits: int) -> None:
    private = generate_private_key(65_537, bits)
    keys = id_token.public_keys({"keys": [jwk(private, "k")]})
    token = jwt.encode(good(), private, "RS256", headers={"kid": "k"})
    assert believed(token, keys) == good()


def test_a_signature_of_another_length_or_beyond_the_key_is_wrong() -> None:
    key = PublicKey(int.from_bytes(decoded(RFC_7515_N), "big"), 65_537)
    signature = decoded(RFC_7515_SIGNATURE)
    for other in (b"", signature[1:], b"\0" + signature, signature + b"\0", bytes(256), b"\xff" * 256):
        assert not RSA.verify(RFC_7515_INPUT, key, other)
    beyond = (int.from_bytes(signature, "big") + key.n).to_bytes(257, "big")[-256:]
    assert not RSA.verify(RFC_7515_INPUT, key, beyond)


def cube_root(number: int) -> int:
    """The least whole number whose cube is at least this."""
    low, high = 0, 1 << (number.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**3 < number else (low, middle)
    return low


def test_a_forgery_that_hides_rubbish_behind_the_hash_is_wrong() -> None:
    """Bleichenbacher's of 2006: with the exponent 3 a cube root is enough for whoever reads the padding that came."""
    private = generate_private_key(3, 2_048)
    key = PublicKey(private.public_key().public_numbers().n, 3)
    hashed = id_token._SHA256 + hashlib.sha256(b"a message").digest()
    begins = b"\x00\x01" + b"\xff" * 8 + b"\x00" + hashed
    forged = cube_root(int.from_bytes(begins.ljust(256, b"\x00"), "big"))
    assert (forged**3).to_bytes(256, "big").startswith(begins)
    assert forged**3 < key.n
    assert not RSA.verify(b"a message", key, forged.to_bytes(256, "big"))


def good(**more: Any) -> dict[str, Any]:
    said = {"iss": "https://slack.com", "aud": "client", "nonce": NONCE, "iat": NOW // 1_000, "exp": NOW // 1_000 + 300}
    return said | more


PRIVATE = generate_private_key(65_537, 2_048)
KEYS = id_token.public_keys({"keys": [jwk(PRIVATE, "k")]})


def believed(token: str, keys: id_token.Keys = KEYS, now: int = NOW) -> dict[str, Any]:
    nonce_hash = hashlib.sha256(NONCE.encode()).hexdigest()
    return id_token.verified_claims(
        token, keys, issuer="https://slack.com", audience="client", nonce_hash=nonce_hash, now=now
    )


def signed(said: dict[str, Any]) -> str:
    return jwt.encode(said, PRIVATE, "RS256", headers={"kid": "k"})


@pytest.mark.parametrize("more", [{}, {"aud": ["client"]}, {"aud": ["client", "other"], "azp": "client"}])
def test_what_is_said_to_us_in_time_is_believed(more: dict[str, Any]) -> None:
    assert believed(signed(good(**more))) == good(**more)


def test_time_has_half_a_minute_of_leeway_on_both_ends() -> None:
    token = signed(good())
    for at in (NOW - 30_000, NOW + 300_000 + 29_999):
        believed(token, now=at)
    for at in (NOW - 31_000, NOW + 300_000 + 30_000):
        with pytest.raises(IdTokenInvalid):
            believed(token, now=at)


@pytest.mark.parametrize(
    "more", [{"aud": ["other"]}, {"aud": []}, {"aud": {"client": 1}}, {"aud": ["client"], "azp": "other"}, {"exp": []}]
)
def test_what_is_said_to_others_is_not(more: dict[str, Any]) -> None:
    with pytest.raises(IdTokenInvalid):
        believed(signed(good(**more)))


def test_keys_that_cannot_verify_are_passed_over() -> None:
    (entry,) = [jwk(PRIVATE, "k")]
    small = jwk(generate_private_key(65_537, 1_024), "small")  # noqa: S505  # which is what it is for
    document = {"keys": [small, entry | {"kid": "enc", "use": "enc"}, entry | {"kid": "e", "e": "Ag"}, {}, None, entry]}
    assert set(id_token.public_keys(json.loads(json.dumps(document)))) == {"k"}
    nothings: list[Any] = [None, [], "keys", {"keys": None}, {"keys": "k"}]
    for nothing in nothings:
        assert id_token.public_keys(nothing) == {}
