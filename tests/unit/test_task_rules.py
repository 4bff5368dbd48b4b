"""chalicelib/tasks/rules.py: the rules of a task's lifecycle, from every status.

The letters in the names of tests are those of docs/states.md.
"""

import random
from collections.abc import Callable
from typing import Any, get_args

import pytest

from chalicelib.core.errors import Conflict
from chalicelib.core.outage import Outage
from chalicelib.core.settings import HOUR, MINUTE, SECOND
from chalicelib.tasks import rules
from chalicelib.tasks.entities import Task, TaskEvent, TaskStatus, Transition, expected
from chalicelib.tasks.rules import NotHeld, ProgressUpdate, Reporter, TaskResult, WrongState

NOW = 1_763_938_000_000
SUBMITTED = NOW - 10 * MINUTE
STATUSES: tuple[TaskStatus, ...] = get_args(TaskStatus)
ENDED_STATUSES: tuple[TaskStatus, ...] = ("completed", "failed", "cancelled")
HOLDER = Reporter("agent-1", None)
SUCCESS = TaskResult("completed", None, "digest-good", size=70)
FAILURE = TaskResult("failed", "It broke", "digest-bad", size=8)
UPDATE = ProgressUpdate(0.5, "Running tests", "12 of 24")

every_status = pytest.mark.parametrize("status", STATUSES)


def task(status: TaskStatus, **values: Any) -> Task:
    """A task in this status that was submitted ten minutes ago."""
    is_held = status in ("assigned", "in_progress", *ENDED_STATUSES)
    is_started = status in ("in_progress", *ENDED_STATUSES)
    defaults: dict[str, Any] = {
        "owner": "user-1",
        "id": "task-1",
        "status": status,
        "intent": "fix-bug",
        "repo": "https://github.com/user/repo",
        "title": "Fix it",
        "agent_id": "agent-1" if is_held else None,
        "request_digest": "digest",
        "report_digest": "digest-good" if status == "completed" else None,
        "created_at": SUBMITTED,
        "updated_at": SUBMITTED,
        "claimed_at": NOW - 30 * SECOND if is_held else None,
        "started_at": NOW - 20 * SECOND if is_started else None,
        "completed_at": NOW - SECOND if status in ENDED_STATUSES else None,
        "due": None if status in ENDED_STATUSES else NOW + 30 * SECOND,
    }
    return Task(**(defaults | values))


def differences(transition: Transition) -> dict[str, Any]:
    """The fields that a transition changes, with their new values."""
    before, after = transition.before.__dict__, transition.after.__dict__
    return {name: value for name, value in after.items() if value != before.get(name)}


# The rules, by their letters.


@every_status
def test_letter_b_only_a_pending_task_becomes_claimable(status: TaskStatus) -> None:
    if status != "pending":
        with pytest.raises(WrongState):
            rules.enqueue(task(status), NOW)
        return
    transition = rules.enqueue(task(status), NOW)
    assert transition.after.status == "queued"
    assert transition.after.due == NOW + 24 * HOUR
    assert transition.event == TaskEvent("task.queued", NOW, "queued", 1, None)


@every_status
def test_letter_c_only_a_queued_task_is_claimed_with_a_lease_of_a_minute(status: TaskStatus) -> None:
    if status != "queued":
        with pytest.raises(WrongState):
            rules.claim(task(status), "agent-2", NOW)
        return
    transition = rules.claim(task(status), "agent-2", NOW)
    assert (transition.after.status, transition.after.agent_id, transition.after.attempt) == ("assigned", "agent-2", 1)
    assert transition.after.claimed_at == NOW
    assert transition.after.due == NOW + 60 * SECOND
    assert transition.event == TaskEvent("task.assigned", NOW, "assigned", 1, "agent-2")


@every_status
def test_letter_c_each_poll_renews_a_claim_up_to_ten_minutes(status: TaskStatus) -> None:
    if status != "assigned":
        with pytest.raises(WrongState):
            rules.renew_claim(task(status), NOW)
        return
    for age, left in ((0, 60), (60, 60), (540, 60), (541, 59), (599, 1), (600, 0), (630, -30)):
        transition = rules.renew_claim(task(status, claimed_at=NOW - age * SECOND), NOW)
        assert transition.after.due == NOW + left * SECOND
        assert transition.after.status == "assigned"
        assert transition.event is None


