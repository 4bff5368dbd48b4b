"""Logging in and being let in, where several come at once and where the tables are not as they should be."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import boto3
import pytest

from chalicelib.auth import login_store, pin_login, service, store
from chalicelib.auth.pin_login import WrongPin
from chalicelib.auth.schemas import PinLoginRequest, SetPinRequest
from chalicelib.core.errors import DevFlowError, RateLimited, Unauthenticated, Unavailable
from chalicelib.core.settings import MINUTE
from chalicelib.http.rate_limits import TASKS_API
from tests.http.scene import Scene, refused
from tests.service import faults, invariants
from tests.support import wire
from tests.support.client import Client

NOW = 1_763_938_000_000


def login(pin: str = "123456", email: str = "user@example.com", address: str = "192.0.2.1", at: int = NOW) -> str:
    request = PinLoginRequest.model_validate({"email": email, "pin": pin})
    return pin_login.log_in_with_pin(request, address, at).user.id


@pytest.fixture
def owner(aws: None) -> str:
    return service.ensure_user("user@example.com", "John Doe", "123456", NOW)


def test_making_a_user_again_changes_nothing(owner: str) -> None:
    assert service.ensure_user("USER@example.com", "Another Name", "654321", NOW) == owner
    assert login() == owner
    with pytest.raises(WrongPin):
        login("654321")


def test_two_who_make_the_same_user_at_once_make_one(aws: None) -> None:
    made: list[str] = []

    def first() -> None:
        made.append(service.ensure_user("user@example.com", "John Doe", "123456", NOW))

    with faults.meanwhile("TransactWriteItems", first):
        made.append(service.ensure_user("user@example.com", "John Doe", "123456", NOW))
    assert len(set(made)) == 1
    assert len(invariants.rows("users")) == 1


def guessed_wrong(number: int) -> type[Exception]:
    """Guess a wrong PIN, from an address of its own; with what that is refused."""
    try:
        login(f"{number:06d}", address=f"192.0.2.{number}")
    except DevFlowError as error:
        return type(error)
    raise AssertionError(number)


def test_parallel_guesses_are_no_more_than_five(owner: str) -> None:
    """The guess is reserved before the PIN is looked at."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(guessed_wrong, range(12)))
    assert answers.count(WrongPin) == 5
    assert answers.count(RateLimited) == 7
    with pytest.raises(RateLimited):
        login()


