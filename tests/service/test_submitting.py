"""What a submission meets besides the straight way: full houses, keys used before, agents that are gone."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from chalicelib.core.settings import settings
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scene import Agent, Scene, ok, refused
from tests.service import faults, invariants
from tests.service.conftest import Passing

WORK = {"intent": "fix-bug", "repo": "r", "naturalLanguage": "Do it"}


@pytest.fixture
def at_most() -> Iterator[Callable[..., None]]:
    """Deploy the stage with other limits: `at_most(open_tasks_per_user=2)`."""
    before = {name: getattr(settings, name) for name in ("open_tasks_per_user", "agents_per_user")}

    def deploy(**limits: int) -> None:
        for name, value in limits.items():
            object.__setattr__(settings, name, value)  # frozen for everybody else

    yield deploy
    deploy(**before)


@pytest.mark.parametrize("who", ["user", "agent"])
def test_a_user_has_only_so_many_open_tasks_whoever_submits_them(
    scene: Scene, agent: Agent, at_most: Callable[..., None], who: str
) -> None:
    at_most(open_tasks_per_user=2)
    scene.queued("task-1", "task-2")
    scene.poller.drain()
    client = scene.user if who == "user" else agent.client
    answer = client.post("/api/workflows/execute", WORK | {"taskId": "task-3"})
    assert refused(answer, 429)["error"] == "Too many open tasks"
    assert answer.header("Retry-After") == "60"
    assert len(invariants.heads()) == 2
    repo = {"repo": "https://example.com/r", "naturalLanguage": "Do it"}
    for _ in range(2):  # the request that made a task is answered as then: its answer may have been lost
        ok(client.post("/api/workflows/execute", {"taskId": "task-1", "intent": "fix-bug"} | repo), 202)
    assert agent.claims(limit=1) == ["task-1"]
    ok(agent.complete("task-1"))
    scene.poller.drain()
    ok(client.post("/api/workflows/execute", WORK | {"taskId": "task-3"}), 202)


def test_a_user_has_only_so_many_agents(scene: Scene, at_most: Callable[..., None]) -> None:
    at_most(agents_per_user=2)
    scene.agent("agent-1")
    scene.agent("agent-2")
    body = {"agentId": "agent-3", "name": "n", "version": "1"}
    refused(scene.user.post("/api/agents", body), 409)
    refused(scene.user.post("/api/agents", body | {"replace": True}), 409)
    ok(scene.user.delete("/api/agents/agent-1"))
    ok(scene.user.post("/api/agents", body), 201)


def test_a_key_is_free_again_after_a_day(scene: Scene, clock: Clock) -> None:
    def submit(**work: Any) -> Any:
        return scene.user.post("/api/tasks", WORK | work, Idempotency_Key="key-1")

    first = ok(submit(), 202)["taskId"]
    clock.advance(86_399)
    assert ok(submit(), 202)["taskId"] == first
    clock.advance(2)
    second = ok(submit(naturalLanguage="Something else"), 202)["taskId"]
    assert second != first
    assert ok(submit(naturalLanguage="Something else"), 202)["taskId"] == second
    refused(submit(), 409)


def test_a_task_is_pinned_to_an_agent_that_is_there(scene: Scene, agent: Agent, other: Scene) -> None:
    other.agent("theirs")
    for gone in ("never-was", "theirs"):
        refused(scene.user.post("/api/tasks", WORK | {"agentId": gone}), 404, "Agent not found")
    assert invariants.heads() == []
    assert len(invariants.rows("agents")) == 2


def test_work_is_not_done_again_for_an_agent_that_is_gone(scene: Scene, agent: Agent) -> None:
    scene.running(agent, agentId="agent-1")
    ok(agent.fail("task-1"))
    ok(scene.user.delete("/api/agents/agent-1"))
    refused(scene.user.post("/api/tasks/task-1/retry"), 404, "Agent not found")


def lost_row(agent: str) -> None:
    """An agent's row is gone, and nobody said goodbye: somebody deleted it by hand."""
    (row,) = [row for row in invariants.rows("agents") if row["agent"] == agent]
    key = {"owner": {"S": row["owner"]}, "agent": {"S": agent}}
    boto3.client("dynamodb").delete_item(TableName="devflow-local-agents", Key=key)
    users = {"owner": {"S": row["owner"]}}
    boto3.client("dynamodb").update_item(
        TableName="devflow-local-users",
        Key=users,
        UpdateExpression="ADD agents :less",
        ExpressionAttributeValues={":less": {"N": "-1"}},
    )


@pytest.mark.parametrize(("pinned", "ends"), [(None, "queued"), ("agent-1", "failed")])
def test_a_claim_of_an_agent_whose_row_is_gone_is_taken_back_all_the_same(
    scene: Scene, agent: Agent, passing: Passing, pinned: str | None, ends: str
) -> None:
    scene.claimed(agent, agentId=pinned)
    lost_row("agent-1")
    passing(2)
    assert scene.state() == ends


def test_a_task_whose_agents_row_is_gone_can_be_cancelled(scene: Scene, agent: Agent, poller: EventPoller) -> None:
    scene.running(agent)
    lost_row("agent-1")
    ok(scene.user.post("/api/tasks/task-1/cancel"))
    assert scene.task()["cancelRequested"] is True


def test_a_claim_of_an_agent_whose_row_is_gone_that_changes_meanwhile_is_looked_at_again(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    scene.claimed(agent)
    lost_row("agent-1")
    clock.advance(61)
    earlier = iter([False])

    def second(_: dict[str, Any]) -> bool:
        return next(earlier, True)

    def cancel() -> None:
        ok(scene.user.post("/api/tasks/task-1/cancel"))

    with faults.meanwhile("TransactWriteItems", cancel, when=second):
        poller.sweep()
    assert scene.events() == ["created", "queued", "assigned", "cancelled"]


def test_the_log_of_a_failure_that_crosses_a_chunk_goes_behind_it(scene: Scene, agent: Agent) -> None:
    scene.running(agent)

    def chunk() -> None:
        ok(agent.client.post("/api/tasks/task-1/logs", {"offset": 0, "data": "first\n"}))

    with faults.meanwhile("TransactWriteItems", chunk, when=faults.about("lastLog")):
        ok(agent.fail("task-1", logs="last\n"))
    assert ok(scene.user.get("/api/tasks/task-1/logs"))["data"] == "first\nlast\n"
