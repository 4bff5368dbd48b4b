"""chalicelib/tasks/waiting_rules.py: which reason is given for a task that waits, and what its message says."""

from typing import Any

import pytest

from chalicelib.agents.entities import MAX_CLAIMS, REMOVED, Agent, FleetSample
from chalicelib.tasks import waiting_rules
from chalicelib.tasks.entities import Task
from tests.support.builders import make_agent, make_claims

TASK = Task(owner="user-1", id="t", status="queued", intent="fix-bug", repo="https://github.com/acme/shop")
OTHER_REPO = {"repos": ["https://github.com/other/*"]}
OTHER_USER = {"submitters": ["user-2"]}
PAUSED, DRAINING = {"paused": True}, {"reported_status": "draining"}
BUSY = {"concurrency": 2, "claims": make_claims(1, 1)}


def sample(*agents: dict[str, Any], offline: int = 0, examined: int = 2_000, has_more: bool = False) -> FleetSample:
    online = [make_agent(id=f"on-{number}", **values) for number, values in enumerate(agents)]
    accepting = [agent.id for agent in online] + [f"off-{number}" for number in range(offline)]
    return FleetSample(examined, accepting, online, has_more)


def code(fleet: FleetSample) -> str | None:
    reason = waiting_rules.reason_of_fleet(TASK, fleet)
    return None if reason is None else reason.code


@pytest.mark.parametrize(
    ("fleet", "expected"),
    [
        (sample(examined=0), "no_agent"),
        (sample(), "no_agent_with_intent"),
        (sample(has_more=True), "no_agent_with_intent"),
        (sample(offline=2), "no_online_agent_with_intent"),
        (sample({}), None),
        (sample(OTHER_REPO, OTHER_USER, PAUSED, DRAINING, BUSY, {}), None),
        (sample(OTHER_REPO, OTHER_USER, PAUSED, DRAINING, BUSY), "busy"),
        (sample(OTHER_REPO, OTHER_USER, DRAINING, PAUSED), "paused"),
        (sample(OTHER_REPO, OTHER_USER, DRAINING), "draining"),
        (sample(OTHER_REPO, OTHER_USER), "submitter_not_admitted"),
        (sample(OTHER_REPO, OTHER_REPO, offline=1), "repo_not_admitted"),
        (sample(OTHER_REPO | OTHER_USER | PAUSED | BUSY), "repo_not_admitted"),
        (sample(PAUSED | DRAINING), "draining"),
        (sample(PAUSED | BUSY), "paused"),
        (sample({"claims": make_claims(MAX_CLAIMS - 1, 0)}), None),
        (sample({"claims": make_claims(MAX_CLAIMS, 0)}), "busy"),
    ],
)
def test_reason_is_what_ends_soonest(fleet: FleetSample, expected: str | None) -> None:
    assert code(fleet) == expected


@pytest.mark.parametrize(
    ("fleet", "message"),
    [
        (sample(), "None of your agents accepts the intent fix-bug. "),
        (sample(has_more=True), "None of the first 2000 agents accepts the intent fix-bug. "),
        (sample(offline=1), "None of your agents that accept the intent fix-bug is online: off-0. Start one: "),
        (
            sample(offline=5),
            "None of your agents that accept the intent fix-bug is online: off-0, off-1, off-2 and 2 more",
        ),
        (sample(offline=1, has_more=True), "None of the first 2000 agents that accept the intent fix-bug is online"),
        (sample(BUSY, PAUSED), "No online agent that accepts the intent fix-bug is free. Busy: on-0. "),
        (sample(PAUSED, has_more=True), "None of the first 1 online agents that accept the intent fix-bug claims "),
        (sample(DRAINING), "No online agent that accepts the intent fix-bug claims tasks now. Finishing "),
        (
            sample(OTHER_USER),
            "No online agent that accepts the intent fix-bug may claim this task. Not admitting user ",
        ),
        (sample(OTHER_REPO), "No online agent that accepts the intent fix-bug admits this task's repository: on-0. "),
        (sample(examined=0), "You have no agent. Register and start one: devflow agent register"),
    ],
)
def test_message_states_what_was_examined(fleet: FleetSample, message: str) -> None:
    reason = waiting_rules.reason_of_fleet(TASK, fleet)
    assert reason is not None
    assert reason.message.startswith(message)
    assert "github.com" not in reason.message, "an old task's repository may contain credentials"


@pytest.mark.parametrize(
    ("agent", "expected", "text"),
    [
        (None, "pinned_agent_removed", "was removed. "),
        (make_agent(state=REMOVED), "pinned_agent_removed", "was removed. "),
        (make_agent(capabilities=["x"]), "pinned_agent_lacks_intent", "does not accept the intent fix-bug. "),
        (make_agent(state="inactive", paused=True), "pinned_agent_offline", "is offline. "),
        (make_agent(**OTHER_REPO), "pinned_agent_repo_not_admitted", "does not admit the task's repository. "),
        (make_agent(**OTHER_USER), "pinned_agent_submitter_not_admitted", "does not admit user user-1. "),
        (make_agent(**PAUSED), "pinned_agent_paused", "is paused. "),
        (make_agent(**DRAINING), "pinned_agent_draining", "finishes its last tasks and then stops. "),
        (make_agent(**BUSY), "pinned_agent_busy", "is busy. "),
    ],
)
def test_reason_of_a_pinned_task_is_about_its_agent(agent: Agent | None, expected: str, text: str) -> None:
    reason = waiting_rules.reason_of_pinned(TASK.model_copy(update={"pinned_agent_id": "agent-1"}), agent)
    assert reason is not None
    assert reason.code == expected
    assert reason.message.startswith(f"The task is pinned to agent agent-1, which {text}")


def test_pinned_task_whose_agent_is_about_to_claim_it_has_no_reason() -> None:
    assert waiting_rules.reason_of_pinned(TASK.model_copy(update={"pinned_agent_id": "agent-1"}), make_agent()) is None
    error = make_agent(state="error")  # it polls
    assert waiting_rules.reason_of_pinned(TASK.model_copy(update={"pinned_agent_id": "agent-1"}), error) is None
