"""The rules of agents (`repos`, `submitters`): which tasks an agent may claim, also while its rules change."""

from collections.abc import Callable
from typing import Any

import boto3

from chalicelib.core.settings import settings
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok, refused
from tests.service import faults
from tests.support import costs, moto_aws

ACME, EVIL = "https://github.com/acme/shop", "https://github.com.evil.example/acme/shop"
ACME_ONLY = ["https://github.com/acme/*"]
CHECK_IN, QUERY, READ, CLAIM = (
    "UpdateItem agents",
    "Query tasks",
    "BatchGetItem tasks",
    "TransactWriteItems agents+tasks",
)


def set_rules(scenario: Scenario, agent_id: str = "agent-1", **rules: Any) -> Callable[[], Any]:
    return lambda: ok(scenario.user.patch(f"/api/agents/{agent_id}", rules))


def change_stored_task(task_id: str, **attributes: str | None) -> None:
    """Change a task's head as another version could have stored it. None removes the attribute."""
    (head,) = [row for row in moto_aws.rows("tasks") if row.get("task") == {"S": task_id}]
    client = boto3.client("dynamodb")
    row = {name: value for name, value in head.items() if attributes.get(name, "") is not None}
    row |= {name: {"S": value} for name, value in attributes.items() if value is not None}
    client.put_item(TableName=settings.resource_name("tasks"), Item=row)


def test_agent_claims_only_tasks_of_repositories_that_its_rules_admit(scenario: Scenario) -> None:
    agent = scenario.agent(repos=[*ACME_ONLY, "git@github.com:acme/*"])
    scenario.queue_tasks("no-1", repo=EVIL, priority=5)
    scenario.queue_tasks("yes-1", repo=ACME)
    scenario.queue_tasks("yes-2", repo="git@github.com:acme/web.git", priority=1)
    scenario.queue_tasks("no-2", repo="https://github.com/other/shop")
    scenario.queue_tasks("no-3", repo="acme/shop")

    assert agent.claims() == ["yes-2", "yes-1"]
    assert scenario.agent("free").claims() == ["no-1", "no-2", "no-3"]


def test_agent_claims_only_tasks_of_submitters_that_its_rules_admit(scenario: Scenario) -> None:
    agent = scenario.agent(submitters=["user-2"])
    scenario.queue_tasks("task-1", "task-2", "task-3")
    assert agent.claims() == []
    change_stored_task("task-2", submitter="user-2")
    assert agent.claims() == ["task-2"]
    set_rules(scenario, submitters=[scenario.user_id()])()
    change_stored_task("task-3", submitter=None)  # version 0.1.0 did not store it: the owner submitted the task
    assert set(agent.claims()) == {"task-1", "task-3"}, "the claim that the rules do not admit any more has ended"
    assert scenario.task_status("task-2") == "queued"


def test_rules_that_change_between_search_and_claim_are_enforced(scenario: Scenario) -> None:
    agent = scenario.agent()
    scenario.queue_tasks("no", repo=EVIL)
    scenario.queue_tasks("yes", repo=ACME)
    with faults.interleaved("TransactWriteItems", set_rules(scenario, repos=ACME_ONLY)):
        assert agent.claims() == ["yes"]
    with faults.interleaved("TransactWriteItems", set_rules(scenario, repos=None)):
        assert agent.claims() == ["yes"], "the renewed claim"
    assert sorted(agent.claims()) == ["no", "yes"]
    with faults.interleaved("TransactWriteItems", set_rules(scenario, repos=None)):
        assert sorted(agent.claims()) == ["no", "yes"], "no rule before and after"


def test_rules_that_change_back_and_forth_are_enforced(scenario: Scenario) -> None:
    agent = scenario.agent(repos=ACME_ONLY)
    scenario.queue_tasks("yes", repo=ACME)
    with faults.interleaved("TransactWriteItems", set_rules(scenario, repos=["https://gitlab.com/*"])):
        assert agent.claims() == []
    with faults.interleaved("TransactWriteItems", set_rules(scenario, repos=["https://gitlab.com/*"])):
        set_rules(scenario, repos=ACME_ONLY)()
        assert agent.claims() == []
    set_rules(scenario, repos=ACME_ONLY)()
    assert agent.claims() == ["yes"]


def test_unstarted_claim_ends_and_running_task_continues_when_rules_change(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent, "running", repo=EVIL)
    scenario.claim_task(agent, "claimed", repo=EVIL)
    set_rules(scenario, repos=ACME_ONLY)()
    assert agent.claims() == []
    assert (scenario.task_status("running"), scenario.task_status("claimed")) == ("in_progress", "queued")
    refused(agent.progress("claimed"), 409)
    ok(agent.complete("running"))
    assert scenario.agent("free").claims() == ["claimed"]


# Pinned tasks.