@every_status
def test_letter_d_first_progress_report_starts_a_claimed_task(status: TaskStatus) -> None:
    if status in ENDED_STATUSES:
        with pytest.raises(NotHeld):
            rules.record_progress(task(status), HOLDER, UPDATE, NOW)
    elif status in ("pending", "queued"):
        with pytest.raises(WrongState):
            rules.record_progress(task(status), HOLDER, UPDATE, NOW)
    elif status == "assigned":
        transition = rules.record_progress(task(status, timeout=90 * MINUTE), HOLDER, UPDATE, NOW)
        assert (transition.after.status, transition.after.started_at) == ("in_progress", NOW)
        assert transition.after.due == NOW + 90 * MINUTE
        assert transition.event == TaskEvent("task.started", NOW, "in_progress", 1, "agent-1", "Running tests")
    else:
        transition = rules.record_progress(task(status), HOLDER, UPDATE, NOW)
        assert (transition.after.status, transition.after.started_at) == ("in_progress", NOW - 20 * SECOND)
        assert transition.after.due == transition.before.due


@every_status
@pytest.mark.parametrize("result", [SUCCESS, FAILURE], ids=["completed", "failed"])
def test_letter_d_report_of_the_holder_ends_the_task(status: TaskStatus, result: TaskResult) -> None:
    if status in ENDED_STATUSES:
        with pytest.raises(WrongState):
            rules.finish(task(status), HOLDER, result, NOW)
    elif status in ("pending", "queued"):
        with pytest.raises(NotHeld):
            rules.finish(task(status), HOLDER, result, NOW)
    else:
        transition = rules.finish(task(status, progress=0.4), HOLDER, result, NOW)
        after = transition.after
        assert (after.status, after.error, after.completed_at, after.due) == (result.status, result.error, NOW, None)
        assert after.progress == (1 if result.status == "completed" else 0.4)
        assert after.agent_id == "agent-1"
        expected = TaskEvent(f"task.{result.status}", NOW, result.status, 1, "agent-1", result.error, result.size)
        assert transition.event == expected


def test_letter_d_task_without_progress_reports_starts_and_ends_in_one_transition() -> None:
    transition = rules.finish(task("assigned"), HOLDER, SUCCESS, NOW)
    assert (transition.after.started_at, transition.after.completed_at) == (NOW, NOW)


@every_status
def test_letter_e_unstarted_task_returns_to_the_queue_in_the_same_attempt(status: TaskStatus) -> None:
    if status != "assigned":
        with pytest.raises(WrongState):
            rules.requeue(task(status), "why", NOW)
        return
    transition = rules.requeue(task(status), "why", NOW)
    after = transition.after
    assert (after.status, after.agent_id, after.claimed_at, after.attempt) == ("queued", None, None, 1)
    assert after.due == SUBMITTED + 24 * HOUR
    assert transition.event == TaskEvent("task.requeued", NOW, "queued", 1, "agent-1", "why")


def test_letter_e_each_attempt_has_24_hours_in_the_queue() -> None:
    lost = rules.lose(task("in_progress"), "why", NOW + 23 * HOUR).after
    claimed = rules.claim(lost, "agent-2", NOW + 30 * HOUR).after
    assert rules.requeue(claimed, "why", NOW + 31 * HOUR).after.due == NOW + (23 + 24) * HOUR


@every_status
def test_letter_f_lost_task_is_queued_with_the_next_attempt(status: TaskStatus) -> None:
    if status != "in_progress":
        with pytest.raises(WrongState):
            rules.lose(task(status), "why", NOW)
        return
    running = task(status, progress=0.4, step="Running tests", details="12 of 24", log_bytes=100, earlier_log_bytes=50)
    transition = rules.lose(running, "why", NOW)
    after = transition.after
    assert (after.status, after.agent_id, after.attempt) == ("queued", None, 2)
    assert (after.claimed_at, after.started_at, after.progress, after.step, after.details) == (
        None,
        None,
        0,
        None,
        None,
    )
    assert (after.log_bytes, after.earlier_log_bytes) == (0, 150)
    assert after.due == NOW + 24 * HOUR
    assert transition.event == TaskEvent("task.requeued", NOW, "queued", 2, "agent-1", "why")


