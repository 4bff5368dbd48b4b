"""Promises 2, 3 and 4: what crosses on the way. One acts after the other has decided and before it has written."""

import itertools
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from chalicelib.auth import tokens
from chalicelib.core import clock as server_clock
from chalicelib.tasks import reports
from chalicelib.tasks.requests import ProgressReport
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scene import Agent, Scene, ok, refused
from tests.service import faults, invariants
from tests.service.conftest import Passing


def cancelled(scene: Scene, task: str = "task-1") -> Callable[[], Any]:
    return lambda: ok(scene.user.post(f"/api/tasks/{task}/cancel"))


def removed(scene: Scene, agent: str = "agent-1") -> Callable[[], Any]:
    return lambda: ok(scene.user.delete(f"/api/agents/{agent}"))


def test_a_cancel_that_crosses_the_first_progress_finds_the_task_running(scene: Scene, agent: Agent) -> None:
    scene.claimed(agent)
    with faults.meanwhile("TransactWriteItems", lambda: ok(agent.progress("task-1"))):
        answer = ok(scene.user.post("/api/tasks/task-1/cancel"))
    assert (answer["status"], answer["cancelRequested"]) == ("in_progress", True)
    assert ok(agent.progress("task-1"))["cancelRequested"] is True


def test_a_first_progress_that_crosses_a_cancel_hears_that_it_is_over(scene: Scene, agent: Agent) -> None:
    scene.claimed(agent)
    with faults.meanwhile("TransactWriteItems", cancelled(scene)):
        refused(agent.progress("task-1"), 409)
    assert scene.events() == ["created", "queued", "assigned", "cancelled"]


def test_progress_that_crosses_a_request_to_cancel_hears_of_it(scene: Scene, agent: Agent) -> None:
    scene.running(agent)
    with faults.meanwhile("TransactWriteItems", cancelled(scene), when=faults.about("task.step")):
        assert ok(agent.progress("task-1", step="Building"))["cancelRequested"] is True
    assert ok(agent.beat())["cancel"] == ["task-1"]


def test_a_complete_that_crosses_a_request_to_cancel_wins(scene: Scene, agent: Agent) -> None:
    scene.running(agent)
    with faults.meanwhile("TransactWriteItems", cancelled(scene)):
        assert ok(agent.complete("task-1"))["status"] == "completed"


def test_a_failure_that_crosses_a_request_to_cancel_is_a_cancel(scene: Scene, agent: Agent) -> None:
    scene.running(agent)
    with faults.meanwhile("TransactWriteItems", cancelled(scene)):
        assert ok(agent.fail("task-1"))["status"] == "cancelled"


def test_a_cancel_that_crosses_a_complete_hears_that_it_came_too_late(scene: Scene, agent: Agent) -> None:
    scene.running(agent)
    with faults.meanwhile("TransactWriteItems", lambda: ok(agent.complete("task-1"))):
        refused(scene.user.post("/api/tasks/task-1/cancel"), 409)
    assert scene.state() == "completed"


def test_a_poll_that_crosses_a_cancel_hands_out_the_rest(scene: Scene, agent: Agent) -> None:
    scene.queued("task-1", "task-2")
    with faults.meanwhile("TransactWriteItems", cancelled(scene)):
        assert agent.claims() == ["task-2"]
    assert scene.state("task-1") == "cancelled"


def test_a_poll_whose_claim_was_cancelled_meanwhile_hands_out_the_rest(scene: Scene, agent: Agent) -> None:
    scene.claimed(agent, "task-1")
    scene.claimed(agent, "task-2")
    with faults.meanwhile("TransactWriteItems", cancelled(scene)):
        assert agent.claims() == ["task-2"]


def test_a_poll_whose_one_claim_was_cancelled_meanwhile_is_empty(scene: Scene, agent: Agent) -> None:
    scene.claimed(agent)
    with faults.meanwhile("TransactWriteItems", cancelled(scene)):
        assert agent.claims() == []


def test_a_task_cancelled_between_the_claim_and_its_answer_is_not_handed_out(scene: Scene, agent: Agent) -> None:
    scene.queued()
    with faults.meanwhile("BatchGetItem", cancelled(scene)):
        assert agent.claims() == []


