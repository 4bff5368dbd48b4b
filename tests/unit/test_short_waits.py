"""The shortest waits, one second and less, are kept. They are never rounded down to none."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from chalicelib.core.errors import RateLimited, Unavailable
from chalicelib.core.settings import SECOND
from chalicelib.http import rate_limits
from chalicelib.http.rate_limits import TASKS_API
from chalicelib.http.responses import error_response
from chalicelib.webhooks import rules
from chalicelib.webhooks.entities import DeliveryAttempt, Endpoint, SigningSecret

NOW = 1_800_000_000_000


def endpoint() -> Endpoint:
    return Endpoint(
        owner="user-1", id="webhook-1", url="https://hooks.example.com/", events=["*"],
        secrets=[SigningSecret(value="whsec_1")], created_at=NOW, updated_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_of_one_second_is_one_second(status: int) -> None:
    assert rules.requested_wait(status, "1", NOW) == SECOND
    in_a_second = format_datetime(datetime.fromtimestamp(NOW / 1_000 + 1, UTC), usegmt=True)
    assert rules.requested_wait(status, in_a_second, NOW) == SECOND


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_of_zero_or_in_the_past_is_no_wait(status: int) -> None:
    assert rules.requested_wait(status, "0", NOW) == 0
    now = format_datetime(datetime.fromtimestamp(NOW / 1_000, UTC), usegmt=True)
    assert rules.requested_wait(status, now, NOW) == 0
    assert rules.requested_wait(status, now, NOW + SECOND) == 0


@pytest.mark.parametrize("wait", [1, SECOND])
def test_shortest_wait_keeps_requests_from_the_endpoint(wait: int) -> None:
    failed = DeliveryAttempt(at=NOW, ms=20, status=429, error="It failed.")
    assert rules.endpoint_after_attempt(endpoint(), failed, wait, NOW).not_before == NOW + wait
    assert rules.endpoint_after_attempt(endpoint(), failed, 0, NOW).not_before is None


@pytest.mark.parametrize(("now", "seconds"), [(NOW + 59_000, 1), (NOW + 59_999, 1), (NOW + 58_999, 2), (NOW, 60)])
def test_rate_limited_caller_waits_until_the_minute_ends(now: int, seconds: int) -> None:
    """Rounded up: a caller that waits so long is not refused again."""
    with pytest.raises(RateLimited) as refused:
        rate_limits._raise_rate_limited(TASKS_API, now)
    assert refused.value.retry_after == seconds
    assert error_response(refused.value, now).headers["Retry-After"] == str(seconds)


def test_unavailable_platform_asks_for_a_short_wait_with_jitter() -> None:
    waits = {error_response(Unavailable(), NOW).headers["Retry-After"] for _ in range(200)}
    assert waits == {"1", "2", "3"}


def test_unavailable_platform_asks_for_the_wait_that_it_knows() -> None:
    assert error_response(Unavailable(retry_after=17), NOW).headers["Retry-After"] == "17"
