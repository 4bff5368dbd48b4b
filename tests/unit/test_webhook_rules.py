"""chalicelib/webhooks/rules.py: retries of deliveries, disabling of endpoints, and rotation of secrets."""

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from chalicelib.aws.sqs import MAX_DELAY
from chalicelib.core.settings import DAY, HOUR, MINUTE, SECOND, settings
from chalicelib.webhooks import concurrency, rules
from chalicelib.webhooks.entities import EVENT_TYPES, Delivery, DeliveryAttempt, Endpoint, SigningSecret, WebhookEvent

NOW = 1_800_000_000_000


def endpoint(**changes: Any) -> Endpoint:
    values: dict[str, Any] = {
        "owner": "user-1",
        "id": "webhook-1",
        "url": "https://hooks.example.com/",
        "events": ["*"],
        "secrets": [SigningSecret(value="whsec_1")],
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Endpoint(**(values | changes))


EVENT = WebhookEvent("task.created", "task-1", NOW, NOW * 10, {"taskId": "task-1"})


def delivery(**changes: Any) -> Delivery:
    """A delivery during an attempt."""
    new = rules.new_delivery(endpoint(), EVENT, "{}", NOW)
    return new.model_copy(update={"claim": "token", "next_at": NOW + rules.DELIVERY_LEASE} | changes)


def attempt(status: int | None = 204, *, at: int = NOW, ms: int = 20) -> DeliveryAttempt:
    succeeded = status is not None and 200 <= status < 300
    return DeliveryAttempt(at=at, ms=ms, status=status, error=None if succeeded else "It failed.")


# Deliveries.


def test_delivery_id_depends_on_endpoint_and_event_and_sorts_by_time() -> None:
    first = rules.new_delivery(endpoint(), EVENT, "{}", NOW)
    assert first.id == rules.new_delivery(endpoint(), EVENT, "{}", NOW + DAY).id
    others = [
        rules.new_delivery(endpoint(id="webhook-2"), EVENT, "{}", NOW),
        rules.new_delivery(endpoint(owner="user-2"), EVENT, "{}", NOW),
        *(
            rules.new_delivery(endpoint(), WebhookEvent(type_, subject, at, 1, {}), "{}", NOW)
            for type_, subject, at in (
                ("task.failed", "task-1", NOW),
                ("task.created", "task-2", NOW),
                ("task.created", "task-1", NOW + 1),
            )
        ),
    ]
    assert len({first.id, *(other.id for other in others)}) == 6
    assert others[-1].id > first.id
    assert (first.status, first.next_at, first.created_at, first.since) == ("pending", NOW, NOW, NOW)
    assert "." not in first.id, "the signed text separates the id from the rest with a dot"


def test_status_2xx_ends_a_delivery_as_delivered() -> None:
    after = rules.after_attempt(delivery(), attempt(), 0, NOW, 0.5)
    assert (after.status, after.next_at, after.ended_at, after.claim, after.tries) == ("delivered", None, NOW, None, 1)
    assert not after.is_pending
    assert rules.sweep_due_at(after, NOW, MAX_DELAY) is None


def test_delivery_fails_after_eight_attempts_with_the_pauses_of_the_schedule() -> None:
    pauses = [5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR]
    now, retried = NOW, delivery()
    for pause in pauses:
        retried = rules.after_attempt(retried, attempt(500, at=now), 0, now, 0.0)
        assert (retried.status, retried.next_at, retried.claim) == ("pending", now + pause, None)
        now += pause
    retried = rules.after_attempt(retried, attempt(500, at=now), 0, now, 0.0)
    assert (retried.status, retried.tries, retried.next_at, retried.ended_at) == ("failed", 8, None, now)
    assert retried.error == "All 8 attempts failed. Last error: It failed."
    assert [each.at - NOW for each in retried.attempts] == [sum(pauses[:number]) for number in range(8)]


def test_jitter_makes_a_pause_at_most_a_tenth_longer() -> None:
    times = {
        rules.after_attempt(delivery(tries=3), attempt(None), 0, NOW, chance).next_at for chance in (0.0, 0.5, 0.9999)
    }
    assert times == {NOW + 2 * HOUR, NOW + 2 * HOUR + 6 * MINUTE, NOW + 2 * HOUR + 12 * MINUTE - 72}


def test_pause_of_the_receiver_applies_if_longer_than_the_schedule() -> None:
    assert rules.after_attempt(delivery(), attempt(429), HOUR, NOW, 0.0).next_at == NOW + HOUR
    assert rules.after_attempt(delivery(), attempt(503), SECOND, NOW, 0.0).next_at == NOW + 5 * SECOND


def test_status_410_fails_a_delivery_immediately() -> None:
    after = rules.after_attempt(delivery(), attempt(410), 0, NOW, 0.0)
    assert (after.status, after.error, after.ended_at) == ("failed", "It failed.", NOW)


def test_last_twenty_attempts_are_stored() -> None:
    before = [attempt(500, at=NOW + at) for at in range(20)]
    after = rules.after_attempt(delivery(attempts=before), attempt(at=NOW + 20), 0, NOW, 0.0)
    assert [each.at - NOW for each in after.attempts] == list(range(1, 21))


def test_busy_endpoint_defers_a_delivery_ever_longer_without_an_attempt() -> None:
    pauses = []
    deferred = delivery()
    for _ in range(10):
        deferred = rules.defer(deferred, endpoint(), NOW, 0.9999)
        pauses.append(round(((deferred.next_at or 0) - NOW) / 1_000))
        assert (deferred.tries, deferred.claim, deferred.status) == (0, None, "pending")
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert rules.defer(deferred, endpoint(), NOW, 0.0).next_at == NOW + 150 * SECOND
    assert rules.after_attempt(deferred, attempt(500), 0, NOW, 0.0).deferrals == 0


def test_delivery_is_deferred_until_the_end_of_the_requested_pause() -> None:
    assert rules.defer(delivery(), endpoint(not_before=NOW + HOUR), NOW, 0.0).next_at == NOW + HOUR


def test_delivery_fails_after_its_endpoint_was_busy_for_a_week() -> None:
    assert rules.defer(delivery(), endpoint(), NOW + 7 * DAY - 1, 0.0).is_pending
    after = rules.defer(delivery(), endpoint(), NOW + 7 * DAY, 0.0)
    assert (after.status, after.error) == ("failed", "The webhook was busy for seven days.")


def test_sweep_processes_a_delivery_later_where_a_message_is_sent() -> None:
    pending = delivery(claim=None, next_at=NOW + 5 * SECOND)
    assert rules.sweep_due_at(pending, NOW, MAX_DELAY) == NOW + 5 * SECOND + MINUTE
    pending = delivery(claim=None, next_at=NOW + 30 * MINUTE)
    assert rules.sweep_due_at(pending, NOW, MAX_DELAY) == NOW + 30 * MINUTE
    assert rules.sweep_due_at(delivery(), NOW, MAX_DELAY) == NOW + rules.DELIVERY_LEASE


def test_redelivery_restarts_an_ended_delivery_under_its_id() -> None:
    ended = rules.after_attempt(delivery(tries=7), attempt(500), 0, NOW, 0.0)
    restarted = rules.redeliver(ended, NOW + DAY)
    assert restarted is not None
    assert (restarted.id, restarted.body, restarted.attempts) == (ended.id, ended.body, ended.attempts)
    assert (restarted.status, restarted.tries, restarted.next_at, restarted.since) == (
        "pending",
        0,
        NOW + DAY,
        NOW + DAY,
    )
    assert (restarted.error, restarted.ended_at) == (None, None)


def test_redelivery_makes_a_pending_delivery_due_now_unless_it_is_in_progress() -> None:
    pending = rules.redeliver(delivery(claim=None, next_at=NOW + HOUR, tries=3), NOW)
    assert pending is not None
    assert (pending.next_at, pending.tries, pending.since) == (NOW, 3, NOW)
    assert rules.redeliver(delivery(), NOW) is None
    lease_expired = rules.redeliver(delivery(), NOW + rules.DELIVERY_LEASE)
    assert lease_expired is not None
    assert (lease_expired.claim, lease_expired.next_at) == (None, NOW + rules.DELIVERY_LEASE)


# Retry-After.


@pytest.mark.parametrize(
    ("status", "retry_after", "wait"),
    [
        (429, "7", 7 * SECOND),
        (503, " 120 ", 2 * MINUTE),
        (429, "0", 0),
        (429, "999999999999999999999999", 10 * HOUR),
        (429, format_datetime(datetime.fromtimestamp(NOW / 1_000 + 90, UTC), usegmt=True), 90 * SECOND),
        (429, format_datetime(datetime.fromtimestamp(NOW / 1_000 - 90, UTC), usegmt=True), 0),
        (429, format_datetime(datetime.fromtimestamp(NOW / 1_000 + 30 * 86_400, UTC), usegmt=True), 10 * HOUR),
        (429, None, 0),
        (500, "7", 0),
        (None, "7", 0),
        (429, "-7", 0),
        (429, "soon", 0),
        (429, "\u0667", 0),
        (429, "Mon, 32 Foo 2026 25:61:61 GMT", 0),
        (429, "", 0),
    ],
)
def test_retry_after_may_be_seconds_or_a_date(status: int | None, retry_after: str | None, wait: int) -> None:
    assert rules.requested_wait(status, retry_after, NOW) == wait


# Endpoints.


def test_endpoint_wants_the_events_of_its_filter_unless_disabled() -> None:
    assert endpoint().wants("task.created")
    filtered = endpoint(events=["task.failed", "agent.inactive"])
    assert [event for event in EVENT_TYPES if filtered.wants(event)] == ["task.failed", "agent.inactive"]
    assert not endpoint(enabled=False).wants("task.created")


def test_success_resets_the_failures_of_an_endpoint() -> None:
    failing = endpoint(failing_since=NOW - DAY, failed_at=NOW - HOUR, slow=True, not_before=NOW)
    after = rules.endpoint_after_attempt(failing, attempt(), 0, NOW)
    assert (after.failing_since, after.failed_at, after.slow, after.not_before) == (None, None, False, None)
    assert rules.endpoint_after_attempt(endpoint(), attempt(ms=3_000), 0, NOW).slow


def test_endpoint_stores_its_first_and_its_last_failure() -> None:
    first = rules.endpoint_after_attempt(endpoint(), attempt(500), 0, NOW)
    assert (first.failing_since, first.failed_at, first.enabled) == (NOW, NOW, True)
    second = rules.endpoint_after_attempt(first, attempt(429), HOUR, NOW + HOUR)
    assert (second.failing_since, second.failed_at, second.not_before) == (NOW, NOW + HOUR, NOW + 2 * HOUR)


def test_five_days_of_failures_disable_an_endpoint() -> None:
    now, failing = NOW, endpoint()
    while now < NOW + 5 * DAY:
        failing = rules.endpoint_after_attempt(failing, attempt(None), 0, now)
        assert failing.enabled
        now += 10 * HOUR
    failing = rules.endpoint_after_attempt(failing, attempt(None), 0, now)
    assert (failing.enabled, failing.disabled_at) == (False, now)
    assert failing.disabled_reason == "Every attempt has failed for five days, since 2027-01-15T08:00:00Z."


def test_two_failures_five_days_apart_do_not_disable_an_endpoint() -> None:
    failing = rules.endpoint_after_attempt(endpoint(), attempt(500), 0, NOW)
    after = rules.endpoint_after_attempt(failing, attempt(500), 0, NOW + 5 * DAY)
    assert (after.enabled, after.failing_since) == (True, NOW + 5 * DAY)


@pytest.mark.parametrize("status", [None, 301, 400, 401, 404, 429, 500, 503])
def test_only_status_410_disables_an_endpoint_at_once(status: int | None) -> None:
    assert rules.endpoint_after_attempt(endpoint(), attempt(status), 0, NOW).enabled
    disabled = rules.endpoint_after_attempt(endpoint(), attempt(410), 0, NOW)
    assert (disabled.enabled, disabled.disabled_reason) == (False, "The receiver returned 410 (Gone).")


def test_endpoint_has_four_slots_and_one_while_it_is_slow_or_fails() -> None:
    def count_slots(**changes: Any) -> int:
        used: dict[str, int] = {}
        while (slot := rules.choose_free_slot(endpoint(slots=used, **changes), NOW, 0.7)) is not None:
            assert slot not in used
            used[slot] = NOW + 1
        return len(used)

    assert count_slots() == 4
    assert count_slots(slow=True) == 1
    assert count_slots(failing_since=NOW) == 1


def test_endpoints_of_one_user_cannot_occupy_all_batches() -> None:
    assert concurrency.SLOTS * settings.webhooks_per_user < concurrency.MAX_BATCHES
    assert concurrency.MAX_BATCHES <= 1_000, "the maximum that AWS allows"


def test_slot_whose_time_is_over_is_free() -> None:
    used = dict.fromkeys("0123", NOW + 1)
    assert rules.choose_free_slot(endpoint(slots=used), NOW, 0.0) is None
    assert rules.choose_free_slot(endpoint(slots=used | {"2": NOW}), NOW, 0.999) == "2"


# Secrets.


def test_old_secret_signs_for_a_day_after_a_rotation() -> None:
    after = rules.rotate_secret(endpoint(), "whsec_2", None, NOW)
    assert after.active_secrets(NOW + DAY - 1) == ["whsec_2", "whsec_1"]
    assert after.active_secrets(NOW + DAY) == ["whsec_2"]


def test_repeated_rotations_keep_the_secrets_of_the_last_day() -> None:
    """Where the response to a rotation was lost, the receiver has only the secret before the last one."""
    twice = rules.rotate_secret(rules.rotate_secret(endpoint(), "whsec_2", None, NOW), "whsec_3", None, NOW + MINUTE)
    assert twice.active_secrets(NOW + HOUR) == ["whsec_3", "whsec_2", "whsec_1"]
    later = rules.rotate_secret(twice, "whsec_4", None, NOW + DAY)
    assert [secret.value for secret in later.secrets] == ["whsec_4", "whsec_3", "whsec_2"]
    for number in range(5, 9):
        later = rules.rotate_secret(later, f"whsec_{number}", None, NOW + DAY + number)
    assert len(later.secrets) == 4


def test_same_key_within_ten_minutes_is_the_same_rotation() -> None:
    after = rules.rotate_secret(endpoint(), "whsec_2", "key", NOW)
    assert rules.is_repeated_rotation(after, "key", NOW + 10 * MINUTE)
    assert not rules.is_repeated_rotation(after, "key", NOW + 10 * MINUTE + 1)
    assert not rules.is_repeated_rotation(after, "other", NOW)
    assert not rules.is_repeated_rotation(endpoint(), None, NOW)
