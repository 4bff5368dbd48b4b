"""Malformed requests to every route. The response is never a 500, has no stack trace and has the shape of the contract.
A rejected request changes nothing.

The routes come from the app's own table, so a new route is tested at once.
"""

import json
from collections.abc import Collection
from itertools import product
from typing import Any

import pytest

from tests.conftest import Clock
from tests.http.conftest import Routes
from tests.http.scenario import Scenario, refused, snapshot

KB = 1_024

NOT_JSON: dict[str, bytes] = {
    "blank": b" \r\n\t ",
    "cut off": b'{"progress": 0.5',
    "a word": b"hello",
    "single quotes": b"{'a': 1}",
    "a trailing comma": b'{"a": 1,}',
    "two values": b"{} {}",
    "a comment": b"{} // {}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"progress": 0.5}'.encode("utf-16"),
    "invalid UTF-8": b'{"progress": 0.5, "step": "\xff\xfe"}',
    "invalid UTF-8 in a key": b'{"\xc3": 0.5}',
    "an overlong encoding": b'{"step": "\xc0\xaf"}',
    "a surrogate alone in UTF-8": b'{"error": "\xed\xa0\x80"}',
    "a raw NUL": b'{"error": "a\x00b"}',
    "only a NUL": b"\x00",
    "NaN": b'{"progress": NaN}',
    "Infinity": b'{"progress": Infinity}',
    "minus Infinity": b'{"progress": -Infinity}',
    "nested 100,000 deep": b"[" * 100_000,
    "nested 100,000 deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "nested in the context": b'{"intent": "i", "context": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001,
    "a form": b"progress=0.5&success=true",
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
}

NOT_AN_OBJECT: dict[str, bytes] = {
    "an array": b"[]",
    "an array of an object": b'[{"progress": 0.5}]',
    "a string": b'"hello"',
    "a number": b"5",
    "true": b"true",
    "null": b"null",
}

OTHER_TYPES = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml",
               "application/octet-stream", "application/jsonp", "json", "", "application", "\u00e9"]  # fmt: skip


@pytest.fixture
def populated(scenario: Scenario) -> Scenario:
    """A user with agent-1, which runs task-1. So every route has data that it could change."""
    scenario.start_task(scenario.agent())
    return scenario


def send_to_all(
    scenario: Scenario, routes: Routes, clock: Clock, content: bytes, *, only: Collection[str] | None = None
) -> dict[str, int]:
    """Send one body to every route that may read a body, or to those in `only`, and check every response.

    Returns the status by path, for the routes in Routes.BODIES.
    """
    clock.advance(60)  # the rate limits are not under test
    statuses = {}
    for method, resource in routes.all:
        if method == "GET" or (only is not None and resource not in only):
            continue
        before = snapshot()
        response = scenario.user.send(method, routes.path(resource), content)
        what = f"{method} {resource} with {content[:50]!r}: {response}"
        assert response.status < 500, what
        if response.status >= 400:
            refused(response, response.status)
            assert snapshot() == before, what
        else:
            assert response.header("Content-Type") == "application/json", what
            json.loads(response.body)
        if method == "POST" and resource in routes.BODIES:
            statuses[resource] = response.status
    assert set(statuses) == set(routes.BODIES) & set(only or routes.BODIES)
    return statuses


SOME = ("/api/tasks", "/api/tasks/{task_id}/complete", "/api/auth/pin/login")


def test_body_that_is_not_json_returns_400(populated: Scenario, routes: Routes, clock: Clock) -> None:
    for what, content in NOT_JSON.items():
        assert set(send_to_all(populated, routes, clock, content, only=SOME).values()) == {400}, what


def test_json_body_that_is_not_an_object_returns_400(populated: Scenario, routes: Routes, clock: Clock) -> None:
    for what, content in NOT_AN_OBJECT.items():
        assert set(send_to_all(populated, routes, clock, content, only=SOME).values()) == {400}, what


@pytest.mark.parametrize("what", ["invalid UTF-8", "nested 100,000 deep and closed", "an array"])
def test_every_route_rejects_an_unreadable_body(populated: Scenario, routes: Routes, clock: Clock, what: str) -> None:
    assert set(send_to_all(populated, routes, clock, (NOT_JSON | NOT_AN_OBJECT)[what]).values()) == {400}


