"""chalicelib/tasks/requests.py: which requests about tasks are valid, and which parts of them are stored."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from chalicelib.core.errors import MissingFields, ProgressOutOfRange, TooLarge
from chalicelib.core.settings import KB
from chalicelib.http import parse
from chalicelib.tasks import requests
from chalicelib.tasks.requests import (
    CompleteReport,
    ExecuteWorkflowRequest,
    FailReport,
    ProgressReport,
    StoredResult,
    SubmitTaskRequest,
)

MAX_ITEM_BYTES = 400 * KB
"""DynamoDB's limit for the size of an item."""


def execute(**values: Any) -> ExecuteWorkflowRequest:
    defaults = {
        "taskId": "task-1",
        "intent": "fix-bug",
        "repo": "https://github.com/user/repo",
        "naturalLanguage": "Do it",
    }
    return ExecuteWorkflowRequest.model_validate(defaults | values)


def complete(**values: Any) -> CompleteReport:
    return CompleteReport.model_validate({"success": True} | values)


def size(result: StoredResult) -> int:
    return sum(len(str(text).encode()) for _, text in result if text is not None)


def test_submission_has_the_documented_defaults() -> None:
    request = execute()
    assert (request.priority, request.timeout_seconds, request.max_attempts) == (0, 7_200, 2)
    assert (request.branch, request.context, request.agent_id) == (None, None, None)


