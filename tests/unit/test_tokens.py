"""chalicelib/auth/tokens.py: the claims of a token, and every way in which a token is not valid."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest

from chalicelib.auth import keys, tokens
from chalicelib.core.errors import Unauthenticated, Unavailable
from chalicelib.core.settings import DAY, MINUTE, SECOND, settings

NOW = 1_763_938_000_000
OLD, NEW, FOREIGN = b"o" * 32, b"n" * 32, b"f" * 32


@pytest.fixture
def use_keys(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the keys: `use_keys("new", old=..., new=...)`. A container reads them when its keys are old."""

    def replace_keys(current: str, **ring: bytes) -> None:
        text = json.dumps({"current": f"key-{current}"} | {f"key-{name}": key.decode() for name, key in ring.items()})
        monkeypatch.setattr(keys, "settings", replace(settings, local_secret=text))

    return replace_keys


@pytest.fixture(autouse=True)
def _one_key(monkeypatch: pytest.MonkeyPatch, use_keys: Callable[..., None]) -> None:
    monkeypatch.setattr(keys, "_cached", None)
    monkeypatch.setattr(tokens, "_verified", {})
    use_keys("old", old=OLD)


def claims(**other: Any) -> dict[str, Any]:
    """The claims of a valid user's token, with changes. None leaves a claim out."""
    valid = {
        "iss": "devflow",
        "aud": f"devflow-{settings.stage}",
        "sub": "user-1",
        "own": "user-1",
        "typ": "user",
        "ver": "v1",
        "jti": "j",
        "iat": NOW // 1_000,
        "exp": (NOW + DAY) // 1_000,
    }
    return {name: value for name, value in (valid | other).items() if value is not None}


def forged(key: bytes = OLD, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **other: Any) -> str:
    """A token that was not issued by `tokens.issue`."""
    return jwt.encode(
        claims(**other), key, algorithm=algorithm, headers={"kid": "key-old"} if headers is None else headers
    )


def test_token_identifies_its_caller_for_thirty_days() -> None:
    token = tokens.issue("agent", "user-1", "agent-1", "v1", NOW)
    caller = tokens.verify(token, NOW)
    assert (caller.kind, caller.owner, caller.subject, caller.ver) == ("agent", "user-1", "agent-1", "v1")
    assert caller.is_agent
    assert caller.expires == NOW // 1_000 * 1_000 + 30 * DAY


def test_token_has_the_documented_claims_and_header() -> None:
    token = tokens.issue("user", "user-1", "user-1", "v1", NOW)
    decoded = jwt.decode(token, options={"verify_signature": False})
    assert set(decoded) == {"iss", "aud", "sub", "iat", "exp", "jti", "typ", "ver", "own"}
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": "key-old"}


def test_all_tokens_and_versions_are_different() -> None:
    assert len({tokens.issue("user", "u", "u", "v", NOW) for _ in range(50)}) == 50
    assert len({tokens.new_version() for _ in range(50)}) == 50


def test_token_with_valid_claims_and_signature_is_accepted() -> None:
    assert tokens.verify(forged(), NOW).owner == "user-1"


def test_cached_token_expires_too() -> None:
    token = tokens.issue("user", "u", "u", "v", NOW)
    assert tokens.verify(token, NOW) is tokens.verify(token, NOW + DAY)
    with pytest.raises(Unauthenticated):
        tokens.verify(token, NOW + 31 * DAY)


def test_cache_of_verified_tokens_is_bounded() -> None:
    for number in range(1_005):
        tokens.verify(tokens.issue("user", f"u{number}", f"u{number}", "v", NOW), NOW)
    assert len(tokens._verified) <= 1_000


@pytest.mark.parametrize(("late", "accepted"), [(29 * SECOND, True), (30 * SECOND, False)])
def test_expiry_has_thirty_seconds_of_leeway(late: int, accepted: bool) -> None:  # noqa: FBT001
    end = (NOW + DAY) // 1_000 * 1_000
    if accepted:
        tokens.verify(forged(), end + late)
    else:
        with pytest.raises(Unauthenticated, match="expired"):
            tokens.verify(forged(), end + late)


def test_expired_token_of_an_agent_is_rejected() -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forged(typ="agent", sub="agent-1"), NOW + 31 * DAY)


