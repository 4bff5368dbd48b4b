"""chalicelib/tasks/rules.py: the rules of a task's life, letter by letter, from every state (docs/states.md)."""

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
ENDED: tuple[TaskStatus, ...] = ("completed", "failed", "cancelled")
HOLDER = Reporter("agent-1", None)
GOOD = TaskResult("completed", None, "digest-good")
BAD = TaskResult("failed", "It broke", "digest-bad")
NEWS = ProgressUpdate(0.5, "Running tests", "12 of 24")

every_status = pytest.mark.parametrize("status", STATUSES)


def task(status: TaskStatus, **values: Any) -> Task:
    """A task as it would be in that state, submitted ten minutes ago."""
    held = status in ("assigned", "in_progress", *ENDED)
    started = status in ("in_progress", *ENDED)
    given: dict[str, Any] = {
        "owner": "user-1",
        "id": "task-1",
        "status": status,
        "intent": "fix-bug",
        "repo": "https://github.com/user/repo",
        "title": "Fix it",
        "agent_id": "agent-1" if held else None,
        "request_digest": "digest",
        "report_digest": "digest-good" if status == "completed" else None,
        "created_at": SUBMITTED,
        "updated_at": SUBMITTED,
        "claimed_at": NOW - 30 * SECOND if held else None,
        "started_at": NOW - 20 * SECOND if started else None,
        "completed_at": NOW - SECOND if status in ENDED else None,
        "due": None if status in ENDED else NOW + 30 * SECOND,
    }
    return Task(**(given | values))


def differences(change: Transition) -> dict[str, Any]:
    """The fields that a change sets, with their new values."""
    before, after = change.before.__dict__, change.after.__dict__
    return {name: value for name, value in after.items() if value != before.get(name)}


# The letters.


@every_status
def test_letter_b_only_a_pending_task_becomes_claimable(status: TaskStatus) -> None:
    if status != "pending":
        with pytest.raises(WrongState):
            rules.enqueue(task(status), NOW)
        return
    change = rules.enqueue(task(status), NOW)
    assert change.after.status == "queued"
    assert change.after.due == NOW + 24 * HOUR
    assert change.event == TaskEvent("task.queued", NOW, "queued", 1, None)


@every_status
def test_letter_c_only_a_queued_task_is_claimed_on_a_lease_of_a_minute(status: TaskStatus) -> None:
    if status != "queued":
        with pytest.raises(WrongState):
            rules.claim(task(status), "agent-2", NOW)
        return
    change = rules.claim(task(status), "agent-2", NOW)
    assert (change.after.status, change.after.agent_id, change.after.attempt) == ("assigned", "agent-2", 1)
    assert change.after.claimed_at == NOW
    assert change.after.due == NOW + 60 * SECOND
    assert change.event == TaskEvent("task.assigned", NOW, "assigned", 1, "agent-2")


@every_status
def test_letter_c_each_poll_renews_a_claim_up_to_ten_minutes(status: TaskStatus) -> None:
    if status != "assigned":
        with pytest.raises(WrongState):
            rules.renew_claim(task(status), NOW)
        return
    for age, left in ((0, 60), (60, 60), (540, 60), (541, 59), (599, 1), (600, 0), (630, -30)):
        change = rules.renew_claim(task(status, claimed_at=NOW - age * SECOND), NOW)
        assert change.after.due == NOW + left * SECOND
        assert change.after.status == "assigned"
        assert change.event is None


@every_status
def test_letter_d_the_first_progress_starts_a_claimed_task(status: TaskStatus) -> None:
    if status in ENDED:
        with pytest.raises(NotHeld):
            rules.record_progress(task(status), HOLDER, NEWS, NOW)
    elif status in ("pending", "queued"):
        with pytest.raises(WrongState):
            rules.record_progress(task(status), HOLDER, NEWS, NOW)
    elif status == "assigned":
        change = rules.record_progress(task(status, timeout=90 * MINUTE), HOLDER, NEWS, NOW)
        assert (change.after.status, change.after.started_at) == ("in_progress", NOW)
        assert change.after.due == NOW + 90 * MINUTE
        assert change.event == TaskEvent("task.started", NOW, "in_progress", 1, "agent-1", "Running tests")
    else:
        change = rules.record_progress(task(status), HOLDER, NEWS, NOW)
        assert (change.after.status, change.after.started_at) == ("in_progress", NOW - 20 * SECOND)
        assert change.after.due == change.before.due


