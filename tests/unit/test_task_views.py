"""chalicelib/tasks/responses.py: what people and agents are shown of a task."""

import json
from typing import Any

from chalicelib.tasks import responses
from chalicelib.tasks.entities import Task, TaskEvent
from chalicelib.tasks.requests import StoredResult, TaskBody

NOW = 1_763_938_000_000


def task(**values: Any) -> Task:
    given: dict[str, Any] = {
        "owner": "user-1",
        "id": "task-1",
        "status": "failed",
        "intent": "fix-bug",
        "repo": "r",
        "title": "Do",
        "agent_id": "agent-1",
        "progress": 0.45,
        "step": "Running tests",
        "error": "cut short",
        "details": "cut short",
        "created_at": NOW,
        "updated_at": NOW,
        "request_digest": "hush",
        "report_digest": "hush",
    }
    return Task(**(given | values))


BODY = TaskBody.model_construct(description="Do it all", context={"issueId": "123"})
NOTHING = StoredResult.model_construct()


def test_a_task_is_shown_with_the_whole_texts_of_its_body_and_result() -> None:
    result = StoredResult.model_construct(
        error="the whole error", details="all details", result_files='{"commit": "abc"}'
    )
    said = responses.to_detail(task(), BODY, result).model_dump(by_alias=True)
    assert said["description"] == "Do it all"
    assert said["context"] == {"issueId": "123"}
    assert (said["error"], said["details"], said["resultFiles"]) == (
        "the whole error",
        "all details",
        {"commit": "abc"},
    )
    assert "hush" not in json.dumps(said)


def test_a_task_without_a_result_shows_what_its_head_knows() -> None:
    said = responses.to_detail(task(), BODY, NOTHING).model_dump(by_alias=True)
    assert (said["error"], said["details"], said["resultFiles"], said["output"]) == (
        "cut short",
        "cut short",
        None,
        None,
    )


def test_a_task_shows_every_field_of_the_spec() -> None:
    said = responses.to_detail(task(), BODY, NOTHING).model_dump(by_alias=True)
    first = "id userId agentId intent repo branch description status progress"
    last = "currentStep createdAt startedAt completedAt error"
    assert {*first.split(), *last.split()} <= set(said)
    assert (said["createdAt"], said["startedAt"]) == ("2025-11-23T22:46:40Z", None)


def test_a_task_that_waits_for_one_agent_names_it() -> None:
    assert responses.to_summary(task(status="queued", agent_id=None, pinned_agent_id="agent-7")).agent_id == "agent-7"
    assert responses.to_summary(task(status="queued", agent_id=None)).agent_id is None


def test_a_command_has_the_keys_of_the_spec_two_of_them_with_an_underscore() -> None:
    command = responses.to_command(task(branch=None, attempt=2, timeout=7_200_000), BODY)
    assert json.loads(command.model_dump_json(by_alias=True)) == {
        "task_id": "task-1",
        "intent": "fix-bug",
        "repo": "r",
        "branch": None,
        "description": "Do it all",
        "context": {"issueId": "123"},
        "created_at": "2025-11-23T22:46:40Z",
        "attempt": 2,
        "timeoutSeconds": 7_200,
    }


def test_a_command_always_has_a_context() -> None:
    assert responses.to_command(task(), TaskBody.model_construct(description="x", context=None)).context == {}


def test_a_line_of_the_timeline() -> None:
    told = responses.to_event_response(TaskEvent("task.step", NOW, "in_progress", 2, "agent-1", "Running tests"))
    assert told.model_dump(by_alias=True) == {
        "type": "task.step",
        "timestamp": "2025-11-23T22:46:40Z",
        "status": "in_progress",
        "attempt": 2,
        "agentId": "agent-1",
        "detail": "Running tests",
    }