def unsigned(algorithm: str) -> str:
    """A token without a signature, whose header names this algorithm (RFC 8725, section 2.1)."""
    parts = [{"alg": algorithm, "typ": "JWT", "kid": "key-old"}, claims()]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", ""])
def test_token_without_a_signature_is_rejected(algorithm: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(unsigned(algorithm), NOW)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_other_algorithm_is_rejected_even_with_the_right_key(algorithm: str) -> None:
    long_key = b"o" * 64
    with pytest.raises(Unauthenticated):
        tokens.verify(forged(long_key, algorithm), NOW)


@pytest.mark.parametrize("kid", ["unknown", "", 1, None, ["key-old"], {"key-old": 1}, "key-old\n", "current"])
def test_unknown_or_malformed_key_id_is_rejected(kid: object) -> None:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": kid}).encode()).decode().rstrip("=")
    _, payload, signature = forged().split(".")
    with pytest.raises(Unauthenticated):
        tokens.verify(f"{header}.{payload}.{signature}", NOW)


def test_token_without_a_key_id_is_rejected() -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forged(headers={}), NOW)


def test_token_signed_with_another_key_is_rejected() -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forged(FOREIGN), NOW)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_token_with_a_changed_part_is_rejected(at: int) -> None:
    parts = forged().split(".")
    other = forged(sub="user-2", own="user-2", headers={"kid": "key-old", "x": "y"}).split(".")
    parts[at] = other[at]
    with pytest.raises(Unauthenticated):
        tokens.verify(".".join(parts), NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "another"},
        {"aud": "devflow-prod"},
        {"aud": None},
        {"iss": None},
        {"sub": None},
        {"own": None},
        {"typ": None},
        {"typ": "cursor"},
        {"typ": "USER"},
        {"ver": None},
        {"jti": None},
        {"exp": None},
        {"iat": None},
        {"exp": "tomorrow"},
    ],
)
def test_token_with_a_wrong_or_missing_claim_is_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forged(**wrong), NOW)


@pytest.mark.parametrize(
    "token", [None, "", ".", "..", "a.b.c", "garbage", "é.é.é", "x" * 5_000, forged() + "A" * 4_096]
)
def test_malformed_token_is_rejected(token: str | None) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(token, NOW)


def test_tokens_of_both_keys_are_valid_during_a_rotation(use_keys: Callable[..., None]) -> None:
    before = tokens.issue("user", "u", "u", "v", NOW)
    use_keys("new", old=OLD, new=NEW)
    later = NOW + 5 * MINUTE
    after = tokens.issue("user", "u", "u", "v", later)
    assert jwt.get_unverified_header(after)["kid"] == "key-new"
    assert tokens.verify(before, later).owner == tokens.verify(after, later).owner == "u"


def test_removed_key_invalidates_its_tokens_even_cached_ones(use_keys: Callable[..., None]) -> None:
    before = tokens.issue("user", "u", "u", "v", NOW)
    tokens.verify(before, NOW)
    use_keys("new", new=NEW)
    with pytest.raises(Unauthenticated):
        tokens.verify(before, NOW + 5 * MINUTE)


def test_key_replaced_under_the_same_id_invalidates_its_tokens(use_keys: Callable[..., None]) -> None:
    before = tokens.issue("user", "u", "u", "v", NOW)
    tokens.verify(before, NOW)
    use_keys("old", old=NEW)
    with pytest.raises(Unauthenticated):
        tokens.verify(before, NOW + 5 * MINUTE)


def test_unknown_key_id_makes_the_container_read_the_keys_again(use_keys: Callable[..., None]) -> None:
    keys.keyring(NOW)
    use_keys("new", old=OLD, new=NEW)
    signed_elsewhere = forged(NEW, headers={"kid": "key-new"})
    assert tokens.verify(signed_elsewhere, NOW + 10 * SECOND).owner == "user-1"


def test_short_key_neither_signs_nor_verifies(use_keys: Callable[..., None]) -> None:
    use_keys("old", old=b"o" * 31)
    with pytest.raises(Unavailable):
        tokens.issue("user", "u", "u", "v", NOW)
    with pytest.raises(Unavailable):
        tokens.verify(forged(), NOW)