@every_status
@pytest.mark.parametrize("result", [GOOD, BAD], ids=["completed", "failed"])
def test_letter_d_the_holder_ends_a_task_as_it_says(status: TaskStatus, result: TaskResult) -> None:
    if status in ENDED:
        with pytest.raises(WrongState):
            rules.finish(task(status), HOLDER, result, NOW)
    elif status in ("pending", "queued"):
        with pytest.raises(NotHeld):
            rules.finish(task(status), HOLDER, result, NOW)
    else:
        change = rules.finish(task(status, progress=0.4), HOLDER, result, NOW)
        after = change.after
        assert (after.status, after.error, after.completed_at, after.due) == (result.status, result.error, NOW, None)
        assert after.progress == (1 if result.status == "completed" else 0.4)
        assert after.agent_id == "agent-1"
        expected = TaskEvent(f"task.{result.status}", NOW, result.status, 1, "agent-1", result.error)
        assert change.event == expected


def test_letter_d_a_task_that_was_never_reported_on_starts_and_ends_in_one_change() -> None:
    change = rules.finish(task("assigned"), HOLDER, GOOD, NOW)
    assert (change.after.started_at, change.after.completed_at) == (NOW, NOW)


@every_status
def test_letter_e_a_claim_that_ends_before_the_start_goes_back_and_uses_no_attempt_up(status: TaskStatus) -> None:
    if status != "assigned":
        with pytest.raises(WrongState):
            rules.requeue(task(status), "why", NOW)
        return
    change = rules.requeue(task(status), "why", NOW)
    after = change.after
    assert (after.status, after.agent_id, after.claimed_at, after.attempt) == ("queued", None, None, 1)
    assert after.due == SUBMITTED + 24 * HOUR
    assert change.event == TaskEvent("task.requeued", NOW, "queued", 1, "agent-1", "why")


def test_letter_e_a_claim_that_runs_out_in_a_later_attempt_leaves_that_attempt_its_whole_day() -> None:
    lost = rules.lose(task("in_progress"), "why", NOW + 23 * HOUR).after
    claimed = rules.claim(lost, "agent-2", NOW + 30 * HOUR).after
    assert rules.requeue(claimed, "why", NOW + 31 * HOUR).after.due == NOW + (23 + 24) * HOUR


@every_status
def test_letter_f_a_run_that_is_lost_is_the_next_attempts(status: TaskStatus) -> None:
    if status != "in_progress":
        with pytest.raises(WrongState):
            rules.lose(task(status), "why", NOW)
        return
    running = task(status, progress=0.4, step="Running tests", details="12 of 24", log_bytes=100, earlier_log_bytes=50)
    change = rules.lose(running, "why", NOW)
    after = change.after
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
    assert change.event == TaskEvent("task.requeued", NOW, "queued", 2, "agent-1", "why")


@pytest.mark.parametrize(("attempt", "most"), [(1, 1), (2, 2), (10, 10)])
def test_letter_f_a_last_attempt_that_is_lost_fails(attempt: int, most: int) -> None:
    change = rules.lose(task("in_progress", attempt=attempt, max_attempts=most), "why", NOW)
    assert (change.after.status, change.after.error, change.after.due) == ("failed", "Agent lost", None)
    assert change.event == TaskEvent("task.failed", NOW, "failed", attempt, "agent-1", "why")


def test_letter_f_a_lost_run_that_was_to_be_cancelled_is_cancelled_and_not_run_again() -> None:
    change = rules.lose(task("in_progress", cancel_at=NOW - SECOND), "why", NOW)
    assert (change.after.status, change.after.due) == ("cancelled", None)


@every_status
def test_letter_g_a_task_is_cancelled_at_once_before_the_start_and_with_a_minutes_grace_after(
    status: TaskStatus,
) -> None:
    if status in ("completed", "failed"):
        with pytest.raises(WrongState):
            rules.cancel(task(status), NOW)
        return
    change = rules.cancel(task(status), NOW)
    if status == "cancelled":
        assert change is None
        return
    assert change is not None
    assert change.event is not None
    if status == "in_progress":
        after = change.after
        assert (after.status, after.cancel_at, after.due) == ("in_progress", NOW, NOW + 30 * SECOND)
        assert change.event.type == "task.cancel_requested"
    else:
        assert (change.after.status, change.after.due, change.after.completed_at) == ("cancelled", None, NOW)
        assert change.event.type == "task.cancelled"


def test_letter_g_cancelling_again_changes_nothing_and_never_prolongs_the_grace() -> None:
    assert rules.cancel(task("in_progress", cancel_at=NOW - SECOND), NOW) is None


