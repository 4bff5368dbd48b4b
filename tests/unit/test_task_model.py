"""chalicelib/tasks/model.py: the rules of a task's life, letter by letter, from every state (docs/states.md)."""

import random
from collections.abc import Callable
from typing import Any, get_args

import pytest

from chalicelib.errors import Conflict
from chalicelib.outage import Outage
from chalicelib.settings import HOUR, MINUTE, SECOND
from chalicelib.tasks import model
from chalicelib.tasks.model import Advance, NotHeld, Reporter, Result, WrongState
from chalicelib.tasks.task import Change, Event, Status, Task, expected

NOW = 1_763_938_000_000
SUBMITTED = NOW - 10 * MINUTE
STATUSES: tuple[Status, ...] = get_args(Status)
ENDED: tuple[Status, ...] = ("completed", "failed", "cancelled")
HOLDER = Reporter("agent-1", None)
GOOD = Result("completed", None, "digest-good")
BAD = Result("failed", "It broke", "digest-bad")
NEWS = Advance(0.5, "Running tests", "12 of 24")

every_status = pytest.mark.parametrize("status", STATUSES)


def task(status: Status, **values: Any) -> Task:
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
        "agent": "agent-1" if held else None,
        "digest": "digest",
        "report": "digest-good" if status == "completed" else None,
        "created_at": SUBMITTED,
        "updated_at": SUBMITTED,
        "claimed_at": NOW - 30 * SECOND if held else None,
        "started_at": NOW - 20 * SECOND if started else None,
        "completed_at": NOW - SECOND if status in ENDED else None,
        "due": None if status in ENDED else NOW + 30 * SECOND,
    }
    return Task(**(given | values))


def differences(change: Change) -> dict[str, Any]:
    """The fields that a change sets, with their new values."""
    before, after = change.before.__dict__, change.after.__dict__
    return {name: value for name, value in after.items() if value != before.get(name)}


# The letters.


@every_status
def test_letter_b_only_a_pending_task_becomes_claimable(status: Status) -> None:
    if status != "pending":
        with pytest.raises(WrongState):
            model.queue(task(status), NOW)
        return
    change = model.queue(task(status), NOW)
    assert change.after.status == "queued"
    assert change.after.due == NOW + 24 * HOUR
    assert change.event == Event("task.queued", NOW, "queued", 1, None)


@every_status
def test_letter_c_only_a_queued_task_is_claimed_on_a_lease_of_a_minute(status: Status) -> None:
    if status != "queued":
        with pytest.raises(WrongState):
            model.claim(task(status), "agent-2", NOW)
        return
    change = model.claim(task(status), "agent-2", NOW)
    assert (change.after.status, change.after.agent, change.after.attempt) == ("assigned", "agent-2", 1)
    assert change.after.claimed_at == NOW
    assert change.after.due == NOW + 60 * SECOND
    assert change.event == Event("task.assigned", NOW, "assigned", 1, "agent-2")


@every_status
def test_letter_c_each_poll_renews_a_claim_up_to_ten_minutes(status: Status) -> None:
    if status != "assigned":
        with pytest.raises(WrongState):
            model.renew(task(status), NOW)
        return
    for age, left in ((0, 60), (60, 60), (540, 60), (541, 59), (599, 1), (600, 0), (630, -30)):
        change = model.renew(task(status, claimed_at=NOW - age * SECOND), NOW)
        assert change.after.due == NOW + left * SECOND
        assert change.after.status == "assigned"
        assert change.event is None


@every_status
def test_letter_d_the_first_progress_starts_a_claimed_task(status: Status) -> None:
    if status in ENDED:
        with pytest.raises(NotHeld):
            model.advance(task(status), HOLDER, NEWS, NOW)
    elif status in ("pending", "queued"):
        with pytest.raises(WrongState):
            model.advance(task(status), HOLDER, NEWS, NOW)
    elif status == "assigned":
        change = model.advance(task(status, timeout=90 * MINUTE), HOLDER, NEWS, NOW)
        assert (change.after.status, change.after.started_at) == ("in_progress", NOW)
        assert change.after.due == NOW + 90 * MINUTE
        assert change.event == Event("task.started", NOW, "in_progress", 1, "agent-1", "Running tests")
    else:
        change = model.advance(task(status), HOLDER, NEWS, NOW)
        assert (change.after.status, change.after.started_at) == ("in_progress", NOW - 20 * SECOND)
        assert change.after.due == change.before.due


