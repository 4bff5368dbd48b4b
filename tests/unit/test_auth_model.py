"""chalicelib/auth/model.py: PINs, and what a login may look like."""

import hashlib
from typing import Any

import pytest
from pydantic import ValidationError

from chalicelib.auth import model


def test_a_pin_matches_itself_and_nothing_else() -> None:
    stored = model.hash_pin("123456")
    assert model.pin_matches("123456", stored)
    assert not model.pin_matches("123457", stored)
    assert not model.pin_matches("", stored)


def test_the_same_pin_is_never_stored_alike_and_never_stored_as_it_is() -> None:
    one, two = model.hash_pin("123456"), model.hash_pin("123456")
    assert one != two
    assert "123456" not in one


def test_an_address_that_nobody_has_costs_the_same_work_and_is_never_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[dict[str, Any]] = []
    scrypt = hashlib.scrypt

    def counting(pin: bytes, **settings: Any) -> bytes:
        worked.append({name: value for name, value in settings.items() if name != "salt"})
        return scrypt(pin, **settings)

    stored = model.hash_pin("123456")
    monkeypatch.setattr(hashlib, "scrypt", counting)
    assert not model.pin_matches("123456", None)
    assert not model.pin_matches("000000", stored)
    assert model.pin_matches("123456", stored)
    assert len(worked) == 3
    assert worked[0] == worked[1] == worked[2]


def test_a_pin_costs_what_owasp_asks_for() -> None:
    """The fixture that makes the tests' PINs cheap changes `n` alone; the product's own stands in the source."""
    assert {name: model._SCRYPT[name] for name in ("r", "p")} == {"r": 8, "p": 3}
    n, r, p, salt, digest = model.hash_pin("123456").split("$")
    assert (int(n), int(r), int(p)) == tuple(model._SCRYPT.values())
    assert (len(salt), len(digest)) == (32, 64)


@pytest.mark.parametrize("email", ["User@Example.com", "  user@example.com ", "USER@EXAMPLE.COM"])
def test_an_address_is_the_same_however_it_is_written(email: str) -> None:
    assert model.PinLogin.model_validate({"email": email, "pin": "123456"}).email == "user@example.com"


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
        model.PinLogin.model_validate({"email": "user@example.com", "pin": "123456"} | wrong)