def test_a_poll_that_crosses_the_agents_removal_claims_nothing(scene: Scene, agent: Agent) -> None:
    scene.queued()
    with faults.meanwhile("TransactWriteItems", removed(scene)):
        assert agent.claims() == []
    assert scene.state() == "queued"


def test_two_polls_of_one_agent_at_once_take_no_more_than_it_may_hold(scene: Scene) -> None:
    agent = scene.agent(concurrency=2)
    scene.queued(*[f"task-{number}" for number in range(6)])
    taken: list[str] = []
    with faults.meanwhile("TransactWriteItems", lambda: taken.extend(agent.claims())):
        agent.claims()
    assert len(taken) == 2
    assert sorted(agent.claims()) == sorted(taken) == scene.shown()["holding"]


def test_a_stale_head_of_the_queue_seen_by_many_agents_is_no_trouble(scene: Scene) -> None:
    """The index shows all of them what it showed the first; the condition is on the row. Who is beaten too often comes
    back with the next poll."""
    agents = [scene.agent(f"agent-{number}", concurrency=1) for number in range(6)]
    scene.queued(*[f"task-{number:02d}" for number in range(9)])
    seen: list[dict[str, Any]] = []

    def stale(answer: dict[str, Any]) -> None:
        seen.extend(answer["Items"] if not seen else [])
        answer["Items"] = list(seen)
        answer.pop("LastEvaluatedKey", None)

    with faults.partly("Query", stale, times=999, when=faults.about('"queue"')):
        claims = [agent.claims(limit=1) for agent in agents]
    taken = [task for claim in claims for task in claim]
    assert len(taken) == len(set(taken)) >= 3
    assert all(scene.state(task) == "assigned" for task in taken)
    held = [task for agent in agents for task in agent.claims(limit=1)]
    assert len(held) == len(set(held)) == 6


def test_a_report_that_crosses_the_loss_of_the_task_is_refused_and_changes_nothing(
    scene: Scene, agent: Agent, clock: Clock
) -> None:
    scene.running(agent)
    anew = {"agentId": "agent-1", "name": "n", "version": "1", "replace": True}
    with faults.meanwhile("TransactWriteItems", lambda: ok(scene.user.post("/api/agents", anew), 201)):
        assert agent.complete("task-1").status == 401
    assert (scene.state(), scene.task()["attempt"]) == ("queued", 2)


@pytest.mark.parametrize("report", [{"summary": "Fixed"}, {}])
def test_an_agent_that_lost_a_task_is_refused_though_it_says_the_same_as_the_one_that_ended_it(
    scene: Scene, agent: Agent, passing: Passing, report: dict[str, Any]
) -> None:
    """Two runs of one task may well end with the same words; each agent must know whether its own counted."""
    scene.running(agent)
    passing(5)
    passing(6)
    second = scene.agent("agent-2")
    assert second.claims() == ["task-1"]
    ok(second.complete("task-1", **report))
    refused(agent.complete("task-1", **report), 409)
    ok(second.complete("task-1", **report))


def test_an_agent_that_never_held_a_task_is_refused_though_it_says_the_same(scene: Scene, agent: Agent) -> None:
    scene.running(agent)
    ok(agent.complete("task-1"))
    refused(scene.agent("agent-2").complete("task-1"), 409)
    refused(scene.agent("agent-3").fail("task-1", logs="not mine"), 409)


def test_of_two_different_reports_of_the_end_at_once_one_counts_and_the_other_hears_it(
    scene: Scene, agent: Agent
) -> None:
    scene.running(agent)
    with faults.meanwhile("TransactWriteItems", lambda: ok(agent.complete("task-1", summary="First"))):
        refused(agent.fail("task-1"), 409)
    assert (scene.state(), scene.task()["summary"]) == ("completed", "First")


def test_two_equal_submissions_at_once_are_one_task(scene: Scene) -> None:
    with faults.meanwhile("TransactWriteItems", scene.submit):
        scene.submit()
    assert scene.events() == ["created"]


def test_of_two_different_submissions_with_one_id_at_once_one_counts(scene: Scene) -> None:
    with faults.meanwhile("TransactWriteItems", lambda: scene.submit(naturalLanguage="First")):
        body = {"taskId": "task-1", "intent": "fix-bug", "repo": "r", "naturalLanguage": "Second"}
        refused(scene.user.post("/api/workflows/execute", body), 409)
    assert scene.task()["description"] == "First"