@every_status
@pytest.mark.parametrize("result", [GOOD, BAD], ids=["completed", "failed"])
def test_letter_d_the_holder_ends_a_task_as_it_says(status: Status, result: Result) -> None:
    if status in ENDED:
        with pytest.raises(WrongState):
            model.finish(task(status), HOLDER, result, NOW)
    elif status in ("pending", "queued"):
        with pytest.raises(NotHeld):
            model.finish(task(status), HOLDER, result, NOW)
    else:
        change = model.finish(task(status, progress=0.4), HOLDER, result, NOW)
        after = change.after
        assert (after.status, after.error, after.completed_at, after.due) == (result.status, result.error, NOW, None)
        assert after.progress == (1 if result.status == "completed" else 0.4)
        assert after.agent == "agent-1"
        expected = Event(f"task.{result.status}", NOW, result.status, 1, "agent-1", result.error)
        assert change.event == expected


def test_letter_d_a_task_that_was_never_reported_on_starts_and_ends_in_one_change() -> None:
    change = model.finish(task("assigned"), HOLDER, GOOD, NOW)
    assert (change.after.started_at, change.after.completed_at) == (NOW, NOW)


@every_status
def test_letter_e_a_claim_that_ends_before_the_start_goes_back_and_uses_no_attempt_up(status: Status) -> None:
    if status != "assigned":
        with pytest.raises(WrongState):
            model.requeue(task(status), "why", NOW)
        return
    change = model.requeue(task(status), "why", NOW)
    after = change.after
    assert (after.status, after.agent, after.claimed_at, after.attempt) == ("queued", None, None, 1)
    assert after.due == SUBMITTED + 24 * HOUR
    assert change.event == Event("task.requeued", NOW, "queued", 1, "agent-1", "why")


def test_letter_e_a_claim_that_runs_out_in_a_later_attempt_leaves_that_attempt_its_whole_day() -> None:
    lost = model.lose(task("in_progress"), "why", NOW + 23 * HOUR).after
    claimed = model.claim(lost, "agent-2", NOW + 30 * HOUR).after
    assert model.requeue(claimed, "why", NOW + 31 * HOUR).after.due == NOW + (23 + 24) * HOUR


@every_status
def test_letter_f_a_run_that_is_lost_is_the_next_attempts(status: Status) -> None:
    if status != "in_progress":
        with pytest.raises(WrongState):
            model.lose(task(status), "why", NOW)
        return
    running = task(status, progress=0.4, step="Running tests", details="12 of 24", logged=100, logged_before=50)
    change = model.lose(running, "why", NOW)
    after = change.after
    assert (after.status, after.agent, after.attempt) == ("queued", None, 2)
    assert (after.claimed_at, after.started_at, after.progress, after.step, after.details) == (
        None,
        None,
        0,
        None,
        None,
    )
    assert (after.logged, after.logged_before) == (0, 150)
    assert after.due == NOW + 24 * HOUR
    assert change.event == Event("task.requeued", NOW, "queued", 2, "agent-1", "why")


@pytest.mark.parametrize(("attempt", "most"), [(1, 1), (2, 2), (10, 10)])
def test_letter_f_a_last_attempt_that_is_lost_fails(attempt: int, most: int) -> None:
    change = model.lose(task("in_progress", attempt=attempt, max_attempts=most), "why", NOW)
    assert (change.after.status, change.after.error, change.after.due) == ("failed", "Agent lost", None)
    assert change.event == Event("task.failed", NOW, "failed", attempt, "agent-1", "why")


def test_letter_f_a_lost_run_that_was_to_be_cancelled_is_cancelled_and_not_run_again() -> None:
    change = model.lose(task("in_progress", cancel_at=NOW - SECOND), "why", NOW)
    assert (change.after.status, change.after.due) == ("cancelled", None)


@every_status
def test_letter_g_a_task_is_cancelled_at_once_before_the_start_and_with_a_minutes_grace_after(status: Status) -> None:
    if status in ("completed", "failed"):
        with pytest.raises(WrongState):
            model.cancel(task(status), NOW)
        return
    change = model.cancel(task(status), NOW)
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
    assert model.cancel(task("in_progress", cancel_at=NOW - SECOND), NOW) is None


def test_letter_g_the_grace_is_a_minute_but_never_longer_than_the_task_may_run() -> None:
    roomy = model.cancel(task("in_progress", due=NOW + HOUR), NOW)
    tight = model.cancel(task("in_progress", due=NOW + SECOND), NOW)
    assert roomy is not None
    assert tight is not None
    assert roomy.after.due == NOW + 60 * SECOND
    assert tight.after.due == NOW + SECOND