@pytest.mark.parametrize(("attempt", "max_attempts"), [(1, 1), (2, 2), (10, 10)])
def test_letter_f_task_that_is_lost_in_its_last_attempt_fails(attempt: int, max_attempts: int) -> None:
    transition = rules.lose(task("in_progress", attempt=attempt, max_attempts=max_attempts), "why", NOW)
    assert (transition.after.status, transition.after.error, transition.after.due) == ("failed", "Agent lost", None)
    assert transition.event == TaskEvent("task.failed", NOW, "failed", attempt, "agent-1", "why", 0)


def test_letter_f_lost_task_with_a_requested_cancellation_is_cancelled() -> None:
    transition = rules.lose(task("in_progress", cancel_at=NOW - SECOND), "why", NOW)
    assert (transition.after.status, transition.after.due) == ("cancelled", None)


@every_status
def test_letter_g_task_is_cancelled_at_once_or_within_a_minute_while_it_runs(
    status: TaskStatus,
) -> None:
    if status in ("completed", "failed"):
        with pytest.raises(WrongState):
            rules.cancel(task(status), NOW)
        return
    transition = rules.cancel(task(status), NOW)
    if status == "cancelled":
        assert transition is None
        return
    assert transition is not None
    assert transition.event is not None
    if status == "in_progress":
        after = transition.after
        assert (after.status, after.cancel_at, after.due) == ("in_progress", NOW, NOW + 30 * SECOND)
        assert transition.event.type == "task.cancel_requested"
    else:
        assert (transition.after.status, transition.after.due, transition.after.completed_at) == (
            "cancelled",
            None,
            NOW,
        )
        assert transition.event.type == "task.cancelled"


def test_letter_g_second_cancellation_changes_nothing() -> None:
    assert rules.cancel(task("in_progress", cancel_at=NOW - SECOND), NOW) is None


def test_letter_g_cancellation_does_not_extend_the_timeout() -> None:
    distant = rules.cancel(task("in_progress", due=NOW + HOUR), NOW)
    close = rules.cancel(task("in_progress", due=NOW + SECOND), NOW)
    assert distant is not None
    assert close is not None
    assert distant.after.due == NOW + 60 * SECOND
    assert close.after.due == NOW + SECOND


@pytest.mark.parametrize(("result", "status"), [(SUCCESS, "completed"), (FAILURE, "cancelled")])
def test_letter_g_within_a_minute_complete_counts_and_fail_means_cancelled(
    result: TaskResult, status: TaskStatus
) -> None:
    cancelling = task("in_progress", cancel_at=NOW - 59 * SECOND)
    assert rules.finish(cancelling, HOLDER, result, NOW).after.status == status
    assert rules.record_progress(cancelling, HOLDER, UPDATE, NOW).after.cancel_at == NOW - 59 * SECOND


@pytest.mark.parametrize(
    "report", [lambda t: rules.finish(t, HOLDER, SUCCESS, NOW), lambda t: rules.record_progress(t, HOLDER, UPDATE, NOW)]
)
def test_letter_g_after_a_minute_the_agent_is_fenced_even_before_the_sweep(report: Callable[[Task], Any]) -> None:
    with pytest.raises(NotHeld):
        report(task("in_progress", cancel_at=NOW - 60 * SECOND))


# Properties of all rules.


Rule = Callable[[Task, int], Transition | None]
RULES: dict[str, Rule] = {
    "enqueue": rules.enqueue,
    "claim": lambda t, now: rules.claim(t, "agent-1", now),
    "renew_claim": rules.renew_claim,
    "record_progress": lambda t, now: rules.record_progress(t, Reporter(t.agent_id or "agent-1", None), UPDATE, now),
    "complete": lambda t, now: rules.finish(t, Reporter(t.agent_id or "agent-1", None), SUCCESS, now),
    "fail": lambda t, now: rules.finish(t, Reporter(t.agent_id or "agent-1", None), FAILURE, now),
    "requeue": lambda t, now: rules.requeue(t, "why", now),
    "lose": lambda t, now: rules.lose(t, "why", now),
    "cancel": rules.cancel,
    "on_deadline": rules.on_deadline,
}