def test_letter_g_the_grace_is_a_minute_but_never_longer_than_the_task_may_run() -> None:
    roomy = rules.cancel(task("in_progress", due=NOW + HOUR), NOW)
    tight = rules.cancel(task("in_progress", due=NOW + SECOND), NOW)
    assert roomy is not None
    assert tight is not None
    assert roomy.after.due == NOW + 60 * SECOND
    assert tight.after.due == NOW + SECOND


@pytest.mark.parametrize(("result", "ends"), [(GOOD, "completed"), (BAD, "cancelled")])
def test_letter_g_within_the_grace_a_complete_still_wins_and_a_fail_becomes_cancelled(
    result: TaskResult, ends: TaskStatus
) -> None:
    asked = task("in_progress", cancel_at=NOW - 59 * SECOND)
    assert rules.finish(asked, HOLDER, result, NOW).after.status == ends
    assert rules.record_progress(asked, HOLDER, NEWS, NOW).after.cancel_at == NOW - 59 * SECOND


@pytest.mark.parametrize(
    "act", [lambda t: rules.finish(t, HOLDER, GOOD, NOW), lambda t: rules.record_progress(t, HOLDER, NEWS, NOW)]
)
def test_letter_g_after_the_grace_the_agent_is_fenced_whether_the_sweep_came_or_not(act: Callable[[Task], Any]) -> None:
    with pytest.raises(NotHeld):
        act(task("in_progress", cancel_at=NOW - 60 * SECOND))


# What holds for all of them.


Rule = Callable[[Task, int], Transition | None]
RULES: dict[str, Rule] = {
    "queue": rules.enqueue,
    "claim": lambda t, now: rules.claim(t, "agent-1", now),
    "renew": rules.renew_claim,
    "advance": lambda t, now: rules.record_progress(t, Reporter(t.agent_id or "agent-1", None), NEWS, now),
    "complete": lambda t, now: rules.finish(t, Reporter(t.agent_id or "agent-1", None), GOOD, now),
    "fail": lambda t, now: rules.finish(t, Reporter(t.agent_id or "agent-1", None), BAD, now),
    "requeue": lambda t, now: rules.requeue(t, "why", now),
    "lose": lambda t, now: rules.lose(t, "why", now),
    "cancel": rules.cancel,
    "overdue": rules.on_deadline,
}


@pytest.mark.parametrize("status", ENDED)
@pytest.mark.parametrize("rule", RULES)
def test_nothing_changes_a_task_that_has_ended(rule: str, status: TaskStatus) -> None:
    try:
        change = RULES[rule](task(status), NOW)
    except Conflict:
        return
    assert change is None


@pytest.mark.parametrize("seed", range(200))
def test_whatever_happens_in_whatever_order_a_task_keeps_its_promises(seed: int) -> None:
    """A random life: every open task has a due time, every change of state one event, and the end is the end."""
    chance = random.Random(seed)  # noqa: S311  # a seed, no secret
    now = NOW
    current = task("pending", max_attempts=chance.randint(1, 4))
    for _ in range(60):
        now += chance.choice([0, SECOND, 40 * SECOND, 5 * MINUTE, 3 * HOUR])
        try:
            change = RULES[chance.choice(list(RULES))](current, now)
        except Conflict:
            continue
        if change is None:
            continue
        before, after = change.before, change.after
        assert before == current
        assert before.is_open
        assert (after.due is not None) == after.is_open == (after.completed_at is None)
        if after.status != before.status:
            assert change.event is not None
            assert before.updated_at is not None
            assert (change.event.status, change.event.at) == (after.status, max(now, before.updated_at + 1))
        assert before.attempt <= after.attempt <= min(before.attempt + 1, after.max_attempts)
        assert after.attempt == before.attempt or (before.status, after.status) == ("in_progress", "queued")
        assert (after.agent_id is None) <= (after.status not in ("assigned", "in_progress"))
        assert (after.status == "in_progress") <= (after.started_at is not None)
        assert after.status in ("in_progress", *ENDED) or after.cancel_at is None
        current = after
    assert current.created_at == SUBMITTED


def test_left_alone_a_task_reaches_its_end_from_every_state() -> None:
    """Promise 1, as far as it is rules: the sweep alone brings every task to an end."""
    for status in ("pending", "queued", "assigned", "in_progress"):
        current, steps = task(status), 0
        while current.is_open:
            assert current.due is not None
            change = rules.on_deadline(current, current.due)
            assert change is not None
            current, steps = change.after, steps + 1
            assert steps < 20


