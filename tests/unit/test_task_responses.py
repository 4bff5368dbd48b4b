"""chalicelib/tasks/responses.py: what the responses about tasks contain."""

import json
from typing import Any

from chalicelib.tasks import responses
from chalicelib.tasks.entities import Task, TaskEvent
from chalicelib.tasks.requests import StoredResult, TaskBody

NOW = 1_763_938_000_000


def task(**values: Any) -> Task:
    defaults: dict[str, Any] = {
        "owner": "user-1",
        "id": "task-1",
        "status": "failed",
        "intent": "fix-bug",
        "repo": "r",
        "title": "Do",
        "agent_id": "agent-1",
        "progress": 0.45,
        "step": "Running tests",
        "error": "cut",
        "details": "cut",
        "created_at": NOW,
        "updated_at": NOW,
        "request_digest": "secret",
        "report_digest": "secret",
    }
    return Task(**(defaults | values))


BODY = TaskBody.model_construct(description="Do it all", context={"issueId": "123"})
NO_RESULT = StoredResult.model_construct()


def test_detail_has_the_full_texts_of_the_body_and_the_result() -> None:
    result = StoredResult.model_construct(
        error="the full error", details="the full details", result_files='{"commit": "abc"}'
    )
    response = responses.to_detail(task(), BODY, result).model_dump(by_alias=True)
    assert response["description"] == "Do it all"
    assert response["context"] == {"issueId": "123"}
    assert (response["error"], response["details"], response["resultFiles"]) == (
        "the full error",
        "the full details",
        {"commit": "abc"},
    )
    assert "secret" not in json.dumps(response)


def test_detail_without_a_result_has_the_texts_of_the_head() -> None:
    response = responses.to_detail(task(), BODY, NO_RESULT).model_dump(by_alias=True)
    assert (response["error"], response["details"], response["resultFiles"], response["output"]) == (
        "cut",
        "cut",
        None,
        None,
    )


def test_detail_without_a_stored_body_has_the_beginning_of_the_description() -> None:
    response = responses.to_detail(task(), None, NO_RESULT)
    assert (response.description, response.context) == (task().title, None)


def test_detail_has_every_field_of_the_specification() -> None:
    response = responses.to_detail(task(), BODY, NO_RESULT).model_dump(by_alias=True)
    first = "id userId agentId intent repo branch description status progress"
    last = "currentStep createdAt startedAt completedAt error"
    assert {*first.split(), *last.split()} <= set(response)
    assert (response["createdAt"], response["startedAt"]) == ("2025-11-23T22:46:40Z", None)


def test_summary_of_a_pinned_task_names_its_agent() -> None:
    assert responses.to_summary(task(status="queued", agent_id=None, pinned_agent_id="agent-7")).agent_id == "agent-7"
    assert responses.to_summary(task(status="queued", agent_id=None)).agent_id is None


def test_command_has_the_keys_of_the_specification() -> None:
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


def test_command_of_a_task_without_context_has_an_empty_context() -> None:
    assert responses.to_command(task(), TaskBody.model_construct(description="x", context=None)).context == {}


def test_event_response_has_the_fields_of_the_event() -> None:
    response = responses.to_event_response(TaskEvent("task.step", NOW, "in_progress", 2, "agent-1", "Running tests"))
    assert response.model_dump(by_alias=True) == {
        "type": "task.step",
        "timestamp": "2025-11-23T22:46:40Z",
        "status": "in_progress",
        "attempt": 2,
        "agentId": "agent-1",
        "detail": "Running tests",
    }
