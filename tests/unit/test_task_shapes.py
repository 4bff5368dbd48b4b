"""chalicelib/tasks/requests.py: what clients send about tasks, and what is kept of it."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from chalicelib.core.errors import MissingFields, ProgressOutOfRange
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

ITEM = 400 * KB
"""DynamoDB's limit for one item."""


def execute(**values: Any) -> ExecuteWorkflowRequest:
    given = {
        "taskId": "task-1",
        "intent": "fix-bug",
        "repo": "https://github.com/user/repo",
        "naturalLanguage": "Do it",
    }
    return ExecuteWorkflowRequest.model_validate(given | values)


def complete(**values: Any) -> CompleteReport:
    return CompleteReport.model_validate({"success": True} | values)


def size(result: StoredResult) -> int:
    return sum(len(str(text).encode()) for _, text in result if text is not None)


def test_a_submission_has_the_documented_defaults() -> None:
    request = execute()
    assert (request.priority, request.timeout_seconds, request.max_attempts) == (0, 7_200, 2)
    assert (request.branch, request.context, request.agent_id) == (None, None, None)


@pytest.mark.parametrize(
    "wrong",
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
def test_a_submission_that_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        execute(**wrong)


def test_the_same_request_sent_twice_is_known_again_under_any_id() -> None:
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
def test_another_request_is_another_digest(other: dict[str, Any]) -> None:
    assert execute(**other).digest() != execute().digest()


@pytest.mark.parametrize("progress", [0, 0.0, 0.45, 1, 1.0])
def test_progress_goes_from_0_to_1(progress: float) -> None:
    assert parse(ProgressReport, {"progress": progress}).progress == progress


@pytest.mark.parametrize("progress", [-0.01, 1.01, 45, "0.5", True, False, [], {}, float("nan"), float("inf"), 10**400])
def test_progress_out_of_range_or_of_another_kind_has_the_title_of_the_spec(progress: object) -> None:
    with pytest.raises(ProgressOutOfRange):
        parse(ProgressReport, {"progress": progress})


@pytest.mark.parametrize("body", [{}, {"progress": None}, {"step": "x"}])
def test_progress_is_required(body: dict[str, Any]) -> None:
    with pytest.raises(MissingFields) as missing:
        parse(ProgressReport, body)
    assert missing.value.details == ["progress"]


def test_a_report_within_the_limits_is_kept_word_for_word() -> None:
    files = {"commit": "abc123", "files": ["src/auth/login.ts", "tests/auth.test.ts"], "extra": {"a": [1, None]}}
    kept = requests.to_stored_result(
        complete(summary="Fixed", output="Created", prUrl="https://x/pull/1", resultFiles=files)
    )
    assert (kept.summary, kept.output, kept.pr_url, kept.error) == ("Fixed", "Created", "https://x/pull/1", None)
    assert json.loads(kept.result_files or "") == files


@pytest.mark.parametrize("letter", ["x", "é", "日", "👍", '"', "\\", "\u0000"])
def test_a_report_twice_the_size_of_an_item_is_cut_with_a_marker_and_fits(letter: str) -> None:
    text = letter * (ITEM // len(letter.encode()))
    files = {"commit": text, "files": [text, text]}
    kept = requests.to_stored_result(complete(summary=text, output=text, prUrl=text, resultFiles=files))
    assert size(kept) < ITEM - 8 * KB
    for cut in (kept.summary, kept.output, kept.pr_url):
        assert "[cut" in (cut or "")
    assert json.loads(kept.result_files or "")["truncated"] is True
    failed = requests.to_stored_result(FailReport.model_validate({"error": text, "details": text, "logs": text}))
    assert size(failed) < ITEM - 8 * KB
    assert "[cut" in (failed.error or "")
    assert "[cut" in (failed.details or "")


@pytest.mark.parametrize("in_a_list", [True, False])
def test_of_too_many_result_files_as_many_are_kept_as_fit_and_the_commit(in_a_list: bool) -> None:  # noqa: FBT001
    names = [f"src/a/rather/long/path/to/a/file/number-{number:06d}.py" for number in range(5_000)]
    files: Any = names if in_a_list else {"commit": "abc123", "files": names}
    kept = json.loads(requests.to_stored_result(complete(resultFiles=files)).result_files or "")
    assert kept["truncated"] is True
    assert kept["files"] == names[: len(kept["files"])]
    assert len(kept["files"]) > 800
    assert kept.get("commit") == (None if in_a_list else "abc123")


@pytest.mark.parametrize(
    "files", [{"files": "x" * 100_000}, {"other": "x" * 100_000}, {"files": ["x" * 100_000], "commit": 5}]
)
def test_result_files_of_a_strange_shape_that_are_too_large_are_no_trouble(files: dict[str, Any]) -> None:
    kept = json.loads(requests.to_stored_result(complete(resultFiles=files)).result_files or "")
    assert kept == {"files": [], "truncated": True}


def test_a_completion_without_success_is_a_failure_for_which_the_summary_is_the_reason() -> None:
    assert requests.to_stored_result(complete(success=False, summary="Tests fail")).error == "Tests fail"
    assert requests.to_stored_result(complete(success=False)).error == "The agent reported no success."


@pytest.mark.parametrize("wrong", [{}, {"error": ""}, {"error": " "}, {"error": None}])
def test_a_failure_needs_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(MissingFields) as missing:
        parse(FailReport, wrong)
    assert missing.value.details == ["error"]


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ({}, ["intent", "repo", "naturalLanguage", "taskId"]),
        ({"taskId": "t", "intent": None, "repo": "", "naturalLanguage": " "}, ["intent", "repo", "naturalLanguage"]),
    ],
)
def test_every_missing_field_is_named(body: dict[str, Any], missing: list[str]) -> None:
    with pytest.raises(MissingFields) as refused:
        parse(ExecuteWorkflowRequest, body)
    assert sorted(refused.value.details or []) == sorted(missing)
