"""Polling: which agent gets which tasks, their order, the lease of claims, and the polling interval."""

import json

import pytest

from tests.conftest import Clock
from tests.http.scenario import INSTANT, Agent, Scenario, ok, refused

TWENTY = [f"task-{number:02}" for number in range(20)]


def test_command_matches_the_specification(scenario: Scenario, agent: Agent) -> None:
    work = {"repo": "https://github.com/user/repo", "branch": "main", "context": {"issueId": "123", "prId": "456"}}
    task_id = scenario.queue_tasks(naturalLanguage="Fix null pointer exception in login flow", **work)
    body = ok(agent.poll())
    assert set(body) == {"commands", "nextPollInterval"}
    (command,) = body["commands"]
    assert INSTANT.fullmatch(command.pop("created_at"))
    command.pop("timeoutSeconds", None)
    assert command == work | {
        "task_id": task_id,
        "intent": "fix-bug",
        "description": "Fix null pointer exception in login flow",
        "attempt": 1,
    }
    task = scenario.get_task(task_id)
    assert (task["status"], task["agentId"], task["startedAt"]) == ("assigned", agent.id, None)


def test_poll_without_work_returns_an_empty_list(scenario: Scenario, agent: Agent) -> None:
    assert ok(agent.poll()) == {"commands": [], "nextPollInterval": 5_000}
    scenario.submit()
    assert agent.claims() == [], "a task is claimable only after its message was handled"


def test_repeated_poll_returns_the_same_claims(scenario: Scenario, agent: Agent) -> None:
    scenario.queue_tasks("task-1", "task-2")
    first = agent.commands()
    assert [agent.commands() for _ in range(3)] == [first] * 3
    assert scenario.event_types("task-1") == ["created", "queued", "assigned"]
    ok(agent.progress("task-1"))
    assert agent.claims() == ["task-2"], "a started task is no longer a claim"


def test_each_task_goes_to_one_agent(scenario: Scenario, agent: Agent) -> None:
    another = scenario.agent("another")
    scenario.queue_tasks(*TWENTY[:6])
    assert agent.claims(limit=2) == TWENTY[:2]
    assert another.claims(limit=3) == TWENTY[2:5]
    assert agent.claims(limit=10) == [*TWENTY[:2], TWENTY[5]]
    assert another.claims() == TWENTY[2:5]


# The number of claims.


def test_limit_counts_all_claims_and_defaults_to_ten(scenario: Scenario, agent: Agent) -> None:
    scenario.queue_tasks(*TWENTY[:12])
    assert agent.claims(limit=1) == TWENTY[:1]
    assert agent.claims(limit=3) == TWENTY[:3]
    assert agent.claims() == TWENTY[:10]
    assert agent.claims() == TWENTY[:10]
    assert agent.claims(limit=100) == TWENTY[:12]


def test_smaller_limit_returns_the_most_urgent_claims(scenario: Scenario, agent: Agent) -> None:
    for name, priority in (("c", 0), ("a", 5), ("d", 0), ("b", 4)):
        scenario.claim_task(agent, name, priority=priority)
    assert agent.claims() == ["a", "b", "c", "d"]
    assert agent.claims(limit=1) == ["a"]
    assert agent.claims(limit=3) == ["a", "b", "c"]


def test_concurrency_limits_claims_and_running_tasks_together(scenario: Scenario) -> None:
    agent = scenario.agent(concurrency=2)
    scenario.queue_tasks(*TWENTY[:5])
    assert agent.claims() == TWENTY[:2]
    ok(agent.progress(TWENTY[0]))
    assert agent.claims() == TWENTY[1:2]
    ok(agent.progress(TWENTY[1]))
    assert agent.claims() == []
    ok(agent.complete(TWENTY[0]))
    assert agent.claims() == TWENTY[2:3]
    ok(agent.fail(TWENTY[1]))
    assert agent.claims() == TWENTY[2:4]


def test_agent_holds_at_most_twenty_tasks(scenario: Scenario, agent: Agent) -> None:
    scenario.queue_tasks(TWENTY[0])
    scenario.copy_task(TWENTY[0], [*TWENTY[1:], "task-20"])
    assert agent.claims(limit=100) == TWENTY
    ok(agent.complete(TWENTY[7]))
    assert agent.claims(limit=100) == [*TWENTY[:7], *TWENTY[8:], "task-20"]


# Order, capabilities and pinned tasks.