def test_two_equal_registrations_at_once_are_one_agent(scene: Scene) -> None:
    body = {"agentId": "agent-1", "name": "n", "version": "1"}

    def register() -> Any:
        return scene.user.post("/api/agents", body, Idempotency_Key="key-1")

    with faults.meanwhile("TransactWriteItems", register):
        token = ok(register(), 201)["token"]
    assert ok(scene.user.get("/api/agents"))["total"] == 1
    assert Agent("agent-1", scene.user.acting_as(token)).poll().status == 200


def test_three_equal_registrations_at_once_are_one_agent_and_nobody_hears_nonsense(scene: Scene) -> None:
    body = {"agentId": "agent-1", "name": "n", "version": "1"}

    def register() -> Any:
        return scene.user.post("/api/agents", body, Idempotency_Key="key-1")

    ok(register(), 201)
    with faults.meanwhile("UpdateItem", register, when=faults.about("agent-1")):
        answer = register()
    token = ok(answer, 201)["token"]
    assert ok(scene.user.get("/api/agents"))["total"] == 1
    assert Agent("agent-1", scene.user.acting_as(token)).poll().status == 200


def test_a_repeated_registration_whose_agent_is_removed_meanwhile_may_be_sent_again(scene: Scene) -> None:
    body = {"agentId": "agent-1", "name": "n", "version": "1"}

    def register() -> Any:
        return scene.user.post("/api/agents", body, Idempotency_Key="key-1")

    ok(register(), 201)
    with faults.meanwhile("UpdateItem", removed(scene), when=faults.about("agent-1")):
        refused(register(), 503)
    ok(register(), 201)


def test_a_repeated_registration_that_never_gets_through_hears_that_it_may_try_again(scene: Scene) -> None:
    body = {"agentId": "agent-1", "name": "n", "version": "1"}

    def register() -> Any:
        return scene.user.post("/api/agents", body, Idempotency_Key="key-1")

    def others() -> None:
        version = {"S": str(next(versions))}
        change = {
            "TableName": "devflow-local-agents",
            "Key": {"owner": {"S": invariants.rows("agents")[0]["owner"]}, "agent": {"S": "agent-1"}},
            "UpdateExpression": "SET ver = :ver",
            "ExpressionAttributeValues": {":ver": version},
        }
        boto3.client("dynamodb").transact_write_items(TransactItems=[{"Update": change}])

    versions = itertools.count()
    ok(register(), 201)
    with faults.meanwhile("UpdateItem", others, times=99, when=faults.about("agent-1")):
        refused(register(), 503)
    ok(register(), 201)


def test_of_two_that_replace_an_agent_at_once_each_hears_of_its_own_and_one_is_alive(
    scene: Scene, agent: Agent
) -> None:
    scene.running(agent)
    answers = []

    def replace(name: str) -> None:
        body = {"agentId": "agent-1", "name": name, "version": "1", "replace": True}
        answers.append((name, ok(scene.user.post("/api/agents", body), 201)))

    with faults.meanwhile("TransactWriteItems", lambda: replace("second"), when=faults.about("requeued")):
        replace("first")
    assert [answer["agent"]["name"] for _, answer in answers] == [name for name, _ in answers]
    alive = [Agent("agent-1", scene.user.acting_as(answer["token"])).poll().status for _, answer in answers]
    assert sorted(alive) == [200, 401]


def test_an_agent_replaced_while_it_is_removed_is_there_in_the_end(scene: Scene, agent: Agent) -> None:
    anew = {"agentId": "agent-1", "name": "anew", "version": "1", "replace": True}
    with faults.meanwhile("UpdateItem", removed(scene), when=faults.about("anew")):
        ok(scene.user.post("/api/agents", anew), 201)
    assert scene.shown()["name"] == "anew"


def test_an_agent_removed_twice_at_once_is_removed_once(scene: Scene, agent: Agent) -> None:
    with faults.meanwhile("UpdateItem", removed(scene), when=faults.about("removed")):
        assert scene.user.delete("/api/agents/agent-1").status in (200, 404)
    assert invariants.rows("agents") == []


def test_a_process_started_anew_is_not_taken_for_a_second_one(scene: Scene, agent: Agent) -> None:
    """It came with `replace`, so the one before is fenced already."""
    ok(agent.beat(instanceId="process-1"))
    body = {"agentId": "agent-1", "name": "n", "version": "1", "replace": True}
    token = ok(scene.user.post("/api/agents", body), 201)["token"]
    ok(Agent("agent-1", scene.user.acting_as(token)).beat(instanceId="process-2"))


