"""The rules of agents in the API: who may set `repos` and `submitters`, when they stay, and which values are valid."""

from typing import Any

import pytest

from chalicelib.agents.schemas import RegisterAgentRequest
from chalicelib.core.text import fingerprint
from tests.conftest import Clock
from tests.http.scenario import Scenario, ok, refused
from tests.support.client import Client

PATTERNS = ["https://github.com/acme/*", "git@github.com:acme/*"]
REGISTRATION: dict[str, Any] = {"agentId": "agent-1", "name": "n", "version": "1"}


def rules_of(agent: Any) -> tuple[Any, Any]:
    return agent["repos"], agent["submitters"]


def test_rules_are_given_at_registration_and_changed_by_the_user(user: Client) -> None:
    assert rules_of(ok(user.post("/api/agents", REGISTRATION), 201)["agent"]) == (None, None)
    other = REGISTRATION | {"agentId": "agent-2", "repos": [*PATTERNS, PATTERNS[0]], "submitters": ["user-2", "user-2"]}
    assert rules_of(ok(user.post("/api/agents", other), 201)["agent"]) == (PATTERNS, ["user-2"])
    assert [rules_of(each) for each in ok(user.get("/api/agents"))["data"]] == [(None, None), (PATTERNS, ["user-2"])]

    def patch(**fields: Any) -> tuple[Any, Any]:
        changed = ok(user.patch("/api/agents/agent-2", fields))
        assert ok(user.get("/api/agents/agent-2")) == changed
        return rules_of(changed)

    assert patch(name="renamed", paused=True, note="n") == (PATTERNS, ["user-2"])
    assert patch(repos=[" github.com/acme/* "]) == (["github.com/acme/*"], ["user-2"])
    assert patch(repos=None) == (None, ["user-2"])
    assert patch(submitters=None) == (None, None)
    assert patch(repos=["*"], submitters=["a", "b"], paused=False) == (["*"], ["a", "b"])


@pytest.mark.parametrize("name", ["repos", "submitters"])
def test_empty_list_is_refused_because_it_could_be_meant_as_none(user: Client, name: str) -> None:
    assert name in str(refused(user.post("/api/agents", REGISTRATION | {name: []}), 400))
    ok(user.post("/api/agents", REGISTRATION), 201)
    refused(user.patch("/api/agents/agent-1", {name: []}), 400)
    assert rules_of(ok(user.get("/api/agents/agent-1"))) == (None, None)


def test_rules_stay_when_the_agent_is_registered_again(user: Client) -> None:
    body = REGISTRATION | {"repos": PATTERNS, "submitters": ["user-2"]}
    ok(user.post("/api/agents", body, Idempotency_Key="k-1"), 201)
    ok(user.patch("/api/agents/agent-1", {"repos": PATTERNS[:1]}))
    assert rules_of(ok(user.post("/api/agents", body, Idempotency_Key="k-1"), 201)["agent"]) == (
        PATTERNS[:1],
        ["user-2"],
    )
    for none in (REGISTRATION, REGISTRATION | {"repos": None, "submitters": None}):
        again = ok(user.post("/api/agents", none | {"replace": True}), 201)["agent"]
        assert rules_of(again) == (PATTERNS[:1], ["user-2"])
    again = ok(user.post("/api/agents", REGISTRATION | {"replace": True, "repos": ["*"]}), 201)["agent"]
    assert rules_of(again) == (["*"], ["user-2"])
    ok(user.delete("/api/agents/agent-1"))
    assert rules_of(ok(user.post("/api/agents", REGISTRATION), 201)["agent"]) == (None, None)


def test_rules_end_with_a_removed_agent_that_still_has_a_row(scenario: Scenario, clock: Clock) -> None:
    agent = scenario.agent(repos=["*"], submitters=[scenario.user_id()])
    scenario.queue_tasks("pinned", agentId=agent.id)  # its row stays for a minute
    ok(scenario.user.delete("/api/agents/agent-1"))
    again = ok(scenario.user.post("/api/agents", REGISTRATION), 201)["agent"]
    assert rules_of(again) == (None, None)
    scenario.queue_tasks("free")
    assert ok(scenario.user.get("/api/agents/agent-1/commands"))["commands"][0]["task_id"] == "free"


def test_agent_cannot_change_its_own_rules(scenario: Scenario) -> None:
    agent = scenario.agent(repos=PATTERNS, submitters=["user-2"])
    refused(agent.client.patch("/api/agents/agent-1", {"repos": None}), 403)
    refused(agent.client.post("/api/agents", REGISTRATION | {"replace": True, "repos": ["*"]}), 403)
    ok(agent.heartbeat(repos=["*"], submitters=[]))
    ok(agent.client.post("/api/agents/agent-1/token", {"repos": ["*"]}), 201)
    assert rules_of(scenario.get_agent()) == (PATTERNS, ["user-2"])


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"repos": ["https://*"]}, "repos.0: Value error, This is not a pattern of repositories. "),
        ({"repos": ["*", "https://github.com*"]}, "repos.1: Value error, This is not a pattern of repositories. "),
        ({"repos": ["https://me:s3cret@github.com/*"]}, "repos.0: Value error, The pattern contains credentials. "),
        ({"repos": ["github.com/" + "x" * 250]}, "repos.0: String should have at most 256 characters"),
        ({"repos": ["*"] * 33}, "repos: List should have at most 32 items"),
        ({"repos": "*"}, "repos: Input should be a valid list"),
        ({"submitters": ["a b"]}, "submitters.0: String should match pattern"),
        ({"submitters": ["u"] * 51}, "submitters: List should have at most 50 items"),
    ],
)
def test_invalid_rule_is_rejected_with_its_place(user: Client, fields: Any, detail: str) -> None:
    for response in (user.post("/api/agents", REGISTRATION | fields), user.patch("/api/agents/agent-1", fields)):
        body = refused(response, 400, "Invalid request")
        assert body["details"][0].startswith(detail)
        assert "s3cret" not in str(body)


def test_registration_without_rules_has_the_fingerprint_of_version_0_1_0() -> None:
    """Version 0.1.0 may have answered the first of two identical registrations, and this version gets the second."""
    request = RegisterAgentRequest.model_validate(REGISTRATION)
    in_0_1_0 = {
        "agent_id": "agent-1", "name": "n", "version": "1", "platform": None, "concurrency": None, "replace": False,
        "capabilities": ["fix-bug", "feature", "explain", "review-pr"],
    }  # fmt: skip
    assert fingerprint(request.content()) == fingerprint(in_0_1_0)
    assert fingerprint(RegisterAgentRequest.model_validate(REGISTRATION | {"repos": ["*"]}).content()) != fingerprint(
        in_0_1_0
    )