@pytest.mark.parametrize(("result", "ends"), [(GOOD, "completed"), (BAD, "cancelled")])
def test_letter_g_within_the_grace_a_complete_still_wins_and_a_fail_becomes_cancelled(
    result: Result, ends: Status
) -> None:
    asked = task("in_progress", cancel_at=NOW - 59 * SECOND)
    assert model.finish(asked, HOLDER, result, NOW).after.status == ends
    assert model.advance(asked, HOLDER, NEWS, NOW).after.cancel_at == NOW - 59 * SECOND


@pytest.mark.parametrize(
    "act", [lambda t: model.finish(t, HOLDER, GOOD, NOW), lambda t: model.advance(t, HOLDER, NEWS, NOW)]
)
def test_letter_g_after_the_grace_the_agent_is_fenced_whether_the_sweep_came_or_not(act: Callable[[Task], Any]) -> None:
    with pytest.raises(NotHeld):
        act(task("in_progress", cancel_at=NOW - 60 * SECOND))


# What holds for all of them.


Rule = Callable[[Task, int], Change | None]
RULES: dict[str, Rule] = {
    "queue": model.queue,
    "claim": lambda t, now: model.claim(t, "agent-1", now),
    "renew": model.renew,
    "advance": lambda t, now: model.advance(t, Reporter(t.agent or "agent-1", None), NEWS, now),
    "complete": lambda t, now: model.finish(t, Reporter(t.agent or "agent-1", None), GOOD, now),
    "fail": lambda t, now: model.finish(t, Reporter(t.agent or "agent-1", None), BAD, now),
    "requeue": lambda t, now: model.requeue(t, "why", now),
    "lose": lambda t, now: model.lose(t, "why", now),
    "cancel": model.cancel,
    "overdue": model.overdue,
}


@pytest.mark.parametrize("status", ENDED)
@pytest.mark.parametrize("rule", RULES)
def test_nothing_changes_a_task_that_has_ended(rule: str, status: Status) -> None:
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
        assert (after.agent is None) <= (after.status not in ("assigned", "in_progress"))
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
            change = model.overdue(current, current.due)
            assert change is not None
            current, steps = change.after, steps + 1
            assert steps < 20


