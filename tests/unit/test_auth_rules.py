"""chalicelib/auth/rules.py: PINs, and what a login may look like."""

import hashlib
from typing import Any

import pytest
from pydantic import ValidationError

from chalicelib.auth import rules, schemas
from chalicelib.auth.entities import PersonalToken
from chalicelib.core.settings import DAY, MINUTE


def test_a_pin_matches_itself_and_nothing_else() -> None:
    stored = rules.hash_pin("123456")
    assert rules.pin_matches("123456", stored)
    assert not rules.pin_matches("123457", stored)
    assert not rules.pin_matches("", stored)


def test_the_same_pin_is_never_stored_alike_and_never_stored_as_it_is() -> None:
    one, two = rules.hash_pin("123456"), rules.hash_pin("123456")
    assert one != two
    assert "123456" not in one


def test_an_address_that_nobody_has_costs_the_same_work_and_is_never_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[dict[str, Any]] = []
    scrypt = hashlib.scrypt

    def counting(pin: bytes, **settings: Any) -> bytes:
        worked.append({name: value for name, value in settings.items() if name != "salt"})
        return scrypt(pin, **settings)

    stored = rules.hash_pin("123456")
    monkeypatch.setattr(hashlib, "scrypt", counting)
    assert not rules.pin_matches("123456", None)
    assert not rules.pin_matches("000000", stored)
    assert rules.pin_matches("123456", stored)
    assert len(worked) == 3
    assert worked[0] == worked[1] == worked[2]


def test_a_pin_costs_what_owasp_asks_for() -> None:
    """The fixture that makes the tests' PINs cheap changes `n` alone; the product's own stands in the source."""
    assert {name: rules._SCRYPT[name] for name in ("r", "p")} == {"r": 8, "p": 3}
    n, r, p, salt, digest = rules.hash_pin("123456").split("$")
    assert (int(n), int(r), int(p)) == tuple(rules._SCRYPT.values())
    assert (len(salt), len(digest)) == (32, 64)


@pytest.mark.parametrize("email", ["User@Example.com", "  user@example.com ", "USER@EXAMPLE.COM"])
def test_an_address_is_the_same_however_it_is_written(email: str) -> None:
    assert schemas.PinLoginRequest.model_validate({"email": email, "pin": "123456"}).email == "user@example.com"


@pytest.mark.parametrize(
    "wrong",
    [
        {"pin": "12345"},
        {"pin": "1234567"},
        {"pin": "12345a"},
        {"pin": "\uff11\uff12\uff13\uff14\uff15\uff16"},
        {"pin": "123456\n"},
        {"pin": 123456},
        {"email": "user"},
        {"email": "@"},
        {"email": "user@"},
        {"email": "us er@example.com"},
        {"email": "user@example.com\nx"},
        {"email": "a" * 250 + "@example.com"},
        {"email": None},
    ],
)
def test_what_cannot_be_an_address_or_a_pin_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        schemas.PinLoginRequest.model_validate({"email": "user@example.com", "pin": "123456"} | wrong)


NOW = 1_763_938_000_000


def test_a_session_that_was_logged_out_is_remembered_until_its_token_is_dead_of_age() -> None:
    mark = rules.session_fingerprint("0123456789abcdef0123456789abcdef", NOW)
    assert mark == f"0123456789abcdef:{NOW // 1_000}"
    assert rules.expired_fingerprints([mark], NOW) == set()
    assert rules.expired_fingerprints([mark], NOW + 30_000) == set(), "the leeway of a token"
    assert rules.expired_fingerprints([mark, rules.session_fingerprint("f" * 32, NOW + DAY)], NOW + 61_000) == {mark}


def token(name: str, **more: Any) -> dict[str, PersonalToken]:
    made = {"created_at": NOW, "expires_at": NOW + 30 * DAY} | more
    return {name: PersonalToken(id=name, name=name, **made)}


@pytest.mark.parametrize(
    ("standing", "request_", "gone"),
    [
        ({}, "k.r", []),
        (token("a"), "k.r", []),
        (token("a", request_fingerprint="k.r"), "k.r", ["a"]),
        (token("a", request_fingerprint="k.r"), None, []),
        (token("a", request_fingerprint="l.r"), "k.r", []),
        (token("a", request_fingerprint="k.r", created_at=NOW - 10 * MINUTE), "k.r", []),
        (token("a", request_fingerprint="k.other", created_at=NOW - 10 * MINUTE), "k.r", []),
        (token("a", expires_at=NOW), None, ["a"]),
        (
            token("a", expires_at=NOW + 1) | token("b", expires_at=NOW - 1) | token("c", request_fingerprint="k.r"),
            "k.r",
            ["b", "c"],
        ),
    ],
)
def test_a_new_token_takes_the_place_of_what_has_expired_and_of_what_the_same_request_made(
    standing: dict[str, PersonalToken], request_: str | None, gone: list[str]
) -> None:
    assert rules.replaced_tokens(standing, request_, NOW) == gone


def test_a_key_that_made_another_token_a_moment_ago_is_refused() -> None:
    with pytest.raises(rules.IdempotencyKeyReused):
        rules.replaced_tokens(token("a", request_fingerprint="k.other"), "k.r", NOW)
