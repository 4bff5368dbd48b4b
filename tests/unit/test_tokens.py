"""chalicelib/auth/tokens.py: what a token says, and every way in which one is not ours."""

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
def signing_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give the stage other keys: `signing_with("new", old=..., new=...)`. A container reads them in its own time."""

    def sign(current: str, **ring: bytes) -> None:
        text = json.dumps({"current": f"key-{current}"} | {f"key-{name}": key.decode() for name, key in ring.items()})
        monkeypatch.setattr(keys, "settings", replace(settings, local_secret=text))

    return sign


@pytest.fixture(autouse=True)
def _one_key(monkeypatch: pytest.MonkeyPatch, signing_with: Callable[..., None]) -> None:
    monkeypatch.setattr(keys, "_cached", None)
    monkeypatch.setattr(tokens, "_verified", {})
    signing_with("old", old=OLD)


def claims(**other: Any) -> dict[str, Any]:
    """What a good user's token says; None leaves a claim out."""
    good = {
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
    return {name: value for name, value in (good | other).items() if value is not None}


def forged(key: bytes = OLD, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **other: Any) -> str:
    """A token that somebody else put together."""
    return jwt.encode(
        claims(**other), key, algorithm=algorithm, headers={"kid": "key-old"} if headers is None else headers
    )


def test_a_token_says_who_holds_it_for_thirty_days() -> None:
    token = tokens.issue("agent", "user-1", "agent-1", "v1", NOW)
    caller = tokens.verify(token, NOW)
    assert (caller.kind, caller.owner, caller.subject, caller.ver) == ("agent", "user-1", "agent-1", "v1")
    assert caller.is_agent
    assert caller.expires == NOW // 1_000 * 1_000 + 30 * DAY


def test_a_token_has_the_claims_and_the_header_that_the_design_names() -> None:
    token = tokens.issue("user", "user-1", "user-1", "v1", NOW)
    said = jwt.decode(token, options={"verify_signature": False})
    assert set(said) == {"iss", "aud", "sub", "iat", "exp", "jti", "typ", "ver", "own"}
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": "key-old"}


def test_no_two_tokens_and_no_two_versions_are_alike() -> None:
    assert len({tokens.issue("user", "u", "u", "v", NOW) for _ in range(50)}) == 50
    assert len({tokens.new_version() for _ in range(50)}) == 50


def test_a_token_put_together_right_is_believed() -> None:
    assert tokens.verify(forged(), NOW).owner == "user-1"


def test_the_second_look_at_a_token_is_as_strict_about_time_as_the_first() -> None:
    token = tokens.issue("user", "u", "u", "v", NOW)
    assert tokens.verify(token, NOW) is tokens.verify(token, NOW + DAY)
    with pytest.raises(Unauthenticated):
        tokens.verify(token, NOW + 31 * DAY)


def test_what_a_container_remembers_of_tokens_is_bounded() -> None:
    for number in range(1_005):
        tokens.verify(tokens.issue("user", f"u{number}", f"u{number}", "v", NOW), NOW)
    assert len(tokens._verified) <= 1_000


@pytest.mark.parametrize(("late", "believed"), [(29 * SECOND, True), (30 * SECOND, False)])
def test_thirty_seconds_of_leeway_after_the_end(late: int, believed: bool) -> None:  # noqa: FBT001
    end = (NOW + DAY) // 1_000 * 1_000
    if believed:
        tokens.verify(forged(), end + late)
    else:
        with pytest.raises(Unauthenticated, match="expired"):
            tokens.verify(forged(), end + late)


def test_an_expired_token_of_an_agent_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forged(typ="agent", sub="agent-1"), NOW + 31 * DAY)


def unsigned(algorithm: str) -> str:
    """A token that says that it needs no signature (RFC 8725, section 2.1)."""
    parts = [{"alg": algorithm, "typ": "JWT", "kid": "key-old"}, claims()]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", ""])
def test_a_token_without_a_signature_is_refused(algorithm: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(unsigned(algorithm), NOW)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_refused_even_with_the_right_key(algorithm: str) -> None:
    long_enough = b"o" * 64
    with pytest.raises(Unauthenticated):
        tokens.verify(forged(long_enough, algorithm), NOW)


@pytest.mark.parametrize("kid", ["unknown", "", 1, None, ["key-old"], {"key-old": 1}, "key-old\n", "current"])
def test_a_key_id_that_is_not_ours_is_refused(kid: object) -> None:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": kid}).encode()).decode().rstrip("=")
    _, payload, signature = forged().split(".")
    with pytest.raises(Unauthenticated):
        tokens.verify(f"{header}.{payload}.{signature}", NOW)


def test_a_token_without_a_key_id_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forged(headers={}), NOW)


def test_a_token_signed_with_another_key_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forged(FOREIGN), NOW)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_token_with_a_changed_part_is_refused(at: int) -> None:
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
def test_a_token_for_another_stage_or_purpose_or_with_a_claim_missing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forged(**wrong), NOW)


@pytest.mark.parametrize(
    "token", [None, "", ".", "..", "a.b.c", "garbage", "é.é.é", "x" * 5_000, forged() + "A" * 4_096]
)
def test_garbage_is_refused(token: str | None) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(token, NOW)


def test_during_a_rotation_tokens_of_both_keys_are_good_and_new_ones_carry_the_new(
    signing_with: Callable[..., None],
) -> None:
    before = tokens.issue("user", "u", "u", "v", NOW)
    signing_with("new", old=OLD, new=NEW)
    later = NOW + 5 * MINUTE
    after = tokens.issue("user", "u", "u", "v", later)
    assert jwt.get_unverified_header(after)["kid"] == "key-new"
    assert tokens.verify(before, later).owner == tokens.verify(after, later).owner == "u"


def test_a_key_that_is_withdrawn_ends_its_tokens_even_those_seen_before(signing_with: Callable[..., None]) -> None:
    before = tokens.issue("user", "u", "u", "v", NOW)
    tokens.verify(before, NOW)
    signing_with("new", new=NEW)
    with pytest.raises(Unauthenticated):
        tokens.verify(before, NOW + 5 * MINUTE)


def test_a_key_replaced_under_the_same_id_ends_its_tokens_too(signing_with: Callable[..., None]) -> None:
    before = tokens.issue("user", "u", "u", "v", NOW)
    tokens.verify(before, NOW)
    signing_with("old", old=NEW)
    with pytest.raises(Unauthenticated):
        tokens.verify(before, NOW + 5 * MINUTE)


def test_a_container_that_has_not_heard_of_a_key_asks_before_it_refuses(signing_with: Callable[..., None]) -> None:
    keys.keyring(NOW)
    signing_with("new", old=OLD, new=NEW)
    signed_elsewhere = forged(NEW, headers={"kid": "key-new"})
    assert tokens.verify(signed_elsewhere, NOW + 10 * SECOND).owner == "user-1"


def test_a_short_key_neither_signs_nor_verifies(signing_with: Callable[..., None]) -> None:
    signing_with("old", old=b"o" * 31)
    with pytest.raises(Unavailable):
        tokens.issue("user", "u", "u", "v", NOW)
    with pytest.raises(Unavailable):
        tokens.verify(forged(), NOW)