@pytest.mark.usefixtures("one_or_three_partitions")
def test_tasks_are_ordered_by_priority_and_then_by_age(scenario: Scenario, agent: Agent) -> None:
    for name, priority, intent in (
        ("c", 0, "fix-bug"), ("f", -100, "fix-bug"), ("a", 100, "feature"), ("d", 0, "explain"), ("e", -1, "feature"),
        ("b", 100, "fix-bug"),
    ):  # fmt: skip
        scenario.queue_tasks(name, priority=priority, intent=intent)
    assert agent.claims(limit=2) == ["a", "b"]
    assert agent.claims() == ["a", "b", "c", "d", "e", "f"]


def test_agent_gets_only_tasks_that_match_its_capabilities(scenario: Scenario) -> None:
    for intent in ("fix-bug", "fix", "fix-bug-2", "feature"):
        scenario.queue_tasks(intent, intent=intent)
    assert scenario.agent("none", capabilities=[]).claims() == []
    assert scenario.agent("other", capabilities=["fi", "FIX", "feature-2"]).claims() == []
    assert scenario.agent("fixer", capabilities=["fix"]).claims() == ["fix"]
    assert scenario.agent("two", capabilities=["feature", "fix-bug"]).claims() == ["fix-bug", "feature"]


def test_any_intent_can_be_a_capability(scenario: Scenario) -> None:
    scenario.queue_tasks(intent="Translate.to:Latin_2")
    assert scenario.agent(capabilities=["Translate.to:Latin_2"]).claims() == ["task-1"]


def test_pinned_task_goes_only_to_its_agent(scenario: Scenario, agent: Agent) -> None:
    another = scenario.agent("another")
    scenario.queue_tasks("pinned", agentId="agent-1")
    assert scenario.get_task("pinned")["status"] == "queued"
    for _ in range(2):
        assert another.claims() == []
    assert agent.claims() == ["pinned"]


@pytest.mark.usefixtures("one_or_three_partitions")
def test_pinned_tasks_are_ordered_together_with_other_tasks(scenario: Scenario, agent: Agent) -> None:
    for name, fields in (
        ("c", {}), ("d", {"agentId": "agent-1"}), ("a", {"agentId": "agent-1", "priority": 5}), ("b", {"priority": 4}),
    ):  # fmt: skip
        scenario.queue_tasks(name, **fields)
    assert agent.claims(limit=1) == ["a"]
    assert agent.claims() == ["a", "b", "c", "d"]


