"""`waitingReason` of a task that waits: what the user reads, and how many requests it takes."""

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from chalicelib.agents import fleet
from chalicelib.core.settings import settings
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, failing, ok
from tests.support import costs, moto_aws

READ_TASK = ("GetItem credentials", "UpdateItem users", "BatchGetItem tasks")
LIST, READ_AGENTS, READ_AGENT = "Query agents", "BatchGetItem agents", "GetItem agents"


def reason(scenario: Scenario, task_id: str = "task-1") -> str | None:
    """The code of the reason."""
    found = scenario.get_task(task_id)["waitingReason"]
    if found is None:
        return None
    assert set(found) == {"code", "message"}
    assert found["message"].endswith((".", "devflow agent start"))
    return str(found["code"])


def further_requests(scenario: Scenario, task_id: str = "task-1") -> tuple[str, ...]:
    """The requests for the reason."""
    requests = costs.measured(lambda: scenario.user.get(f"/api/tasks/{task_id}")).requests
    return tuple(each for each in requests if each not in READ_TASK)


def test_reason_follows_the_agents_until_the_task_is_claimed(scenario: Scenario, clock: Clock) -> None:
    scenario.submit("task-1")
    assert scenario.task_status() == "pending"
    assert reason(scenario) == "no_agent"
    assert further_requests(scenario) == (LIST, LIST)
    scenario.run_workflows()
    assert reason(scenario) == "no_agent"
    scenario.agent("explainer", capabilities=["explain"])
    assert reason(scenario) == "no_agent_with_intent"
    agent = scenario.agent(repos=["https://github.com/acme/*"], concurrency=1)
    assert reason(scenario) == "repo_not_admitted"
    assert further_requests(scenario) == (LIST, READ_AGENTS)
    ok(scenario.user.patch("/api/agents/agent-1", {"repos": None, "submitters": ["user-2"]}))
    assert reason(scenario) == "submitter_not_admitted"
    ok(scenario.user.patch("/api/agents/agent-1", {"submitters": None, "paused": True}))
    assert reason(scenario) == "paused"
    ok(scenario.user.patch("/api/agents/agent-1", {"paused": False}))
    ok(agent.heartbeat(status="draining"))
    assert reason(scenario) == "draining"
    ok(agent.heartbeat(status="disconnected"))
    assert reason(scenario) == "no_online_agent_with_intent"
    ok(agent.heartbeat(status="ready"))
    assert reason(scenario) is None, "the agent is about to claim it"
    scenario.queue_tasks("task-2", priority=1)
    assert agent.claims() == ["task-2"]
    assert reason(scenario) == "busy"
    assert reason(scenario, "task-2") is None
    assert further_requests(scenario, "task-2") == ()
    ok(agent.complete("task-2"))
    assert agent.claims() == ["task-1"]
    assert reason(scenario) is None
    assert "waitingReason" not in ok(scenario.user.get("/api/tasks"))["data"][0]


def test_reason_of_a_pinned_task_takes_one_further_request(scenario: Scenario, agent: Agent) -> None:
    scenario.queue_tasks(agentId=agent.id)
    assert reason(scenario) is None
    assert further_requests(scenario) == (READ_AGENT,)
    for fields, expected in (
        ({"repos": ["https://github.com/acme/*"]}, "pinned_agent_repo_not_admitted"),
        ({"repos": None, "submitters": ["user-2"]}, "pinned_agent_submitter_not_admitted"),
        ({"submitters": None, "paused": True}, "pinned_agent_paused"),
    ):
        ok(scenario.user.patch("/api/agents/agent-1", fields))
        assert agent.claims() == []
        assert reason(scenario) == expected


def test_removed_agent_does_not_count(scenario: Scenario) -> None:
    scenario.agent("a-removed")
    scenario.queue_tasks("pinned", agentId="a-removed")  # its row stays for a minute
    ok(scenario.user.delete("/api/agents/a-removed"))
    scenario.queue_tasks("task-1")
    assert reason(scenario) == "no_agent"
    scenario.agent("b-explainer", capabilities=["explain"])
    assert reason(scenario) == "no_agent_with_intent"
    assert further_requests(scenario) == (LIST, LIST)


def test_large_fleet_is_examined_up_to_a_bound_that_the_message_states(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "MAX_ONLINE", 3)
    monkeypatch.setattr(fleet, "PAGE_SIZE", 200)
    scenario.agent("a-000", repos=["https://github.com/acme/*"])
    (row,) = moto_aws.rows("agents")
    client = boto3.client("dynamodb")

    def copy_agents(first: int, last: int, **attributes: object) -> None:
        items = [row | {"agent": {"S": f"a-{number:03}"}} | attributes for number in range(first, last)]
        for start in range(0, len(items), 25):
            puts = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
            client.batch_write_item(RequestItems={settings.resource_name("agents"): puts})

    scenario.queue_tasks()
    copy_agents(1, 3)
    message = scenario.get_task()["waitingReason"]["message"]
    assert message.startswith("No online agent that accepts the intent fix-bug admits this task's repository: a-000")
    copy_agents(3, 6)
    message = scenario.get_task()["waitingReason"]["message"]
    assert message.startswith("None of the first 3 online agents that accept the intent fix-bug admits")
    assert further_requests(scenario) == (LIST, READ_AGENTS)
    copy_agents(0, 401, state={"S": "inactive"})
    message = scenario.get_task()["waitingReason"]["message"]
    assert message.startswith("None of the first 400 agents that accept the intent fix-bug is online")
    assert further_requests(scenario) == (LIST, LIST)
    copy_agents(250, 251)
    assert reason(scenario) == "repo_not_admitted"
    assert further_requests(scenario) == (LIST, LIST, READ_AGENTS)


def test_task_is_readable_while_the_agents_are_not(
    scenario: Scenario, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", [].append)
    scenario.queue_tasks()
    with failing("Query", ReadTimeoutError(endpoint_url="x"), about="devflow-local-agents"):
        assert scenario.get_task()["waitingReason"] is None
