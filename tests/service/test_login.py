"""Login and authentication under concurrency, and with inconsistent rows."""

import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import boto3
import pytest

from chalicelib.auth import login_store, pin_login, service, store
from chalicelib.auth.entities import LoginOrigin
from chalicelib.auth.pin_login import WrongPin
from chalicelib.auth.schemas import PinLoginRequest, SetPinRequest
from chalicelib.core.errors import DevFlowError, RateLimited, Unauthenticated, Unavailable
from chalicelib.core.settings import DAY, MINUTE
from chalicelib.http.rate_limits import TASKS_API
from tests.http.scenario import Scenario, refused
from tests.service import faults, invariants
from tests.support import aws_requests
from tests.support.client import Client

NOW = 1_763_938_000_000


def login(pin: str = "123456", email: str = "user@example.com", address: str = "192.0.2.1", at: int = NOW) -> str:
    request = PinLoginRequest.model_validate({"email": email, "pin": pin})
    return pin_login.log_in_with_pin(request, LoginOrigin(address, "test"), at).user.id


@pytest.fixture
def owner(aws: None) -> str:
    return service.ensure_user("user@example.com", "John Doe", "123456", NOW)


def test_creating_an_existing_user_changes_nothing(owner: str) -> None:
    assert service.ensure_user("USER@example.com", "Another Name", "654321", NOW) == owner
    assert login() == owner
    with pytest.raises(WrongPin):
        login("654321")


def test_concurrent_creations_of_a_user_create_one(aws: None) -> None:
    owners: list[str] = []

    def create_user() -> None:
        owners.append(service.ensure_user("user@example.com", "John Doe", "123456", NOW))

    with faults.interleaved("TransactWriteItems", create_user):
        create_user()
    assert len(set(owners)) == 1
    assert len(invariants.rows("users")) == 1


def guess_wrong_pin(number: int) -> type[Exception]:
    """Log in with a wrong PIN from an address that depends on the number. Returns the type of the error."""
    try:
        login(f"{number:06d}", address=f"192.0.2.{number}")
    except DevFlowError as error:
        return type(error)
    raise AssertionError(number)


def test_only_five_parallel_guesses_are_checked(owner: str) -> None:
    """The attempt is reserved before the PIN is checked."""
    with ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(guess_wrong_pin, range(12)))
    assert errors.count(WrongPin) == 5
    assert errors.count(RateLimited) == 7
    with pytest.raises(RateLimited):
        login()