def test_a_process_that_said_goodbye_makes_room_for_the_next_at_once(scene: Scene, agent: Agent) -> None:
    ok(agent.beat(instanceId="process-1"))
    ok(agent.beat(instanceId="process-1", status="disconnected"))
    ok(agent.beat(instanceId="process-2"))


def test_two_chunks_of_a_log_at_once_both_find_their_place(scene: Scene, agent: Agent) -> None:
    scene.running(agent)

    def append(offset: int, data: str) -> Any:
        return agent.client.post("/api/tasks/task-1/logs", {"offset": offset, "data": data})

    with faults.meanwhile("TransactWriteItems", lambda: ok(append(0, "first\n"))):
        assert ok(append(0, "first\nsecond\n"))["nextOffset"] == 13
    assert ok(scene.user.get("/api/tasks/task-1/logs"))["data"] == "first\nsecond\n"


def test_two_new_steps_in_one_millisecond_are_both_in_the_timeline(scene: Scene, agent: Agent) -> None:
    scene.running(agent)
    now = server_clock.now()
    caller = tokens.verify(agent.client.token, now)
    for step in ("Building", "Testing"):
        reports.report_progress(caller, "task-1", ProgressReport.model_validate({"progress": 0.5, "step": step}), now)
    assert scene.events() == ["created", "queued", "assigned", "started", "step", "step"]


def test_what_one_user_calls_does_not_show_in_anothers_limits(scene: Scene, other: Scene, clock: Clock) -> None:
    """Both call their agent by the same name; after a transaction the count is what this container saw last."""
    clock.advance(60 - clock.now / 1_000 % 60)  # all within one minute
    mine, theirs = scene.agent(), other.agent()
    scene.running(mine)
    other.running(theirs)
    for _ in range(7):
        ok(theirs.progress("task-1"))
    answer = mine.complete("task-1")
    assert ok(answer)
    assert answer.header("X-RateLimit-Remaining") == "998"


@pytest.mark.parametrize(
    ("who", "path", "body"),
    [
        ("agent", "progress", {"progress": 0.5, "step": "Building"}),
        ("agent", "complete", {"success": True}),
        ("user", "fail", {"error": "It broke", "logs": "line 1"}),
        ("agent", "logs", {"offset": 0, "data": "line 1"}),
        ("user", "cancel", None),
    ],
)
def test_who_never_gets_through_hears_that_it_may_try_again(
    scene: Scene, agent: Agent, who: str, path: str, body: dict[str, Any] | None
) -> None:
    """The condition on the task fails again and again: the request is answered, and not by a bug's 500."""
    scene.running(agent)
    reasons = [{"Code": "ConditionalCheckFailed"}] * 4
    with faults.refused("TransactWriteItems", "TransactionCanceledException", reasons=reasons, times=99):
        answer = (agent.client if who == "agent" else scene.user).post(f"/api/tasks/task-1/{path}", body)
    refused(answer, 503)
    assert answer.header("Retry-After") == "1"


def test_an_agent_whose_row_is_contested_for_ever_hears_that_it_may_try_again(scene: Scene, agent: Agent) -> None:
    with faults.refused("UpdateItem", "ConditionalCheckFailedException", times=99, when=faults.about("agent-1")):
        refused(agent.beat(), 503)


def test_a_message_and_a_removal_that_cross_leave_no_task_waiting_for_nobody(
    scene: Scene, agent: Agent, poller: EventPoller
) -> None:
    scene.submit(agentId="agent-1")
    with faults.meanwhile("TransactWriteItems", removed(scene)):
        poller.drain()
    assert (scene.state(), scene.task()["error"]) == ("failed", "Agent removed")


def test_a_lease_that_runs_out_while_its_pinned_agent_is_removed_leaves_no_task_waiting_for_nobody(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller, passing: Passing
) -> None:
    scene.claimed(agent, agentId="agent-1")
    clock.advance(61)
    with faults.meanwhile("TransactWriteItems", removed(scene)):
        poller.sweep()
    passing(3)
    assert scene.state() == "failed"
    assert invariants.rows("agents") == []