@pytest.mark.parametrize("status", ENDED_STATUSES)
@pytest.mark.parametrize("rule", RULES)
def test_no_rule_changes_a_task_that_has_ended(rule: str, status: TaskStatus) -> None:
    try:
        transition = RULES[rule](task(status), NOW)
    except Conflict:
        return
    assert transition is None


@pytest.mark.parametrize("seed", range(200))
def test_invariants_of_a_task_in_any_order_of_transitions(seed: int) -> None:
    """Random transitions: each open task has a due time, each change of status has one event, and the end is final."""
    rng = random.Random(seed)  # noqa: S311  # test data, not a secret
    now = NOW
    current = task("pending", max_attempts=rng.randint(1, 4))
    for _ in range(60):
        now += rng.choice([0, SECOND, 40 * SECOND, 5 * MINUTE, 3 * HOUR])
        try:
            transition = RULES[rng.choice(list(RULES))](current, now)
        except Conflict:
            continue
        if transition is None:
            continue
        before, after = transition.before, transition.after
        assert before == current
        assert before.is_open
        assert (after.due is not None) == after.is_open == (after.completed_at is None)
        if after.status != before.status:
            assert transition.event is not None
            assert before.updated_at is not None
            assert (transition.event.status, transition.event.at) == (after.status, max(now, before.updated_at + 1))
        assert before.attempt <= after.attempt <= min(before.attempt + 1, after.max_attempts)
        assert after.attempt == before.attempt or (before.status, after.status) == ("in_progress", "queued")
        assert (after.agent_id is None) <= (after.status not in ("assigned", "in_progress"))
        assert (after.status == "in_progress") <= (after.started_at is not None)
        assert after.status in ("in_progress", *ENDED_STATUSES) or after.cancel_at is None
        current = after
    assert current.created_at == SUBMITTED


def test_sweep_alone_ends_a_task_from_every_open_status() -> None:
    """Promise 1 of docs/states.md, as far as the rules go: the sweep alone ends every task."""
    for status in ("pending", "queued", "assigned", "in_progress"):
        current, steps = task(status), 0
        while current.is_open:
            assert current.due is not None
            transition = rules.on_deadline(current, current.due)
            assert transition is not None
            current, steps = transition.after, steps + 1
            assert steps < 20


@pytest.mark.parametrize(
    ("stored", "expectation", "rule"),
    [
        (task("queued"), task("queued", due=None), RULES["claim"]),
        (
            task("assigned"),
            expected("user-1", "task-1", "assigned", agent_id="agent-1", attempt=1, claimed_at=NOW - 30 * SECOND),
            RULES["renew_claim"],
        ),
        (
            task("assigned", timeout=HOUR),
            expected("user-1", "task-1", "assigned", agent_id="agent-1", attempt=1, timeout=HOUR),
            RULES["record_progress"],
        ),
        (
            task("in_progress"),
            expected("user-1", "task-1", "in_progress", agent_id="agent-1", attempt=1),
            RULES["record_progress"],
        ),
        (
            task("in_progress"),
            expected("user-1", "task-1", "in_progress", agent_id="agent-1", attempt=1),
            RULES["complete"],
        ),
        (
            task("in_progress"),
            expected("user-1", "task-1", "in_progress", agent_id="agent-1", attempt=1),
            RULES["fail"],
        ),
    ],
    ids=["claim", "renew", "start", "advance", "complete", "fail"],
)
def test_rule_makes_the_same_transition_of_an_expectation_as_of_the_task(
    stored: Task, expectation: Task, rule: Rule
) -> None:
    of_task, of_expectation = rule(stored, NOW), rule(expectation, NOW)
    assert of_task is not None
    assert of_expectation is not None
    ignored = {"due"} if not of_task.after.is_open else set()  # an expectation lacks the due time
    assert {name: value for name, value in differences(of_task).items() if name not in ignored} == {
        name: value for name, value in differences(of_expectation).items() if name not in ignored
    }
    assert of_task.event == of_expectation.event