def test_pinned_submission_that_the_rules_do_not_admit_is_rejected(scenario: Scenario) -> None:
    agent = scenario.agent(repos=ACME_ONLY)
    for caller in (scenario.user, agent.client):
        body = {"taskId": "no", "intent": "fix-bug", "repo": EVIL, "naturalLanguage": "Do it", "agentId": agent.id}
        response = refused(caller.post("/api/workflows/execute", body), 400, "Invalid request")
        assert response["message"].startswith("The rules of agent agent-1 do not admit this repository. ")
    refused(scenario.user.get("/api/tasks/no"), 404)
    scenario.queue_tasks("yes", repo=ACME, agentId=agent.id)
    assert agent.claims() == ["yes"]
    set_rules(scenario, submitters=["user-2"])()
    body = {"taskId": "no", "intent": "fix-bug", "repo": ACME, "naturalLanguage": "Do it"}
    response = refused(agent.client.post("/api/workflows/execute", body), 400, "Invalid request")
    assert f"do not admit tasks of user {scenario.user_id()}. " in response["message"]
    body = {"taskId": "yes", "intent": "fix-bug", "repo": ACME, "naturalLanguage": "Do it", "agentId": agent.id}
    ok(scenario.user.post("/api/workflows/execute", body), 202)  # sent again: it was accepted before the change


def test_retry_of_a_pinned_task_that_the_rules_do_not_admit_any_more_is_rejected(
    scenario: Scenario, agent: Agent
) -> None:
    scenario.start_task(agent, repo=EVIL, agentId=agent.id)
    ok(agent.fail("task-1"))
    set_rules(scenario, repos=ACME_ONLY)()
    refused(scenario.user.post("/api/tasks/task-1/retry"), 400, "Invalid request")


def test_pinned_submission_compares_the_rules_in_its_transaction(scenario: Scenario) -> None:
    agent = scenario.agent()
    body = {"intent": "fix-bug", "repo": EVIL, "naturalLanguage": "Do it", "agentId": agent.id}
    with faults.interleaved("TransactWriteItems", set_rules(scenario, repos=ACME_ONLY)):
        refused(scenario.user.post("/api/tasks", body), 400, "Invalid request")
    with faults.interleaved("TransactWriteItems", set_rules(scenario, repos=ACME_ONLY), times=4):
        ok(scenario.user.post("/api/tasks", body | {"repo": ACME}), 202)
    with faults.interleaved("TransactWriteItems", set_rules(scenario, repos=ACME_ONLY), times=5):
        refused(scenario.user.post("/api/tasks", body | {"repo": ACME}), 503, "Temporarily unavailable")


def test_pinned_task_waits_while_the_rules_do_not_admit_it(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    scenario.queue_tasks("pinned", repo=EVIL, agentId=agent.id)
    set_rules(scenario, repos=ACME_ONLY)()
    assert agent.claims() == []
    clock.advance(120)
    assert agent.claims() == []
    set_rules(scenario, repos=None)()
    assert agent.claims() == ["pinned"]


def test_pinned_task_of_a_removed_capability_is_found_when_it_is_added_again(scenario: Scenario, clock: Clock) -> None:
    agent = scenario.agent(repos=ACME_ONLY, capabilities=["fix-bug"])
    scenario.queue_tasks("pinned", repo=ACME, agentId=agent.id)
    for capabilities in (["explain"], []):
        ok(agent.heartbeat(capabilities=capabilities))
        clock.advance(120)
        assert agent.claims() == []
    ok(agent.heartbeat(capabilities=["fix-bug"]))
    assert agent.claims() == ["pinned"]


# Requests.


def test_agent_without_rules_sends_no_further_request(scenario: Scenario, agent: Agent) -> None:
    assert costs.measured(agent.poll).requests == (CHECK_IN, QUERY)
    set_rules(scenario, repos=None, submitters=None)()
    scenario.queue_tasks()
    assert costs.measured(agent.poll).requests == (CHECK_IN, QUERY, CLAIM, READ)
    pinned = costs.measured(lambda: scenario.submit("pinned", agentId=agent.id)).requests
    assert [each for each in pinned if each.startswith("Transact")] == ["TransactWriteItems agents+tasks"]


def test_agent_with_rules_reads_the_heads_of_the_tasks_that_it_finds(scenario: Scenario) -> None:
    agent = scenario.agent(repos=ACME_ONLY)
    assert costs.measured(agent.poll).requests == (CHECK_IN, QUERY)
    scenario.queue_tasks("no", repo=EVIL)
    assert costs.measured(agent.poll).requests == (CHECK_IN, QUERY, READ)
    scenario.queue_tasks("yes", repo=ACME)
    assert costs.measured(agent.poll).requests == (CHECK_IN, QUERY, READ, CLAIM, READ)
