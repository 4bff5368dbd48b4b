"""chalicelib/auth/rules.py and schemas.py: PINs, email addresses, ended sessions and replaced tokens."""

import hashlib
from typing import Any

import pytest
from pydantic import ValidationError

from chalicelib.auth import rules, schemas
from chalicelib.auth.entities import Login, PersonalToken, SlackPerson
from chalicelib.core.settings import DAY, MINUTE


@pytest.mark.parametrize(
    ("slack_user", "configured", "expected"),
    [
        (None, "T1", True),
        (None, "T2", False),
        (None, None, False),
        ("T1#U1", "T1", True),
        ("T1#U1", None, True),
        ("T1#U2", "T1", False),
    ],
)
def test_slack_person_is_linked_in_the_configured_workspace_only(
    slack_user: str | None, configured: str | None, expected: object
) -> None:
    person = SlackPerson("T1", "U1", "a@example.com", "A")
    login = Login(owner="user-1", pin=None, slack_user=slack_user)
    assert rules.may_link_slack(person, login, configured) is expected


def test_pin_matches_only_its_own_hash() -> None:
    stored = rules.hash_pin("123456")
    assert rules.pin_matches("123456", stored)
    assert not rules.pin_matches("123457", stored)
    assert not rules.pin_matches("", stored)


def test_hashes_of_the_same_pin_differ_and_do_not_contain_it() -> None:
    one, two = rules.hash_pin("123456"), rules.hash_pin("123456")
    assert one != two
    assert "123456" not in one


def test_address_without_a_user_costs_the_same_work_and_never_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    scrypt = hashlib.scrypt

    def counting(pin: bytes, **settings: Any) -> bytes:
        calls.append({name: value for name, value in settings.items() if name != "salt"})
        return scrypt(pin, **settings)

    stored = rules.hash_pin("123456")
    monkeypatch.setattr(hashlib, "scrypt", counting)
    assert not rules.pin_matches("123456", None)
    assert not rules.pin_matches("000000", stored)
    assert rules.pin_matches("123456", stored)
    assert len(calls) == 3
    assert calls[0] == calls[1] == calls[2]


def test_pin_hash_uses_the_parameters_that_owasp_recommends() -> None:
    """A fixture lowers `n` to make PINs cheap in tests, so this test checks `r` and `p` against the recommendation."""
    assert {name: rules._SCRYPT[name] for name in ("r", "p")} == {"r": 8, "p": 3}
    n, r, p, salt, digest = rules.hash_pin("123456").split("$")
    assert (int(n), int(r), int(p)) == tuple(rules._SCRYPT.values())
    assert (len(salt), len(digest)) == (32, 64)


COMMON_PINS = [
    "123456", "111111", "123123", "654321", "121212", "000000", "666666", "696969", "112233", "159753", "131313",
    "123321", "222222", "789456", "999999", "101010", "777777", "007007", "555555", "147258", "456456", "232323",
    "987654", "888888", "112211", "456789", "012345", "741852", "246810", "147852", "963852", "142536", "102030",
    "332211", "135790", "468024", "258369", "252525", "998877", "333666", "110011", "369258", "420420",
]  # fmt: skip
"""PINs that lists of leaked and of chosen PINs have at their top."""


@pytest.mark.parametrize("pin", COMMON_PINS)
def test_common_pin_is_recognized(pin: str) -> None:
    assert rules.is_common_pin(pin)


@pytest.mark.parametrize("pin", ["241285", "122485", "851224", "290200", "010100", "311299", "000101"])
def test_date_is_a_common_pin(pin: str) -> None:
    """Day, month and year in their three usual orders: a birthday is the first guess of everybody who knows it."""
    assert rules.is_common_pin(pin)


@pytest.mark.parametrize("pin", ["271828", "314159", "738205", "904617", "320199", "991399", "330244", "559917"])
def test_other_pins_are_not_common(pin: str) -> None:
    assert not rules.is_common_pin(pin)


def test_most_pins_are_not_common() -> None:
    assert 0.85 < sum(not rules.is_common_pin(f"{number:06d}") for number in range(0, 1_000_000, 7)) / 142_858 < 0.95


@pytest.mark.parametrize(
    ("tries", "minutes"),
    [
        (1, 0), (4, 0), (5, 15), (6, 0), (9, 0), (10, 30), (15, 60), (20, 120), (30, 480), (35, 960), (40, 1_440),
        (5_000_000, 1_440),
    ],
)  # fmt: skip
def test_every_fifth_wrong_pin_locks_the_account_twice_as_long(tries: int, minutes: int) -> None:
    assert rules.pin_lock_time(tries) == minutes * MINUTE


def test_pin_try_is_reserved_unless_the_account_is_locked() -> None:
    state, reserved = rules.PinTries(0, 0), 0
    for minute in range(60):
        now = minute * MINUTE
        for _ in range(10):
            after = rules.reserve_pin_try(state, now)
            if after is not None:
                state = after
                reserved += 1
    assert (reserved, state.tries) == (15, 15), "five at 0 min, at 15 min and at 45 min"