# Who may report.


@pytest.mark.parametrize(
    ("agent_id", "reported_attempt", "attempt", "accepted"),
    [
        ("agent-1", None, 1, True),
        ("agent-1", 1, 1, True),
        ("agent-1", None, 2, True),
        ("agent-1", 2, 2, True),
        ("agent-1", 1, 2, False),
        ("agent-1", 3, 2, False),
        ("agent-2", None, 1, False),
        ("agent-2", 1, 1, False),
        (None, None, 1, True),
        (None, 1, 1, True),
        (None, 2, 2, True),
        (None, 1, 2, False),
        (None, None, 2, False),
    ],
)
def test_only_reports_of_the_holder_on_the_present_attempt_are_accepted(
    agent_id: str | None,
    reported_attempt: int | None,
    attempt: int,
    accepted: bool,  # noqa: FBT001
) -> None:
    """A user's token (`agent_id` None) identifies no agent, so its reports must name an attempt after the first one."""
    reporter, running = Reporter(agent_id, reported_attempt), task("in_progress", attempt=attempt)
    reports: list[Callable[[], object]] = [
        lambda: rules.check_holder(running, reporter, NOW),
        lambda: rules.record_progress(running, reporter, UPDATE, NOW),
        lambda: rules.finish(running, reporter, SUCCESS, NOW),
    ]
    for report in reports:
        if accepted:
            report()
        else:
            with pytest.raises(NotHeld):
                report()


@pytest.mark.parametrize(("requested_after", "recorded_after"), [(0, 1), (-40, 1), (1, 1), (40, 40)])
def test_timeline_is_in_the_order_of_transitions_and_not_of_requests(requested_after: int, recorded_after: int) -> None:
    """A poll that arrives before a task is queued, and is slower, claims it afterwards."""
    queued = rules.enqueue(task("pending"), NOW).after
    assert queued.updated_at is not None
    transition = rules.claim(queued, "agent-1", queued.updated_at + requested_after)
    assert transition.event is not None
    assert transition.event.at - queued.updated_at == recorded_after


def test_progress_report_without_step_and_details_does_not_change_them() -> None:
    running = task("in_progress", step="Cloning", details="1 of 2")
    after = rules.record_progress(running, HOLDER, ProgressUpdate(0.7, None, None), NOW).after
    assert (after.progress, after.step, after.details) == (0.7, "Cloning", "1 of 2")


@pytest.mark.parametrize(
    ("before", "reported", "has_event"),
    [(None, "Cloning", True), ("Cloning", "Cloning", False), ("Cloning", "Building", True), ("Cloning", None, False)],
)
def test_each_new_step_has_one_event(before: str | None, reported: str | None, has_event: bool) -> None:  # noqa: FBT001
    transition = rules.record_progress(
        task("in_progress", step=before), HOLDER, ProgressUpdate(0.5, reported, None), NOW
    )
    assert (transition.event is not None) is has_event
    if transition.event is not None:
        assert (transition.event.type, transition.event.detail) == ("task.step", reported)


@pytest.mark.parametrize(
    ("status", "report_digest", "is_same"),
    [
        ("completed", "digest-good", True),
        ("completed", "digest-bad", False),
        ("completed", None, False),
        ("in_progress", "digest-good", False),
    ],
)
def test_repeated_report_is_recognized_once_it_has_ended_the_task(
    status: TaskStatus,
    report_digest: str | None,
    is_same: bool,  # noqa: FBT001
) -> None:
    assert rules.is_same_report(task(status, report_digest=report_digest), Reporter(None, None), SUCCESS) is is_same