def test_missing_or_unsupported_content_type_returns_415(populated: Scenario, routes: Routes, clock: Clock) -> None:
    before = snapshot()
    for content_type, (resource, body) in product([*OTHER_TYPES, None], routes.BODIES.items()):
        clock.advance(10)  # the rate limits are not under test
        headers = {"Authorization": f"Bearer {populated.user.token}"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        content = json.dumps(body).encode()
        response = populated.user.transport.call("POST", routes.path(resource), headers.items(), content)
        refused(response, 415, "Unsupported content type")
    assert snapshot() == before


@pytest.mark.parametrize(
    "content_type", ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json ;x=y"]
)
def test_json_content_type_may_have_any_case_and_parameters(scenario: Scenario, content_type: str) -> None:
    body = b'{"intent": "i", "repo": "r", "naturalLanguage": "n"}'
    assert scenario.user.post("/api/tasks", body, Content_Type=content_type).status == 202


def test_get_ignores_its_body(populated: Scenario, routes: Routes) -> None:
    for method, resource in routes.all:
        if method == "GET":
            plain = populated.user.get(routes.path(resource))
            for content, content_type in ((b"[" * 100_000, "application/json"), (b"\xff", "text/plain"), (b"", "x")):
                response = populated.user.send("GET", routes.path(resource), content, Content_Type=content_type)
                assert (response.status, response.header("Content-Type")) == (
                    plain.status,
                    plain.header("Content-Type"),
                )


def test_body_without_required_fields_returns_400(populated: Scenario, routes: Routes, clock: Clock) -> None:
    for content in (b"", b"{}", b'{"a": 1, "__proto__": {}, "__class__": "x", "\\u0000": ""}'):
        assert set(send_to_all(populated, routes, clock, content, only=routes.BODIES).values()) == {400}, content


def test_body_of_300_kb_is_too_large_except_for_reports(populated: Scenario, routes: Routes, clock: Clock) -> None:
    content = json.dumps({"filler": "x" * 300 * KB}).encode()
    for resource, status in send_to_all(populated, routes, clock, content).items():
        assert status == (400 if resource.endswith(("/complete", "/fail", "/logs")) else 413), resource
    refused(populated.user.post("/api/agents/agent-1/heartbeat", content), 413, "Request too large")


def test_body_of_more_than_1_mb_is_too_large_for_every_route(populated: Scenario, routes: Routes, clock: Clock) -> None:
    content = json.dumps({"success": True, "error": "e", "output": "x" * 1_024 * KB}).encode()
    assert set(send_to_all(populated, routes, clock, content).values()) == {413}


FIELDS = ["agentId", "name", "version", "platform", "capabilities", "concurrency", "taskId", "intent", "repo", "branch",
          "naturalLanguage", "context", "priority", "timeoutSeconds", "maxAttempts", "status", "step", "progress",
          "details", "success", "summary", "output", "prUrl", "resultFiles", "error", "logs", "attempt", "email", "pin",
          "uptime", "taskCount", "memoryUsage", "cpuUsage", "taskIds", "instanceId", "replace"]  # fmt: skip


UNUSUAL_VALUES: list[Any] = [None, "", "\0", "x" * 6_000, 10**400, -1, 1e308, [], [[]], {}, {"a": {}}, True]


def test_unusual_values_in_all_fields_cause_no_server_error(populated: Scenario, routes: Routes, clock: Clock) -> None:
    for value in UNUSUAL_VALUES:
        body = json.dumps(dict.fromkeys(FIELDS, value)).encode()
        send_to_all(populated, routes, clock, body, only=[*routes.BODIES, "/api/agents/{agent_id}/heartbeat"])


def test_unusual_queries_cause_no_server_error(populated: Scenario, routes: Routes) -> None:
    for method, resource in routes.all:
        if method == "GET":
            for query in ("limit=%00", "limit=1&limit=x", "limit=" + "9" * 5_000, "cursor=%FF", "cursor=" + "A" * 4_000,
                          "status=%F0%9F", "=&&&%&limit[]=1&a=" + "x" * 20_000):  # fmt: skip
                response = populated.user.get(f"{routes.path(resource)}?{query}")
                assert response.status < 500, (query, resource, response)
                if response.status >= 400:
                    refused(response, response.status)


def test_accept_header_does_not_change_the_json_response(populated: Scenario, routes: Routes) -> None:
    accepts = ("application/octet-stream", "")
    for (method, resource), accept in product(routes.all, accepts):
        response = populated.user.send(method, routes.path(resource), {}, Accept=accept, Accept_Encoding="br")
        assert response.status < 500, (method, resource, response)
        if (resource.startswith("/api") and response.status != 302) or response.status >= 400:
            assert response.header("Content-Type") == "application/json", (method, resource)