def test_at_most_five_of_a_hundred_concurrent_guesses_are_checked(owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts the PINs that are hashed. After the guesses, even the right PIN is not checked."""
    checked: list[bytes] = []
    real = hashlib.scrypt

    def counted(pin: bytes, **parameters: Any) -> bytes:
        checked.append(pin)
        return real(pin, **parameters)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    start = Barrier(100)

    def guess(number: int) -> type[Exception]:
        start.wait(timeout=50)
        return guess_wrong_pin(number)

    with ThreadPoolExecutor(100) as pool:
        errors = list(pool.map(guess, range(100)))
    assert len(checked) == errors.count(WrongPin) <= 5
    assert set(errors) <= {WrongPin, RateLimited, Unavailable}
    before = len(checked)
    with pytest.raises(RateLimited):
        login()
    assert len(checked) == before, "the account is locked, even for the right PIN"


def test_each_lock_allows_five_guesses_and_lasts_twice_as_long(owner: str) -> None:
    now, networks = NOW, itertools.count(1)
    for minutes in (15, 30, 60, 120, 240, 480, 960, 1_440, 1_440):
        for _ in range(5):
            with pytest.raises(WrongPin):
                login("000000", address=f"192.0.2.{next(networks)}", at=now)
        for wait in (0, minutes * MINUTE - 1):
            with pytest.raises(RateLimited) as locked:
                login(at=now + wait, address="198.51.100.1")
            assert locked.value.retry_after == -(-(minutes * MINUTE - wait) // 1_000)
        now += minutes * MINUTE
    assert login(at=now) == owner


def test_wrong_pins_are_counted_over_days_until_a_login_succeeds(owner: str) -> None:
    for day in range(4):
        with pytest.raises(WrongPin):
            login("000000", at=NOW + day * DAY)
    with pytest.raises(WrongPin):
        login("000000", at=NOW + 4 * DAY)
    with pytest.raises(RateLimited):
        login(at=NOW + 4 * DAY)
    assert login(at=NOW + 5 * DAY) == owner
    for _ in range(4):
        with pytest.raises(WrongPin):
            login("000000", at=NOW + 5 * DAY)
    assert login(at=NOW + 5 * DAY) == owner


def test_wrong_pins_are_forgotten_after_a_week_without_one(owner: str) -> None:
    """DynamoDB may delete an expired row days later."""
    for _ in range(5):
        with pytest.raises(WrongPin):
            login("000000")
    later = NOW + 7 * DAY + 2_000
    for guess in range(5):
        with pytest.raises(WrongPin):
            login("000000", at=later, address=f"192.0.2.{guess}")
    with pytest.raises(RateLimited) as locked:
        login(at=later)
    assert locked.value.retry_after == 15 * 60


@pytest.mark.parametrize(("tries", "locked"), [(4, False), (5, True)])
def test_count_of_the_previous_version_is_continued(owner: str, tries: int, locked: bool) -> None:  # noqa: FBT001
    """It sets `lockedUntil` with each wrong PIN, and takes the account for locked from the fifth one on."""
    row = {"login": "tries#user@example.com", "tries": tries, "lockedUntil": NOW + 10 * MINUTE}
    boto3.resource("dynamodb").Table("devflow-local-logins").put_item(Item=row | {"expiresAt": NOW // 1_000 + 86_400})
    if locked:
        with pytest.raises(RateLimited):
            login()
        with pytest.raises(WrongPin):
            login("000000", at=NOW + 10 * MINUTE)
    else:
        with pytest.raises(WrongPin):
            login("000000")
        with pytest.raises(RateLimited):
            login()


def test_guess_that_always_conflicts_is_not_checked(owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_guess() -> None:
        login_store.reset_pin_tries("user@example.com")
        table = boto3.resource("dynamodb").Table("devflow-local-logins")
        row = {"login": "tries#user@example.com", "tries": 1, "lockedUntil": next(times)}
        table.put_item(Item=row)

    times = itertools.count(1)
    about = faults.about("tries#user@example.com", "UpdateExpression")
    with faults.interleaved("UpdateItem", other_guess, times=99, when=about), pytest.raises(Unavailable):
        login()


def test_successful_login_resets_the_failed_attempts(owner: str) -> None:
    for _ in range(2):
        for guess in range(4):
            with pytest.raises(WrongPin):
                login("000000", address=f"192.0.2.{guess}")
        assert login() == owner


def test_unknown_email_address_is_locked_with_the_same_responses(owner: str) -> None:
    for email in ("user@example.com", "nobody@example.com"):
        for guess in range(5):
            with pytest.raises(WrongPin) as wrong:
                login("000000", email=email, address=f"192.0.2.{guess}")
            assert "email" in wrong.value.message.lower()
        with pytest.raises(RateLimited):
            login(email=email)


def test_network_address_is_limited_to_ten_logins_per_minute(owner: str) -> None:
    for number in range(10):
        with pytest.raises(WrongPin):
            login(email=f"{number}@example.com")
    with pytest.raises(RateLimited) as raised:
        login(email="another@example.com")
    assert 0 < raised.value.retry_after <= 60
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
def test_client_address_is_counted_by_its_network(address: str, network: str) -> None:
    assert login_store.client_network(address) == network


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("2001:db8:1:2::1", "2001:db8:1::/48"),
        ("2001:DB8:1:ffff:ffff:ffff:ffff:ffff", "2001:db8:1::/48"),
        ("2001:db8:2:2::1", "2001:db8:2::/48"),
        ("192.0.2.1", None),
        ("::ffff:192.0.2.1", None),
        ("", None),
        ("test-invoke-source-ip", None),
    ],
)
def test_ipv6_address_is_also_counted_by_its_site(address: str, site: str | None) -> None:
    assert login_store.client_site(address) == site


def test_site_of_many_networks_is_limited_to_fifty_logins_per_minute(owner: str) -> None:
    """A provider assigns a /48 to one customer (RFC 6177), who has 65,536 networks of the size /64."""
    numbers = itertools.count()

    def attempt(network: int, at: int = NOW) -> type[Exception]:
        try:
            number = next(numbers)
            login("000000", email=f"{number}@example.com", address=f"2001:db8:1:{network:x}::{number:x}", at=at)
        except DevFlowError as error:
            return type(error)
        raise AssertionError(network)

    assert [attempt(0) for _ in range(14)] == [WrongPin] * 10 + [RateLimited] * 4
    assert [attempt(network) for network in range(1, 50)] == [WrongPin] * 40 + [RateLimited] * 9
    assert attempt(100) is RateLimited
    assert login(address="2001:db8:2::1") == owner, "another site"
    assert attempt(100, at=NOW + MINUTE) is WrongPin


def test_ten_of_fifty_concurrent_logins_from_one_network_are_allowed(owner: str) -> None:
    def attempt(number: int) -> type[Exception]:
        try:
            login("000000", email=f"{number}@example.com", address=f"2001:db8::{number:x}")
        except DevFlowError as error:
            return type(error)
        raise AssertionError(number)

    with ThreadPoolExecutor(16) as pool:
        errors = list(pool.map(attempt, range(50)))
    assert errors.count(WrongPin) == 10
    assert errors.count(RateLimited) == 40


def test_concurrent_first_logins_from_one_address_are_all_counted(owner: str) -> None:
    with faults.interleaved("UpdateItem", login, when=faults.about("address#192.0.2.1")):
        login()
    (row,) = [row for row in invariants.rows("logins") if row["login"] == "address#192.0.2.1"]
    assert sum(row["calls"].values()) == 2


def test_concurrent_first_guesses_are_both_counted(owner: str) -> None:
    def wrong() -> None:
        with pytest.raises(WrongPin):
            login("000000", address="192.0.2.7")

    with faults.interleaved("UpdateItem", wrong, when=faults.about("tries#user@example.com")), pytest.raises(WrongPin):
        login("000001")
    (row,) = [row for row in invariants.rows("logins") if row["login"] == "tries#user@example.com"]
    assert row["tries"] == 2


def test_login_fails_if_its_limits_cannot_be_counted(owner: str, no_pauses: None) -> None:
    """Login limits fail closed."""
    about = faults.about("address#")
    with faults.refused("UpdateItem", "InternalServerError", status=500, times=99, when=about):
        with aws_requests.recorded() as sent, pytest.raises(Unavailable):
            login()
        assert "GetItem" not in sent.operations


def test_login_of_a_deleted_user_fails_like_a_wrong_pin(owner: str) -> None:
    boto3.client("dynamodb").delete_item(TableName="devflow-local-users", Key={"owner": {"S": owner}})
    with pytest.raises(WrongPin):
        login()
    assert store.load_user(owner) is None


def test_deleted_user_cannot_log_in_with_a_verified_address(owner: str) -> None:
    assert service.ensure_verified_user("user@example.com", "John", NOW).owner == owner
    boto3.client("dynamodb").delete_item(TableName="devflow-local-users", Key={"owner": {"S": owner}})
    with pytest.raises(Unauthenticated):
        service.ensure_verified_user("user@example.com", "John", NOW)


def test_token_of_a_deleted_user_is_rejected(scenario: Scenario, user: Client) -> None:
    (row,) = invariants.rows("users")
    boto3.client("dynamodb").delete_item(TableName="devflow-local-users", Key={"owner": {"S": str(row["owner"])}})
    refused(user.get("/api/agents"), 401, "Invalid or expired token")


def test_old_counts_of_calls_are_removed(owner: str) -> None:
    user = store.load_user(owner)
    assert user is not None
    calls: dict[str, Any] = {}
    for ago in range(100, 0, -5):
        store.admit(owner, store.session_check(user.ver, "-"), TASKS_API, NOW - ago * MINUTE, "token")
        (row,) = invariants.rows("users")
        calls = row["calls"]
        assert len(calls) <= 12
    assert calls


def test_pin_is_not_set_if_the_address_belongs_to_another_user(owner: str) -> None:
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