@every_status
def test_only_a_task_that_has_ended_can_be_retried(status: TaskStatus) -> None:
    old = task(
        status,
        pinned_agent_id="agent-1",
        priority=7,
        max_attempts=3,
        timeout=HOUR,
        attempt=3,
        error="It broke",
        log_bytes=5,
    )
    if status not in ENDED_STATUSES:
        with pytest.raises(WrongState):
            rules.as_retry(old, "task-2", "user-2", NOW)
        return
    new = rules.as_retry(old, "task-2", "user-2", NOW)
    assert (new.id, new.retry_of, new.status, new.attempt) == ("task-2", "task-1", "pending", 1)
    assert (new.submitter, old.submitter) == ("user-2", old.owner)
    repeated_fields = (
        "owner",
        "intent",
        "repo",
        "branch",
        "title",
        "pinned_agent_id",
        "priority",
        "max_attempts",
        "timeout",
        "request_digest",
    )
    assert {name: getattr(new, name) for name in repeated_fields} == {
        name: getattr(old, name) for name in repeated_fields
    }
    assert (new.agent_id, new.error, new.started_at, new.completed_at, new.log_bytes) == (None, None, None, None, 0)
    assert (new.created_at, new.due) == (NOW, NOW + MINUTE)


# Deadlines.


@every_status
def test_task_does_not_change_before_it_is_due(status: TaskStatus) -> None:
    assert rules.on_deadline(task(status), NOW + 30 * SECOND - 1) is None


@pytest.mark.parametrize("late", [0, MINUTE, 30 * HOUR])
def test_pending_task_becomes_claimable_without_its_message_and_never_fails(late: int) -> None:
    pending = task("pending", due=NOW)
    transition = rules.on_deadline(pending, NOW + late)
    assert transition == rules.enqueue(pending, NOW + late)
    assert transition is not None
    assert (transition.after.status, transition.after.due) == ("queued", NOW + late + 24 * HOUR)
    assert transition.event is not None
    assert transition.event.type == "task.queued"


@pytest.mark.parametrize(("max_attempts", "timeout"), [(1, MINUTE), (2, 2 * HOUR), (10, 24 * HOUR)])
def test_task_that_uses_every_deadline_ends_within_the_longest_life(max_attempts: int, timeout: int) -> None:
    current = task("pending", max_attempts=max_attempts, timeout=timeout, created_at=NOW, due=NOW + MINUTE)
    while current.is_open:
        assert current.due is not None
        now = current.due - 1
        transition: Transition | None
        match current.status:
            case "pending":
                transition = rules.on_deadline(current, current.due)
            case "queued":
                transition = rules.claim(current, "agent-1", now)
            case "assigned":
                transition = rules.renew_claim(current, now)
                if transition.after.due == current.due:
                    transition = rules.record_progress(current, HOLDER, UPDATE, now)
            case "in_progress" if current.attempt < max_attempts:
                transition = rules.lose(current, "lost", now)
            case "in_progress" if current.cancel_at is None:
                transition = rules.cancel(current, now)
            case _:
                transition = rules.on_deadline(current, current.due)
        assert transition is not None
        current = transition.after
    assert (current.status, current.attempt) == ("cancelled", max_attempts)
    life = (current.completed_at or 0) - NOW
    longest = rules.longest_life(max_attempts, timeout) - rules.OUTAGE_ALLOWANCE
    assert 0.99 * longest < life <= longest
    assert longest <= rules.longest_life() - rules.OUTAGE_ALLOWANCE


def test_task_that_no_agent_claims_within_24_hours_fails() -> None:
    transition = rules.on_deadline(task("queued", due=NOW), NOW)
    assert transition is not None
    assert (transition.after.status, transition.after.error) == ("failed", "No agent claimed the task within 24 hours.")


def test_pinned_task_that_its_agent_does_not_claim_fails_with_the_agents_id() -> None:
    transition = rules.on_deadline(task("queued", due=NOW, pinned_agent_id="agent-1"), NOW)
    assert transition is not None
    assert transition.after.error == "The task is pinned to agent agent-1, which did not claim it within 24 hours."


def test_claim_that_expires_after_24_hours_in_the_queue_fails_the_task() -> None:
    """Otherwise an agent that claims the task again and again, and never starts it, would keep it open for ever."""
    claimed = task("assigned", created_at=NOW - 25 * HOUR, queued_at=NOW - 24 * HOUR, due=NOW)
    transition = rules.on_deadline(claimed, NOW)
    assert transition is not None
    assert (transition.after.status, transition.after.due) == ("failed", None)
    assert transition.after.error == "No agent started the task within 24 hours."
    outage = Outage(NOW - 5 * HOUR, NOW - 4 * HOUR)
    extended = rules.on_deadline(claimed, NOW, outage)
    assert extended is not None
    assert extended.after.status == "queued", "the outage also extends the 24 hours"