@pytest.mark.parametrize(
    ("read", "known", "rule"),
    [
        (task("queued"), task("queued", due=None), RULES["claim"]),
        (
            task("assigned"),
            expected("user-1", "task-1", "assigned", agent="agent-1", attempt=1, claimed_at=NOW - 30 * SECOND),
            RULES["renew"],
        ),
        (
            task("assigned", timeout=HOUR),
            expected("user-1", "task-1", "assigned", agent="agent-1", attempt=1, timeout=HOUR),
            RULES["advance"],
        ),
        (
            task("in_progress"),
            expected("user-1", "task-1", "in_progress", agent="agent-1", attempt=1),
            RULES["advance"],
        ),
        (
            task("in_progress"),
            expected("user-1", "task-1", "in_progress", agent="agent-1", attempt=1),
            RULES["complete"],
        ),
        (
            task("in_progress"),
            expected("user-1", "task-1", "in_progress", agent="agent-1", attempt=1),
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
        lambda: model.check_holder(running, by, NOW),
        lambda: model.advance(running, by, NEWS, NOW),
        lambda: model.finish(running, by, GOOD, NOW),
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
    queued = model.queue(task("pending"), NOW).after
    assert queued.updated_at is not None
    change = model.claim(queued, "agent-1", queued.updated_at + came_in)
    assert change.event is not None
    assert change.event.at - queued.updated_at == told


def test_news_that_say_nothing_leave_what_was_said() -> None:
    said = task("in_progress", step="Cloning", details="1 of 2")
    after = model.advance(said, HOLDER, Advance(0.7, None, None), NOW).after
    assert (after.progress, after.step, after.details) == (0.7, "Cloning", "1 of 2")


@pytest.mark.parametrize(
    ("before", "said", "told"),
    [(None, "Cloning", True), ("Cloning", "Cloning", False), ("Cloning", "Building", True), ("Cloning", None, False)],
)
def test_every_new_step_is_in_the_timeline_once(before: str | None, said: str | None, told: bool) -> None:  # noqa: FBT001
    change = model.advance(task("in_progress", step=before), HOLDER, Advance(0.5, said, None), NOW)
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
def test_a_report_is_known_again_once_it_ended_the_task(status: Status, report: str | None, same: bool) -> None:  # noqa: FBT001
    assert model.same_report(task(status, report=report), Reporter(None, None), GOOD) is same


@every_status
def test_work_can_be_done_again_once_it_has_ended(status: Status) -> None:
    old = task(status, pin="agent-1", priority=7, max_attempts=3, timeout=HOUR, attempt=3, error="It broke", logged=5)
    if status not in ENDED:
        with pytest.raises(WrongState):
            model.again(old, "task-2", NOW)
        return
    new = model.again(old, "task-2", NOW)
    assert (new.id, new.retry_of, new.status, new.attempt) == ("task-2", "task-1", "pending", 1)
    same = ("owner", "intent", "repo", "branch", "title", "pin", "priority", "max_attempts", "timeout", "digest")
    assert {name: getattr(new, name) for name in same} == {name: getattr(old, name) for name in same}
    assert (new.agent, new.error, new.started_at, new.completed_at, new.logged) == (None, None, None, None, 0)
    assert (new.created_at, new.due) == (NOW, NOW + MINUTE)


# What the sweep does.


@every_status
def test_before_its_time_nothing_is_overdue(status: Status) -> None:
    assert model.overdue(task(status), NOW + 30 * SECOND - 1) is None


def test_an_accepted_task_whose_message_was_lost_is_sent_again_five_times_in_all_and_then_says_so() -> None:
    current = task("pending", due=NOW)
    for sends in (2, 3, 4, 5):
        assert current.due is not None
        change = model.overdue(current, current.due)
        assert change is not None
        assert (change.after.status, change.after.sends) == ("pending", sends)
        assert change.after.due == current.due + MINUTE
        assert change.event is None
        current = change.after
    assert current.due is not None
    change = model.overdue(current, current.due)
    assert change is not None
    assert change.after.status == "failed"
    assert "lost 5 times" in (change.after.error or "")
    assert change.event is not None


def test_a_task_that_nobody_takes_within_a_day_fails() -> None:
    change = model.overdue(task("queued", due=NOW), NOW)
    assert change is not None
    assert (change.after.status, change.after.error) == ("failed", "No agent took the task within 24 hours.")


def test_a_claim_that_runs_out_goes_back() -> None:
    change = model.overdue(task("assigned", due=NOW), NOW)
    assert change is not None
    assert (change.after.status, change.after.agent, change.after.attempt) == ("queued", None, 1)


def test_a_task_that_runs_too_long_fails_whatever_attempts_are_left() -> None:
    change = model.overdue(task("in_progress", due=NOW, timeout=HOUR), NOW)
    assert change is not None
    assert (change.after.status, change.after.error) == ("failed", "The task ran longer than its 3600 seconds.")


def test_a_task_whose_grace_is_over_is_cancelled() -> None:
    change = model.overdue(task("in_progress", due=NOW, cancel_at=NOW - MINUTE), NOW)
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
    assert OUTAGE.moved(set_at, deadline) == deadline + (HOUR if moves else 0)


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
    assert model.overdue(spanning, NOW) is not None
    assert model.overdue(spanning, NOW, OUTAGE) is None
    assert model.overdue(spanning, spanning.due + HOUR - 1, OUTAGE) is None
    assert model.overdue(spanning, spanning.due + HOUR, OUTAGE) is not None


@pytest.mark.parametrize(
    "later",
    [
        task("assigned", claimed_at=NOW + 4 * MINUTE, due=NOW + 5 * MINUTE),
        task("in_progress", created_at=NOW - 2 * HOUR, started_at=NOW + MINUTE, due=NOW + 5 * MINUTE),
    ],
    ids=["assigned", "in_progress"],
)
def test_a_deadline_that_was_set_after_an_outage_stands(later: Task) -> None:
    assert model.overdue(later, NOW + 5 * MINUTE, OUTAGE) is not None


def test_after_an_outage_a_lost_message_is_sent_again_at_once_for_that_is_no_deadline() -> None:
    waiting = task("pending", created_at=NOW - HOUR - SECOND, due=NOW - HOUR + 59 * SECOND)
    change = model.overdue(waiting, NOW, OUTAGE)
    assert change is not None
    assert change.after.sends == 2
    again = model.overdue(change.after, NOW + MINUTE, OUTAGE)
    assert again is not None
    assert again.after.sends == 3