def test_pause_does_not_give_further_tries_before_the_next_lock() -> None:
    """Four wrong PINs every quarter of an hour must not go on for ever."""
    state, reserved = rules.PinTries(0, 0), 0
    for quarter in range(4 * 24):
        for _ in range(4):
            after = rules.reserve_pin_try(state, quarter * 15 * MINUTE)
            if after is not None:
                state = after
                reserved += 1
    assert reserved <= 40


@pytest.mark.parametrize("email", ["User@Example.com", "  user@example.com ", "USER@EXAMPLE.COM"])
def test_email_address_is_normalized(email: str) -> None:
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
def test_malformed_email_address_or_pin_is_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        schemas.PinLoginRequest.model_validate({"email": "user@example.com", "pin": "123456"} | wrong)


NOW = 1_763_938_000_000


def test_session_ids_are_in_the_order_of_their_times() -> None:
    ids = [rules.new_session_id(now) for now in (0, NOW, NOW + 1, NOW + 30 * DAY)]
    assert ids == sorted(ids)
    assert len(set(ids) | {rules.new_session_id(NOW)}) == 5
    assert {len(each) for each in ids} == {32}


def test_session_of_the_first_version_has_one_id_in_the_same_order() -> None:
    adopted = rules.adopted_session_id("0123456789abcdef0123456789abcdef", NOW)
    assert adopted == rules.adopted_session_id("0123456789abcdef0123456789abcdef", NOW)
    assert rules.new_session_id(NOW - 1) < adopted < rules.new_session_id(NOW + 1)


def test_fingerprint_of_ended_session_is_deleted_a_minute_after_its_token_expires() -> None:
    fingerprint = rules.session_fingerprint("0123456789abcdef0123456789abcdef", NOW)
    assert fingerprint == f"0123456789abcdef:{NOW // 1_000}"
    assert rules.surplus_fingerprints([fingerprint], NOW) == set()
    assert rules.surplus_fingerprints([fingerprint], NOW + 30_000) == set(), "the leeway of a token"
    later = rules.session_fingerprint("f" * 32, NOW + DAY)
    assert rules.surplus_fingerprints([fingerprint, later], NOW + 61_000) == {fingerprint}


def fingerprints(count: int, prefix: str) -> list[str]:
    """Fingerprints of tokens that expire one second after the other."""
    return [rules.session_fingerprint(f"{prefix}{number:04x}{prefix}", NOW + number * 1_000) for number in range(count)]


def test_new_fingerprint_replaces_those_that_expire_first() -> None:
    stored = fingerprints(rules.MAX_ENDED_SESSIONS, "0123456789-")
    assert rules.surplus_fingerprints(stored[1:], NOW) == set()
    assert rules.surplus_fingerprints(stored, NOW) == {stored[0]}
    assert rules.surplus_fingerprints([*stored, *fingerprints(2, "fedcba9876-")], NOW) <= {
        *stored[:2],
        *fingerprints(2, "fedcba9876-"),
    }
    assert len(rules.surplus_fingerprints([*stored, *fingerprints(2, "fedcba9876-")], NOW)) == 3


def test_fingerprint_of_the_first_version_is_never_replaced_before_it_expires() -> None:
    """Its session may have no row, so it would be accepted again."""
    first, own = fingerprints(rules.MAX_ENDED_SESSIONS, "abcdef012345"), fingerprints(2, "0123456789-")
    assert rules.surplus_fingerprints(first, NOW) == set()
    assert rules.surplus_fingerprints([*first, *own], NOW) == set(own)
    assert rules.surplus_fingerprints(first, NOW + 61_000) == {first[0]}


def token(name: str, **changes: Any) -> PersonalToken:
    values = {"created_at": NOW, "expires_at": NOW + 30 * DAY} | changes
    return PersonalToken(id=name, name=name, **values)


@pytest.mark.parametrize(
    ("existing", "request_", "lost"),
    [
        ([], "k.r", None),
        ([token("a")], "k.r", None),
        ([token("a", request_fingerprint="k.r")], "k.r", "a"),
        ([token("a", request_fingerprint="k.r")], None, None),
        ([token("a", request_fingerprint="l.r")], "k.r", None),
        ([token("a", request_fingerprint="k.r", created_at=NOW - 10 * MINUTE)], "k.r", None),
        ([token("a", request_fingerprint="k.other", created_at=NOW - 10 * MINUTE)], "k.r", None),
        ([token("b"), token("c", request_fingerprint="k.r"), token("d", request_fingerprint="l.r")], "k.r", "c"),
    ],
)
def test_new_token_replaces_the_one_of_the_same_request(
    existing: list[PersonalToken], request_: str | None, lost: str | None
) -> None:
    found = rules.lost_token(existing, request_, NOW)
    assert (found and found.id) == lost


def test_idempotency_key_of_another_recent_request_is_rejected() -> None:
    with pytest.raises(rules.IdempotencyKeyReused):
        rules.lost_token([token("a", request_fingerprint="k.other")], "k.r", NOW)