@pytest.mark.parametrize(
    "invalid",
    [
        {"taskId": "no/slash"},
        {"intent": "two words"},
        {"intent": "x" * 65},
        {"repo": "x" * 513},
        {"repo": " "},
        {"branch": "x" * 256},
        {"naturalLanguage": ""},
        {"naturalLanguage": 5},
        {"context": "text"},
        {"context": ["list"]},
        {"agentId": "no slash/"},
        {"priority": 101},
        {"priority": -101},
        {"priority": 0.5},
        {"timeoutSeconds": 59},
        {"timeoutSeconds": 86_401},
        {"maxAttempts": 0},
        {"maxAttempts": 11},
    ],
)
def test_invalid_submission_is_rejected(invalid: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        execute(**invalid)


def test_repeated_request_has_the_same_digest_under_any_id() -> None:
    assert execute().digest() == execute(taskId="task-2", unknownField=1).digest()
    same = SubmitTaskRequest.model_validate(
        {"intent": "fix-bug", "repo": "https://github.com/user/repo", "naturalLanguage": "Do it"}
    )
    assert execute().digest() == same.digest()
    assert execute(context={"a": 1, "b": 2}).digest() == execute(context={"b": 2, "a": 1}).digest()


@pytest.mark.parametrize(
    "other",
    [
        {"intent": "feature"},
        {"repo": "r"},
        {"branch": "main"},
        {"naturalLanguage": "x"},
        {"context": {}},
        {"priority": 1},
    ],
)
def test_different_request_has_a_different_digest(other: dict[str, Any]) -> None:
    assert execute(**other).digest() != execute().digest()


@pytest.mark.parametrize("progress", [0, 0.0, 0.45, 1, 1.0])
def test_progress_may_be_from_0_to_1(progress: float) -> None:
    assert parse(ProgressReport, {"progress": progress}).progress == progress


@pytest.mark.parametrize("progress", [-0.01, 1.01, 45, "0.5", True, False, [], {}, float("nan"), float("inf"), 10**400])
def test_invalid_progress_raises_the_error_of_the_specification(progress: object) -> None:
    with pytest.raises(ProgressOutOfRange):
        parse(ProgressReport, {"progress": progress})


@pytest.mark.parametrize("body", [{}, {"progress": None}, {"step": "x"}])
def test_progress_is_required(body: dict[str, Any]) -> None:
    with pytest.raises(MissingFields) as missing:
        parse(ProgressReport, body)
    assert missing.value.details == ["progress"]


def test_report_within_the_limits_is_stored_unchanged() -> None:
    files = {"commit": "abc123", "files": ["src/auth/login.ts", "tests/auth.test.ts"], "extra": {"a": [1, None]}}
    result = requests.to_stored_result(
        complete(summary="Fixed", output="Created", prUrl="https://x/pull/1", resultFiles=files)
    )
    assert (result.summary, result.output, result.pr_url, result.error) == (
        "Fixed",
        "Created",
        "https://x/pull/1",
        None,
    )
    assert json.loads(result.result_files or "") == files


@pytest.mark.parametrize("letter", ["x", "é", "日", "👍", '"', "\\", "\u0000"])
def test_report_larger_than_an_item_is_cut_with_a_marker(letter: str) -> None:
    text = letter * (MAX_ITEM_BYTES // len(letter.encode()))
    files = {"commit": text, "files": [text, text]}
    completed = requests.to_stored_result(complete(summary=text, output=text, prUrl=text, resultFiles=files))
    assert size(completed) < MAX_ITEM_BYTES - 8 * KB
    for stored_text in (completed.summary, completed.output, completed.pr_url):
        assert "[cut" in (stored_text or "")
    assert json.loads(completed.result_files or "")["truncated"] is True
    failed = requests.to_stored_result(FailReport.model_validate({"error": text, "details": text, "logs": text}))
    assert size(failed) < MAX_ITEM_BYTES - 8 * KB
    assert "[cut" in (failed.error or "")
    assert "[cut" in (failed.details or "")


@pytest.mark.parametrize("as_list", [True, False])
def test_the_commit_and_the_first_of_too_many_result_files_are_stored(as_list: bool) -> None:  # noqa: FBT001
    names = [f"src/a/rather/long/path/to/a/file/number-{number:06d}.py" for number in range(5_000)]
    files: Any = names if as_list else {"commit": "abc123", "files": names}
    stored = json.loads(requests.to_stored_result(complete(resultFiles=files)).result_files or "")
    assert stored["truncated"] is True
    assert stored["files"] == names[: len(stored["files"])]
    assert len(stored["files"]) > 800
    assert stored.get("commit") == (None if as_list else "abc123")


@pytest.mark.parametrize(
    "files", [{"files": "x" * 100_000}, {"other": "x" * 100_000}, {"files": ["x" * 100_000], "commit": 5}]
)
def test_too_large_result_files_of_another_shape_are_left_out(files: dict[str, Any]) -> None:
    stored = json.loads(requests.to_stored_result(complete(resultFiles=files)).result_files or "")
    assert stored == {"files": [], "truncated": True}


def test_summary_of_an_unsuccessful_completion_is_stored_as_its_error() -> None:
    assert requests.to_stored_result(complete(success=False, summary="Tests fail")).error == "Tests fail"
    assert requests.to_stored_result(complete(success=False)).error == "The agent reported no success."


@pytest.mark.parametrize("invalid", [{}, {"error": ""}, {"error": " "}, {"error": None}])
def test_failure_report_requires_an_error(invalid: dict[str, Any]) -> None:
    with pytest.raises(MissingFields) as missing:
        parse(FailReport, invalid)
    assert missing.value.details == ["error"]


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ({}, ["intent", "repo", "naturalLanguage", "taskId"]),
        ({"taskId": "t", "intent": None, "repo": "", "naturalLanguage": " "}, ["intent", "repo", "naturalLanguage"]),
    ],
)
def test_error_names_every_missing_field(body: dict[str, Any], missing: list[str]) -> None:
    with pytest.raises(MissingFields) as rejected:
        parse(ExecuteWorkflowRequest, body)
    assert sorted(rejected.value.details or []) == sorted(missing)


def test_description_and_context_are_measured_as_they_are_stored() -> None:
    stored = requests.to_stored_context({"a": [1e15, "é"]})
    assert stored == '{"a":[1000000000000000.0,"é"]}'
    size = len(stored.encode())
    requests.check_fits("é" * ((requests.MAX_BODY_BYTES - size) // 2), stored)
    requests.check_fits("x" * requests.MAX_BODY_BYTES, requests.to_stored_context(None))
    with pytest.raises(TooLarge, match="as they are stored"):
        requests.check_fits("x" * (requests.MAX_BODY_BYTES - size + 1), stored)


def test_size_of_the_final_log_includes_the_text_of_the_failure() -> None:
    assert CompleteReport(success=True).log_end is None
    assert CompleteReport.model_validate({"success": True, "logBytes": 5}).log_end == 5
    assert FailReport(error="e", logs="größe").log_end is None
    assert FailReport.model_validate({"error": "e", "logBytes": 5}).log_end == 5
    assert FailReport.model_validate({"error": "e", "logs": "größe", "logBytes": 5}).log_end == 12