@pytest.mark.parametrize(
    ("read", "known", "rule"),
    [
        (task("queued"), task("queued", due=None), RULES["claim"]),
        (
            task("assigned"),
            expected("user-1", "task-1", "assigned", agent_id="agent-1", attempt=1, claimed_at=NOW - 30 * SECOND),
            RULES["renew"],
        ),
        (
            task("assigned", timeout=HOUR),
            expected("user-1", "task-1", "assigned", agent_id="agent-1", attempt=1, timeout=HOUR),
            RULES["advance"],
        ),
        (
            task("in_progress"),
            expected("user-1", "task-1", "in_progress", agent_id="agent-1", attempt=1),
            RULES["advance"],
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
def test_a_rule_applied_to_an_expectation_changes_what_it_would_change_of_the_task(
    read: Task, known: Task, rule: Rule
) -> None:
    one, other = rule(read, NOW), rule(known, NOW)
    assert one is not None
    assert other is not None
    ignored = {"due"} if not one.after.is_open else set()  # an expectation does not know when it was due
    assert {name: value for name, value in differences(one).items() if name not in ignored} == {
        name: value for name, value in differences(other).items() if name not in ignored
    }
    assert one.event == other.event


# Who may report.


@pytest.mark.parametrize(
    ("agent", "said", "attempt", "held"),
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
def test_a_report_counts_only_from_the_holder_and_for_the_present_attempt(
    agent: str | None,
    said: int | None,
    attempt: int,
    held: bool,  # noqa: FBT001
) -> None:
    """A user's token (agent None) cannot be told from another holder of it: past attempt 1 it must say which."""
    by, running = Reporter(agent, said), task("in_progress", attempt=attempt)
    acts: list[Callable[[], object]] = [
        lambda: rules.check_holder(running, by, NOW),
        lambda: rules.record_progress(running, by, NEWS, NOW),
        lambda: rules.finish(running, by, GOOD, NOW),
    ]
    for act in acts:
        if held:
            act()
        else:
            with pytest.raises(NotHeld):
                act()


@pytest.mark.parametrize(("came_in", "told"), [(0, 1), (-40, 1), (1, 1), (40, 40)])
def test_the_timeline_is_in_the_order_of_effects_also_where_a_call_came_in_earlier(came_in: int, told: int) -> None:
    """A poll that came in before a task was queued, and was slower, claims it afterwards."""
    queued = rules.enqueue(task("pending"), NOW).after
    assert queued.updated_at is not None
    change = rules.claim(queued, "agent-1", queued.updated_at + came_in)
    assert change.event is not None
    assert change.event.at - queued.updated_at == told


def test_news_that_say_nothing_leave_what_was_said() -> None:
    said = task("in_progress", step="Cloning", details="1 of 2")
    after = rules.record_progress(said, HOLDER, ProgressUpdate(0.7, None, None), NOW).after
    assert (after.progress, after.step, after.details) == (0.7, "Cloning", "1 of 2")


@pytest.mark.parametrize(
    ("before", "said", "told"),
    [(None, "Cloning", True), ("Cloning", "Cloning", False), ("Cloning", "Building", True), ("Cloning", None, False)],
)
def test_every_new_step_is_in_the_timeline_once(before: str | None, said: str | None, told: bool) -> None:  # noqa: FBT001
    change = rules.record_progress(task("in_progress", step=before), HOLDER, ProgressUpdate(0.5, said, None), NOW)
    assert (change.event is not None) is told
    if change.event is not None:
        assert (change.event.type, change.event.detail) == ("task.step", said)


@pytest.mark.parametrize(
    ("status", "report", "same"),
    [
        ("completed", "digest-good", True),
        ("completed", "digest-bad", False),
        ("completed", None, False),
        ("in_progress", "digest-good", False),
    ],
)
def test_a_report_is_known_again_once_it_ended_the_task(status: TaskStatus, report: str | None, same: bool) -> None:  # noqa: FBT001
    assert rules.is_same_report(task(status, report_digest=report), Reporter(None, None), GOOD) is same


@every_status
def test_work_can_be_done_again_once_it_has_ended(status: TaskStatus) -> None:
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
    if status not in ENDED:
        with pytest.raises(WrongState):
            rules.as_retry(old, "task-2", NOW)
        return
    new = rules.as_retry(old, "task-2", NOW)
    assert (new.id, new.retry_of, new.status, new.attempt) == ("task-2", "task-1", "pending", 1)
    same = (
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
    assert {name: getattr(new, name) for name in same} == {name: getattr(old, name) for name in same}
    assert (new.agent_id, new.error, new.started_at, new.completed_at, new.log_bytes) == (None, None, None, None, 0)
    assert (new.created_at, new.due) == (NOW, NOW + MINUTE)


# What the sweep does.


@every_status
def test_before_its_time_nothing_is_overdue(status: TaskStatus) -> None:
    assert rules.on_deadline(task(status), NOW + 30 * SECOND - 1) is None


def test_an_accepted_task_whose_message_was_lost_is_sent_again_five_times_in_all_and_then_says_so() -> None:
    current = task("pending", due=NOW)
    for sends in (2, 3, 4, 5):
        assert current.due is not None
        change = rules.on_deadline(current, current.due)
        assert change is not None
        assert (change.after.status, change.after.sends) == ("pending", sends)
        assert change.after.due == current.due + MINUTE
        assert change.event is None
        current = change.after
    assert current.due is not None
    change = rules.on_deadline(current, current.due)
    assert change is not None
    assert change.after.status == "failed"
    assert "lost 5 times" in (change.after.error or "")
    assert change.event is not None


def test_a_task_that_nobody_takes_within_a_day_fails() -> None:
    change = rules.on_deadline(task("queued", due=NOW), NOW)
    assert change is not None
    assert (change.after.status, change.after.error) == ("failed", "No agent took the task within 24 hours.")


def test_a_claim_that_runs_out_goes_back() -> None:
    change = rules.on_deadline(task("assigned", due=NOW), NOW)
    assert change is not None
    assert (change.after.status, change.after.agent_id, change.after.attempt) == ("queued", None, 1)


def test_a_task_that_runs_too_long_fails_whatever_attempts_are_left() -> None:
    change = rules.on_deadline(task("in_progress", due=NOW, timeout=HOUR), NOW)
    assert change is not None
    assert (change.after.status, change.after.error) == ("failed", "The task ran longer than its 3600 seconds.")


def test_a_task_whose_grace_is_over_is_cancelled() -> None:
    change = rules.on_deadline(task("in_progress", due=NOW, cancel_at=NOW - MINUTE), NOW)
    assert change is not None
    assert change.after.status == "cancelled"
    assert change.event is not None


OUTAGE = Outage(NOW - HOUR, NOW)


@pytest.mark.parametrize(
    ("set_at", "deadline", "moves"),
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
        "ended during it",
        "spans it",
        "within it",
        "ended as it began",
        "ended before it",
        "set as it ended",
        "set after it",
    ],
)
def test_an_outage_of_our_own_moves_the_deadlines_that_it_cut_into(set_at: int, deadline: int, moves: bool) -> None:  # noqa: FBT001
    assert OUTAGE.extend(set_at, deadline) == deadline + (HOUR if moves else 0)


@pytest.mark.parametrize(
    "spanning",
    [
        task("queued", created_at=NOW - 2 * HOUR, due=NOW - MINUTE),
        task("assigned", claimed_at=NOW - 61 * MINUTE, due=NOW - 59 * MINUTE - 30 * SECOND),
        task("in_progress", started_at=NOW - 2 * HOUR, due=NOW - MINUTE),
        task("in_progress", started_at=NOW - 2 * HOUR, cancel_at=NOW - 61 * MINUTE, due=NOW - 59 * MINUTE),
    ],
    ids=["queued", "assigned", "in_progress", "cancelling"],
)
def test_nobody_is_punished_for_an_outage_of_our_own(spanning: Task) -> None:
    assert spanning.due is not None
    assert rules.on_deadline(spanning, NOW) is not None
    assert rules.on_deadline(spanning, NOW, OUTAGE) is None
    assert rules.on_deadline(spanning, spanning.due + HOUR - 1, OUTAGE) is None
    assert rules.on_deadline(spanning, spanning.due + HOUR, OUTAGE) is not None


@pytest.mark.parametrize(
    "later",
    [
        task("assigned", claimed_at=NOW + 4 * MINUTE, due=NOW + 5 * MINUTE),
        task("in_progress", created_at=NOW - 2 * HOUR, started_at=NOW + MINUTE, due=NOW + 5 * MINUTE),
    ],
    ids=["assigned", "in_progress"],
)
def test_a_deadline_that_was_set_after_an_outage_stands(later: Task) -> None:
    assert rules.on_deadline(later, NOW + 5 * MINUTE, OUTAGE) is not None


def test_after_an_outage_a_lost_message_is_sent_again_at_once_for_that_is_no_deadline() -> None:
    waiting = task("pending", created_at=NOW - HOUR - SECOND, due=NOW - HOUR + 59 * SECOND)
    change = rules.on_deadline(waiting, NOW, OUTAGE)
    assert change is not None
    assert change.after.sends == 2
    again = rules.on_deadline(change.after, NOW + MINUTE, OUTAGE)
    assert again is not None
    assert again.after.sends == 3
