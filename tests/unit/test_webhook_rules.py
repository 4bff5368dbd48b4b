"""The rules of webhooks: when a delivery is tried again, when an endpoint is disabled, what it is signed with."""

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from chalicelib.aws.sqs import MAX_DELAY
from chalicelib.core.settings import DAY, HOUR, MINUTE, SECOND, settings
from chalicelib.webhooks import concurrency, rules
from chalicelib.webhooks.entities import EVENT_TYPES, Delivery, DeliveryAttempt, Endpoint, SigningSecret, WebhookEvent

NOW = 1_800_000_000_000


def endpoint(**more: Any) -> Endpoint:
    values: dict[str, Any] = {
        "owner": "user-1",
        "id": "webhook-1",
        "url": "https://hooks.example.com/",
        "events": ["*"],
        "secrets": [SigningSecret(value="whsec_1")],
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Endpoint(**(values | more))


HAPPENING = WebhookEvent("task.created", "task-1", NOW, NOW * 10, {"taskId": "task-1"})


def delivery(**more: Any) -> Delivery:
    made = rules.new_delivery(endpoint(), HAPPENING, "{}", NOW)
    return made.model_copy(update={"claim": "me", "next_at": NOW + rules.DELIVERY_LEASE} | more)


def attempt(status: int | None = 204, *, at: int = NOW, ms: int = 20) -> DeliveryAttempt:
    well = status is not None and 200 <= status < 300
    return DeliveryAttempt(at=at, ms=ms, status=status, error=None if well else "It failed.")


# Deliveries.


def test_a_delivery_is_known_by_its_endpoint_and_what_it_tells_and_sorts_by_time() -> None:
    made = rules.new_delivery(endpoint(), HAPPENING, "{}", NOW)
    assert made.id == rules.new_delivery(endpoint(), HAPPENING, "{}", NOW + DAY).id
    others = [
        rules.new_delivery(endpoint(id="webhook-2"), HAPPENING, "{}", NOW),
        rules.new_delivery(endpoint(owner="user-2"), HAPPENING, "{}", NOW),
        *(
            rules.new_delivery(endpoint(), WebhookEvent(kind, about, at, 1, {}), "{}", NOW)
            for kind, about, at in (
                ("task.failed", "task-1", NOW),
                ("task.created", "task-2", NOW),
                ("task.created", "task-1", NOW + 1),
            )
        ),
    ]
    assert len({made.id, *(other.id for other in others)}) == 6
    assert others[-1].id > made.id
    assert (made.status, made.next_at, made.created_at, made.since) == ("pending", NOW, NOW, NOW)
    assert "." not in made.id  # which is what separates it from the rest in what is signed


def test_it_arrives_with_the_first_2xx() -> None:
    after = rules.after_attempt(delivery(), attempt(), 0, NOW, 0.5)
    assert (after.status, after.next_at, after.ended_at, after.claim, after.tries) == ("delivered", None, NOW, None, 1)
    assert not after.is_pending
    assert rules.sweep_due_at(after, NOW, MAX_DELAY) is None


def test_it_is_tried_eight_times_each_after_the_pause_of_the_schedule_and_then_given_up() -> None:
    pauses = [5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR]
    now, mine = NOW, delivery()
    for pause in pauses:
        mine = rules.after_attempt(mine, attempt(500, at=now), 0, now, 0.0)
        assert (mine.status, mine.next_at, mine.claim) == ("pending", now + pause, None)
        now += pause
    mine = rules.after_attempt(mine, attempt(500, at=now), 0, now, 0.0)
    assert (mine.status, mine.tries, mine.next_at, mine.ended_at) == ("failed", 8, None, now)
    assert mine.error == "It was tried 8 times. It failed."
    assert [each.at - NOW for each in mine.attempts] == [sum(pauses[:many]) for many in range(8)]


def test_chance_makes_a_pause_longer_by_a_tenth_at_most() -> None:
    times = {
        rules.after_attempt(delivery(tries=3), attempt(None), 0, NOW, chance).next_at for chance in (0.0, 0.5, 0.9999)
    }
    assert times == {NOW + 2 * HOUR, NOW + 2 * HOUR + 6 * MINUTE, NOW + 2 * HOUR + 12 * MINUTE - 72}


def test_what_its_receiver_asks_for_counts_where_it_is_longer_than_the_schedule() -> None:
    assert rules.after_attempt(delivery(), attempt(429), HOUR, NOW, 0.0).next_at == NOW + HOUR
    assert rules.after_attempt(delivery(), attempt(503), SECOND, NOW, 0.0).next_at == NOW + 5 * SECOND


def test_a_receiver_that_is_gone_for_good_gets_it_no_more() -> None:
    after = rules.after_attempt(delivery(), attempt(410), 0, NOW, 0.0)
    assert (after.status, after.error, after.ended_at) == ("failed", "It failed.", NOW)


def test_the_last_twenty_attempts_are_kept() -> None:
    before = [attempt(500, at=NOW + at) for at in range(20)]
    after = rules.after_attempt(delivery(attempts=before), attempt(at=NOW + 20), 0, NOW, 0.0)
    assert [each.at - NOW for each in after.attempts] == list(range(1, 21))


def test_where_its_endpoint_is_busy_it_comes_back_ever_later_and_no_attempt_is_used_up() -> None:
    pauses = []
    mine = delivery()
    for _ in range(10):
        mine = rules.defer(mine, endpoint(), NOW, 0.9999)
        pauses.append(round(((mine.next_at or 0) - NOW) / 1_000))
        assert (mine.tries, mine.claim, mine.status) == (0, None, "pending")
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert rules.defer(mine, endpoint(), NOW, 0.0).next_at == NOW + 150 * SECOND
    assert rules.after_attempt(mine, attempt(500), 0, NOW, 0.0).deferrals == 0


def test_where_its_endpoint_asked_to_be_left_alone_it_comes_back_then() -> None:
    assert rules.defer(delivery(), endpoint(not_before=NOW + HOUR), NOW, 0.0).next_at == NOW + HOUR


def test_where_its_endpoint_is_busy_for_a_week_it_is_given_up() -> None:
    assert rules.defer(delivery(), endpoint(), NOW + 7 * DAY - 1, 0.0).is_pending
    after = rules.defer(delivery(), endpoint(), NOW + 7 * DAY, 0.0)
    assert (after.status, after.error) == ("failed", "Its webhook was busy for seven days.")


def test_the_sweep_looks_after_it_when_its_time_comes_or_a_little_later_where_a_message_does() -> None:
    waits = delivery(claim=None, next_at=NOW + 5 * SECOND)
    assert rules.sweep_due_at(waits, NOW, MAX_DELAY) == NOW + 5 * SECOND + MINUTE
    waits = delivery(claim=None, next_at=NOW + 30 * MINUTE)
    assert rules.sweep_due_at(waits, NOW, MAX_DELAY) == NOW + 30 * MINUTE
    assert rules.sweep_due_at(delivery(), NOW, MAX_DELAY) == NOW + rules.DELIVERY_LEASE


def test_sent_again_by_hand_what_ended_begins_anew_under_its_id() -> None:
    ended = rules.after_attempt(delivery(tries=7), attempt(500), 0, NOW, 0.0)
    again = rules.redeliver(ended, NOW + DAY)
    assert again is not None
    assert (again.id, again.body, again.attempts) == (ended.id, ended.body, ended.attempts)
    assert (again.status, again.tries, again.next_at, again.since) == ("pending", 0, NOW + DAY, NOW + DAY)
    assert (again.error, again.ended_at) == (None, None)


def test_sent_again_by_hand_what_waits_goes_out_now_and_what_is_under_way_stays() -> None:
    waits = delivery(claim=None, next_at=NOW + HOUR, tries=3)
    again = rules.redeliver(waits, NOW)
    assert again is not None
    assert (again.next_at, again.tries, again.since) == (NOW, 3, NOW)
    assert rules.redeliver(delivery(), NOW) is None
    forgotten = rules.redeliver(delivery(), NOW + rules.DELIVERY_LEASE)
    assert forgotten is not None
    assert (forgotten.claim, forgotten.next_at) == (None, NOW + rules.DELIVERY_LEASE)


# What a receiver asks for.


@pytest.mark.parametrize(
    ("status", "said", "wait"),
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
def test_a_receiver_may_ask_to_be_left_alone_for_seconds_or_until_a_date(
    status: int | None, said: str | None, wait: int
) -> None:
    assert rules.requested_wait(status, said, NOW) == wait


# Endpoints.


def test_an_endpoint_wants_what_its_filter_names_unless_it_is_disabled() -> None:
    assert endpoint().wants("task.created")
    some = endpoint(events=["task.failed", "agent.inactive"])
    assert [event for event in EVENT_TYPES if some.wants(event)] == ["task.failed", "agent.inactive"]
    assert not endpoint(enabled=False).wants("task.created")


def test_a_success_clears_an_endpoint() -> None:
    troubled = endpoint(failing_since=NOW - DAY, failed_at=NOW - HOUR, slow=True, not_before=NOW)
    after = rules.endpoint_after_attempt(troubled, attempt(), 0, NOW)
    assert (after.failing_since, after.failed_at, after.slow, after.not_before) == (None, None, False, None)
    assert rules.endpoint_after_attempt(endpoint(), attempt(ms=3_000), 0, NOW).slow


def test_a_failure_is_remembered_from_the_first_on() -> None:
    first = rules.endpoint_after_attempt(endpoint(), attempt(500), 0, NOW)
    assert (first.failing_since, first.failed_at, first.enabled) == (NOW, NOW, True)
    second = rules.endpoint_after_attempt(first, attempt(429), HOUR, NOW + HOUR)
    assert (second.failing_since, second.failed_at, second.not_before) == (NOW, NOW + HOUR, NOW + 2 * HOUR)


def test_five_days_of_failures_disable_an_endpoint_and_say_so() -> None:
    now, failing = NOW, endpoint()
    while now < NOW + 5 * DAY:
        failing = rules.endpoint_after_attempt(failing, attempt(None), 0, now)
        assert failing.enabled
        now += 10 * HOUR
    failing = rules.endpoint_after_attempt(failing, attempt(None), 0, now)
    assert (failing.enabled, failing.disabled_at) == (False, now)
    assert failing.disabled_reason == "It has failed for five days, since 2027-01-15T08:00:00Z."


def test_two_failures_five_days_apart_with_nothing_between_are_no_five_days_of_failures() -> None:
    failing = rules.endpoint_after_attempt(endpoint(), attempt(500), 0, NOW)
    after = rules.endpoint_after_attempt(failing, attempt(500), 0, NOW + 5 * DAY)
    assert (after.enabled, after.failing_since) == (True, NOW + 5 * DAY)


@pytest.mark.parametrize("status", [None, 301, 400, 401, 404, 429, 500, 503])
def test_no_single_answer_disables_an_endpoint_but_410(status: int | None) -> None:
    assert rules.endpoint_after_attempt(endpoint(), attempt(status), 0, NOW).enabled
    gone = rules.endpoint_after_attempt(endpoint(), attempt(410), 0, NOW)
    assert (gone.enabled, gone.disabled_reason) == (False, "It answered 410: it is gone for good.")


def test_four_requests_to_an_endpoint_may_be_under_way_and_one_where_it_is_slow_or_fails() -> None:
    def lanes(standing: Endpoint) -> int:
        taken: dict[str, int] = {}
        while (lane := rules.free_slot(standing.model_copy(update={"slots": taken}), NOW, 0.7)) is not None:
            assert lane not in taken
            taken[lane] = NOW + 1
        return len(taken)

    assert lanes(endpoint()) == 4
    assert lanes(endpoint(slow=True)) == 1
    assert lanes(endpoint(failing_since=NOW)) == 1


def test_the_endpoints_of_one_user_can_never_take_up_all_that_is_delivered_at_once() -> None:
    assert (
        concurrency.SLOTS * settings.webhooks_per_user < concurrency.MAX_BATCHES <= 1_000
    )  # which is the most that AWS takes


def test_a_lane_whose_time_is_over_is_free() -> None:
    taken = dict.fromkeys("0123", NOW + 1)
    assert rules.free_slot(endpoint(slots=taken), NOW, 0.0) is None
    assert rules.free_slot(endpoint(slots=taken | {"2": NOW}), NOW, 0.999) == "2"


# Secrets.


def test_after_a_rotation_the_old_secret_signs_for_a_day_too() -> None:
    after = rules.rotate_secret(endpoint(), "whsec_2", None, NOW)
    assert after.active_secrets(NOW + DAY - 1) == ["whsec_2", "whsec_1"]
    assert after.active_secrets(NOW + DAY) == ["whsec_2"]


def test_rotated_again_and_again_no_secret_of_the_last_day_is_forgotten_too_soon() -> None:
    """Where an answer was lost, the receiver has only the secret before the last."""
    twice = rules.rotate_secret(rules.rotate_secret(endpoint(), "whsec_2", None, NOW), "whsec_3", None, NOW + MINUTE)
    assert twice.active_secrets(NOW + HOUR) == ["whsec_3", "whsec_2", "whsec_1"]
    later = rules.rotate_secret(twice, "whsec_4", None, NOW + DAY)
    assert [secret.value for secret in later.secrets] == ["whsec_4", "whsec_3", "whsec_2"]
    for number in range(5, 9):
        later = rules.rotate_secret(later, f"whsec_{number}", None, NOW + DAY + number)
    assert len(later.secrets) == 4


def test_the_same_key_within_ten_minutes_is_the_same_rotation() -> None:
    after = rules.rotate_secret(endpoint(), "whsec_2", "key", NOW)
    assert rules.is_repeated_rotation(after, "key", NOW + 10 * MINUTE)
    assert not rules.is_repeated_rotation(after, "key", NOW + 10 * MINUTE + 1)
    assert not rules.is_repeated_rotation(after, "other", NOW)
    assert not rules.is_repeated_rotation(endpoint(), None, NOW)