def test_expired_claim_returns_to_the_queue() -> None:
    transition = rules.on_deadline(task("assigned", due=NOW), NOW)
    assert transition is not None
    assert (transition.after.status, transition.after.agent_id, transition.after.attempt) == ("queued", None, 1)


def test_task_that_exceeds_its_timeout_fails_without_another_attempt() -> None:
    transition = rules.on_deadline(task("in_progress", due=NOW, timeout=HOUR), NOW)
    assert transition is not None
    assert (transition.after.status, transition.after.error) == (
        "failed",
        "The task ran longer than its timeout of 3600 seconds.",
    )


def test_task_is_cancelled_when_the_time_to_stop_has_passed() -> None:
    transition = rules.on_deadline(task("in_progress", due=NOW, cancel_at=NOW - MINUTE), NOW)
    assert transition is not None
    assert transition.after.status == "cancelled"
    assert transition.event is not None


OUTAGE = Outage(NOW - HOUR, NOW)


@pytest.mark.parametrize(
    ("set_at", "deadline", "is_extended"),
    [
        (NOW - 2 * HOUR, NOW - 30 * MINUTE, True),
        (NOW - 2 * HOUR, NOW + 30 * MINUTE, True),
        (NOW - 30 * MINUTE, NOW - MINUTE, True),
        (NOW - 2 * HOUR, NOW - HOUR, False),
        (NOW - 3 * HOUR, NOW - 2 * HOUR, False),
        (NOW, NOW + MINUTE, False),
        (NOW + MINUTE, NOW + HOUR, False),
    ],
    ids=[
        "due during the outage",
        "set before and due after the outage",
        "set and due during the outage",
        "due when the outage began",
        "due before the outage",
        "set when the outage ended",
        "set after the outage",
    ],
)
def test_outage_extends_the_deadlines_that_it_overlaps(set_at: int, deadline: int, is_extended: bool) -> None:  # noqa: FBT001
    assert OUTAGE.extend(set_at, deadline) == deadline + (HOUR if is_extended else 0)


@pytest.mark.parametrize(
    "overlapping",
    [
        task("queued", created_at=NOW - 2 * HOUR, due=NOW - MINUTE),
        task("assigned", claimed_at=NOW - 61 * MINUTE, due=NOW - 59 * MINUTE - 30 * SECOND),
        task("in_progress", started_at=NOW - 2 * HOUR, due=NOW - MINUTE),
        task("in_progress", started_at=NOW - 2 * HOUR, cancel_at=NOW - 61 * MINUTE, due=NOW - 59 * MINUTE),
    ],
    ids=["queued", "assigned", "in_progress", "cancelling"],
)
def test_deadline_that_an_outage_overlaps_is_extended_by_its_length(overlapping: Task) -> None:
    assert overlapping.due is not None
    assert rules.on_deadline(overlapping, NOW) is not None
    assert rules.on_deadline(overlapping, NOW, OUTAGE) is None
    assert rules.on_deadline(overlapping, overlapping.due + HOUR - 1, OUTAGE) is None
    assert rules.on_deadline(overlapping, overlapping.due + HOUR, OUTAGE) is not None


@pytest.mark.parametrize(
    "later",
    [
        task("assigned", claimed_at=NOW + 4 * MINUTE, due=NOW + 5 * MINUTE),
        task("in_progress", created_at=NOW - 2 * HOUR, started_at=NOW + MINUTE, due=NOW + 5 * MINUTE),
    ],
    ids=["assigned", "in_progress"],
)
def test_deadline_that_was_set_after_an_outage_is_not_extended(later: Task) -> None:
    assert rules.on_deadline(later, NOW + 5 * MINUTE, OUTAGE) is not None


def test_outage_does_not_delay_making_a_task_claimable() -> None:
    waiting = task("pending", created_at=NOW - HOUR - SECOND, due=NOW - HOUR + 59 * SECOND)
    transition = rules.on_deadline(waiting, NOW, OUTAGE)
    assert transition is not None
    assert transition.after.status == "queued"