def test_pinned_task_waits_while_its_agent_does_not_accept_the_intent(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    scenario.queue_tasks(agentId="agent-1")
    ok(agent.heartbeat(capabilities=["feature"]))
    assert agent.claims() == []
    clock.advance(120)
    assert agent.claims() == []
    ok(agent.heartbeat(capabilities=["fix-bug"]))
    assert agent.claims() == ["task-1"]


def test_released_pinned_task_stays_pinned(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    another = scenario.agent("another")
    scenario.claim_task(agent, agentId="agent-1")
    scenario.advance(clock, 120, agent, another)
    assert scenario.task_status() == "queued"
    assert another.claims() == []
    assert agent.claims() == ["task-1"]


def test_response_has_at_most_a_megabyte_and_later_polls_return_the_rest(scenario: Scenario, agent: Agent) -> None:
    for number in range(6):
        work = {"taskId": f"task-{number}", "intent": "fix-bug", "repo": "r", "naturalLanguage": "é" * 125_000}
        ok(scenario.user.post("/api/workflows/execute", json.dumps(work, ensure_ascii=False).encode()), 202)
    scenario.run_workflows()
    response = agent.poll()
    assert len(response.body) < 1_024 * 1_024 + 10_000
    first_ids = [command["task_id"] for command in ok(response)["commands"]]
    assert 1 <= len(first_ids) < 6
    for task_id in first_ids:
        ok(agent.complete(task_id))
    assert set(agent.claims()) == {f"task-{number}" for number in range(6)} - set(first_ids)


@pytest.mark.usefixtures("one_or_three_partitions")
def test_long_queue_hides_no_matching_task(scenario: Scenario, fresh_minute: Clock) -> None:
    """The queue has sixty older and more urgent tasks that do not match the agent, and five that do."""
    scenario.queue_tasks("m-1", intent="m")
    for intent in ("a", "z"):
        scenario.queue_tasks(f"{intent}-00", intent=intent, priority=50)
        scenario.copy_task(f"{intent}-00", [f"{intent}-{number:02}" for number in range(1, 30)])
    fresh_minute.advance(40)
    for name, priority in (("m-2", 0), ("m-3", -1), ("m-4", 7)):
        scenario.submit(name, intent="m", priority=priority)
    scenario.submit("pinned", intent="m", agentId=scenario.agent("one", capabilities=["m", "a-2"]).id)
    scenario.run_workflows()
    assert scenario.agent("zed", capabilities=["z", "y"]).claims(limit=2) == ["z-00", "z-01"]
    assert scenario.agent("two", capabilities=["mm", "m", "l"]).claims() == ["m-4", "m-1", "m-2", "m-3"]
    both = scenario.agent("both", capabilities=["z", "a"])
    assert both.claims(limit=4) == ["a-00", "a-01", "a-02", "z-02"]
    assert len(both.claims(limit=100)) == 20


def test_draining_agent_keeps_its_claims_and_gets_no_new_ones(scenario: Scenario, agent: Agent) -> None:
    scenario.queue_tasks("task-1")
    assert agent.claims() == ["task-1"]
    ok(agent.heartbeat(status="draining"))
    scenario.queue_tasks("task-2")
    assert agent.claims() == ["task-1"]
    ok(agent.progress("task-1"))
    assert agent.claims() == []
    ok(agent.complete("task-1"))
    assert agent.claims() == []
    ok(agent.heartbeat(status="ready"))
    assert agent.claims() == ["task-2"]


# The lease of a claim.


def test_claim_not_started_within_a_minute_is_released(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    another = scenario.agent("another")
    scenario.claim_task(agent)
    clock.advance(55)
    scenario.poller.sweep()
    assert scenario.task_status() == "assigned"
    assert another.claims() == []
    clock.advance(10)
    ok(agent.heartbeat())
    scenario.poller.sweep()
    task = scenario.get_task()
    assert (task["status"], task["agentId"], task["attempt"]) == ("queued", None, 1)
    assert another.commands()[0]["attempt"] == 1
    assert scenario.event_types() == ["created", "queued", "assigned", "requeued", "assigned"]
    refused(agent.progress("task-1"), 409)
    refused(agent.complete("task-1"), 409)
    assert agent.claims() == []
    ok(another.complete("task-1"))


def test_expired_claim_can_be_started_until_it_is_released(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    scenario.claim_task(agent)
    clock.advance(70)
    ok(agent.progress("task-1"))
    scenario.poller.sweep()
    assert scenario.task_status() == "in_progress"


def test_polls_renew_a_claim_for_up_to_ten_minutes(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    scenario.claim_task(agent)
    for _ in range(10):
        clock.advance(57)
        scenario.poller.sweep()
        assert agent.claims() == ["task-1"]
    assert scenario.event_types().count("assigned") == 1
    for _ in range(2):
        clock.advance(50)
        scenario.poller.sweep()
        agent.poll()
    assert scenario.event_types() == ["created", "queued", "assigned", "requeued", "assigned"]
    assert scenario.get_task()["attempt"] == 1


def test_started_task_has_no_lease(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    scenario.start_task(agent)
    scenario.advance(clock, 6 * 60, agent)
    assert scenario.task_status() == "in_progress"


# The polling interval.


@pytest.mark.parametrize("call", [Agent.poll, Agent.heartbeat])
def test_interval_is_short_after_work_and_grows_while_idle(
    scenario: Scenario, agent: Agent, clock: Clock, call: object
) -> None:
    def interval() -> int:
        response: dict[str, int] = ok(agent.poll() if call is Agent.poll else agent.heartbeat())
        assert type(response["nextPollInterval"]) is int
        return response["nextPollInterval"]

    assert interval() == 5_000
    task_id = scenario.start_task(agent)
    clock.advance(1_900)
    assert interval() == 5_000
    ok(agent.complete(task_id))
    clock.advance(9 * 60)
    assert interval() == 5_000
    grown = []
    for _ in range(6):
        clock.advance(200)
        grown.append(interval())
    assert grown == sorted(grown)
    assert 5_000 < grown[2] < 30_000
    assert grown[-1] == 30_000
    clock.advance(24 * 3_600)
    assert interval() == 30_000
    scenario.queue_tasks("next")
    assert ok(agent.poll())["nextPollInterval"] == 5_000