def test_of_a_hundred_guesses_at_once_at_most_five_are_checked(owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where a PIN is looked at; the right one is among those that are not."""
    checked: list[bytes] = []
    real = hashlib.scrypt

    def counted(pin: bytes, **parameters: Any) -> bytes:
        checked.append(pin)
        return real(pin, **parameters)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    together = Barrier(100)

    def guess(number: int) -> type[Exception]:
        together.wait(timeout=50)
        return guessed_wrong(number)

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(guess, range(100)))
    assert len(checked) == answers.count(WrongPin) <= 5
    assert set(answers) <= {WrongPin, RateLimited, Unavailable}
    before = len(checked)
    with pytest.raises(RateLimited):
        login()
    assert len(checked) == before, "locked, even with the right PIN"


def test_a_lock_ends_after_fifteen_minutes_and_five_new_guesses_begin(owner: str) -> None:
    for guess in range(5):
        with pytest.raises(WrongPin):
            login("000000", address=f"192.0.2.{guess}")
    with pytest.raises(RateLimited):
        login(at=NOW + 15 * MINUTE - 1)
    for guess in range(5):
        with pytest.raises(WrongPin):
            login("000000", address=f"192.0.2.{guess}", at=NOW + 15 * MINUTE)
    with pytest.raises(RateLimited):
        login(at=NOW + 15 * MINUTE)


def test_a_login_forgets_the_failures_before_it(owner: str) -> None:
    for _ in range(2):
        for guess in range(4):
            with pytest.raises(WrongPin):
                login("000000", address=f"192.0.2.{guess}")
        assert login() == owner


def test_an_address_that_nobody_has_locks_too_and_is_answered_alike(owner: str) -> None:
    for email in ("user@example.com", "nobody@example.com"):
        for guess in range(5):
            with pytest.raises(WrongPin) as wrong:
                login("000000", email=email, address=f"192.0.2.{guess}")
            assert "email" in wrong.value.message.lower()
        with pytest.raises(RateLimited):
            login(email=email)


def test_ten_logins_a_minute_from_one_network_address(owner: str) -> None:
    for number in range(10):
        with pytest.raises(WrongPin):
            login(email=f"{number}@example.com")
    with pytest.raises(RateLimited) as refusal:
        login(email="another@example.com")
    assert 0 < refusal.value.retry_after <= 60
    assert login(address="192.0.2.9") == owner
    assert login(at=NOW + MINUTE) == owner


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1::1", "2001:db8:0:1::"),
        ("2001:DB8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::"),
        ("2001:db8:0:2::1", "2001:db8:0:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
        ("test-invoke-source-ip", "test-invoke-source-ip"),
    ],
)
def test_an_address_is_counted_with_all_that_its_holder_has(address: str, network: str) -> None:
    assert login_store.client_network(address) == network


def test_of_fifty_at_once_from_one_network_ten_are_counted_and_the_others_told_when_to_come_back(owner: str) -> None:
    def attempt(number: int) -> type[Exception]:
        try:
            login("000000", email=f"{number}@example.com", address=f"2001:db8::{number:x}")
        except DevFlowError as error:
            return type(error)
        raise AssertionError(number)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(attempt, range(50)))
    assert answers.count(WrongPin) == 10
    assert answers.count(RateLimited) == 40


def test_first_logins_from_one_address_at_once_are_all_counted(owner: str) -> None:
    with faults.meanwhile("UpdateItem", login, when=faults.about("address#192.0.2.1")):
        login()
    (row,) = [row for row in invariants.rows("logins") if row["login"] == "address#192.0.2.1"]
    assert sum(row["calls"].values()) == 2


def test_two_first_guesses_at_once_are_both_counted(owner: str) -> None:
    def wrong() -> None:
        with pytest.raises(WrongPin):
            login("000000", address="192.0.2.7")

    with faults.meanwhile("UpdateItem", wrong, when=faults.about("tries#user@example.com")), pytest.raises(WrongPin):
        login("000001")
    (row,) = [row for row in invariants.rows("logins") if row["login"] == "tries#user@example.com"]
    assert row["tries"] == 2


def test_without_its_store_nobody_is_let_in(owner: str, no_pauses: None) -> None:
    """Login limits fail closed."""
    about = faults.about("address#")
    with faults.refused("UpdateItem", "InternalServerError", status=500, times=99, when=about):
        with wire.recorded() as sent, pytest.raises(Unavailable):
            login()
        assert "GetItem" not in sent.operations


def test_a_login_whose_user_is_gone_is_a_wrong_one(owner: str) -> None:
    boto3.client("dynamodb").delete_item(TableName="devflow-local-users", Key={"owner": {"S": owner}})
    with pytest.raises(WrongPin):
        login()
    assert store.load_user(owner) is None


def test_whoever_is_gone_is_not_let_in_by_a_verified_address_either(owner: str) -> None:
    assert service.ensure_verified_user("user@example.com", "John", NOW).owner == owner
    boto3.client("dynamodb").delete_item(TableName="devflow-local-users", Key={"owner": {"S": owner}})
    with pytest.raises(Unauthenticated):
        service.ensure_verified_user("user@example.com", "John", NOW)


def test_a_token_of_a_user_that_is_gone_is_nobodys(scene: Scene, user: Client) -> None:
    (row,) = invariants.rows("users")
    boto3.client("dynamodb").delete_item(TableName="devflow-local-users", Key={"owner": {"S": str(row["owner"])}})
    refused(user.get("/api/agents"), 401, "Invalid or expired token")


def test_counts_of_minutes_long_gone_are_removed_once_they_are_many(owner: str) -> None:
    user = store.load_user(owner)
    assert user is not None
    calls: dict[str, Any] = {}
    for ago in range(100, 0, -5):
        store.admit(owner, store.session_check(user.ver, "-"), TASKS_API, NOW - ago * MINUTE, "token")
        (row,) = invariants.rows("users")
        calls = row["calls"]
        assert len(calls) <= 12
    assert calls


def test_a_pin_is_set_for_an_address_that_is_still_the_users_alone(owner: str) -> None:
    user = store.load_user(owner)
    assert user is not None
    boto3.client("dynamodb").update_item(
        TableName="devflow-local-logins",
        Key={"login": {"S": "email#user@example.com"}},
        UpdateExpression="SET #owner = :other",
        ExpressionAttributeNames={"#owner": "owner"},
        ExpressionAttributeValues={":other": {"S": "user-2"}},
    )
    with pytest.raises(Unauthenticated):
        pin_login.set_pin(user, SetPinRequest(pin="271828"))
