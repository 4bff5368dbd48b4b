"""Whatever is sent to whatever route: never a 500, never a stack trace, never another shape, and nothing changes.

Generated over the app's own table of routes, so that a route added later is tested on the day it is added.
"""

import json
from typing import Any

import pytest

from tests.http.conftest import Routes
from tests.http.scene import Agent, Scene, refused, snapshot
from tests.support.client import Client

KB = 1_024

NOT_JSON: dict[str, bytes] = {
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
    "a lone surrogate": rb'{"progress": 0.5, "error": "\ud800", "success": true, "step": "\ud800"}',
    "a surrogate alone in UTF-8": b'{"error": "\xed\xa0\x80"}',
    "a raw NUL": b'{"error": "a\x00b"}',
    "only a NUL": b"\x00",
    "NaN": b'{"progress": NaN}',
    "Infinity": b'{"progress": Infinity}',
    "minus Infinity": b'{"progress": -Infinity}',
    "nested 100,000 deep": b"[" * 100_000,
    "nested 100,000 deep and closed": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "nested in the context": b'{"intent": "i", "context": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001,
    "a form": b"progress=0.5&success=true",
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
}

NO_OBJECT: dict[str, bytes] = {
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
def everything(scene: Scene) -> Scene:
    """A user with agent-1, which runs task-1, so that every route has something that it could change."""
    scene.running(scene.agent())
    return scene


def sent_everywhere(
    scene: Scene, routes: Routes, content: bytes, *, by: Client | None = None, **headers: str
) -> list[tuple[str, str, int]]:
    """Send the same body to every route; what each that is known to read one answered. Asserts the module's promise."""
    answered = []
    ignoring = ()
    for method, resource in routes.all:
        before = snapshot(ignoring=ignoring)
        answer = (by or scene.user).send(method, routes.path(resource), content, **headers)
        what = f"{method} {resource}: {answer}"
        assert answer.status < 500, what
        if answer.status >= 400:
            refused(answer, answer.status)
            assert snapshot(ignoring=ignoring) == before, what
        else:
            assert answer.header("Content-Type") == "application/json", what
            json.loads(answer.body)
        if resource in routes.BODIES and method == "POST":
            answered.append((method, resource, answer.status))
    assert len(answered) == len(routes.BODIES)
    return answered


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
def test_a_body_that_is_no_json_is_a_400(everything: Scene, routes: Routes, content: bytes) -> None:
    for method, resource, status in sent_everywhere(everything, routes, content):
        assert status == 400, (method, resource)


@pytest.mark.parametrize("content", NO_OBJECT.values(), ids=NO_OBJECT)
def test_a_body_that_is_no_object_is_a_400(everything: Scene, routes: Routes, content: bytes) -> None:
    for method, resource, status in sent_everywhere(everything, routes, content):
        assert status == 400, (method, resource)


@pytest.mark.parametrize("content_type", OTHER_TYPES)
def test_another_content_type_is_a_415(everything: Scene, routes: Routes, content_type: str) -> None:
    for method, resource in routes.all:
        if resource not in routes.BODIES or method != "POST":
            continue
        before = snapshot()
        body = json.dumps(routes.body(method, resource)).encode()
        answer = everything.user.send(method, routes.path(resource), body, Content_Type=content_type)
        refused(answer, 415, "Unsupported content type")
        assert snapshot() == before, (method, resource)


def test_no_content_type_at_all_is_a_415(everything: Scene, routes: Routes) -> None:
    before = snapshot()
    for method, resource in routes.all:
        if resource in routes.BODIES and method == "POST":
            body = json.dumps(routes.body(method, resource)).encode()
            headers = {"Authorization": f"Bearer {everything.user.token}"}.items()
            answer = everything.user.transport.call(method, routes.path(resource), headers, body)
            refused(answer, 415, "Unsupported content type")
    assert snapshot() == before


@pytest.mark.parametrize(
    "content_type", ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json ;x=y"]
)
def test_json_may_be_called_json_in_any_case_and_with_parameters(scene: Scene, content_type: str) -> None:
    body = b'{"intent": "i", "repo": "r", "naturalLanguage": "n"}'
    assert scene.user.post("/api/tasks", body, Content_Type=content_type).status == 202


def test_reading_does_not_care_for_the_content_type(everything: Scene, routes: Routes) -> None:
    for method, resource in routes.all:
        if method == "GET":
            plain = everything.user.get(routes.path(resource))
            for content_type in OTHER_TYPES:
                answer = everything.user.get(routes.path(resource), Content_Type=content_type)
                assert (answer.status, answer.header("Content-Type")) == (plain.status, plain.header("Content-Type"))


@pytest.mark.parametrize("content", [b"", b" \r\n\t "], ids=["empty", "blank"])
def test_an_empty_body_has_no_fields(everything: Scene, routes: Routes, content: bytes) -> None:
    for method, resource, status in sent_everywhere(everything, routes, content):
        assert status == 400, (method, resource)


def test_a_body_of_300_kb_is_too_large_but_for_a_report(everything: Scene, routes: Routes) -> None:
    content = json.dumps({"filler": "x" * 300 * KB}).encode()
    for method, resource, status in sent_everywhere(everything, routes, content):
        reports = resource.endswith(("/complete", "/fail"))
        assert status == (400 if reports else 413), (method, resource)
    answer = everything.user.post("/api/agents/agent-1/heartbeat", content)
    refused(answer, 413, "Request too large")


def test_a_body_of_more_than_1_mb_is_too_large_for_everything(everything: Scene, routes: Routes) -> None:
    content = json.dumps({"success": True, "error": "e", "output": "x" * 1_024 * KB}).encode()
    for method, resource, status in sent_everywhere(everything, routes, content):
        assert status == 413, (method, resource)


@pytest.mark.parametrize(
    "content",
    [b"{}", b'{"a": 1}', b'{"": ""}', b'{"__proto__": {}, "__class__": "x"}', b'{"a": 1, "a": 2}', b'{"\\u0000": "\\u0000"}'],
)
def test_an_object_of_unknown_fields_is_an_object_without_fields(
    everything: Scene, routes: Routes, content: bytes
) -> None:
    for method, resource, status in sent_everywhere(everything, routes, content):
        assert status == 400, (method, resource)


@pytest.mark.parametrize("value", [None, "", "\0", "x" * 200_000, 10**400, -1, 1e308, [], [[]], {}, {"a": {}}, True])
def test_one_value_in_every_field_never_breaks_anything(everything: Scene, routes: Routes, value: Any) -> None:
    names = ["agentId", "name", "version", "platform", "capabilities", "concurrency", "taskId", "intent", "repo", "branch",
             "naturalLanguage", "context", "priority", "timeoutSeconds", "maxAttempts", "status", "step", "progress",
             "details", "success", "summary", "output", "prUrl", "resultFiles", "error", "logs", "attempt", "email", "pin",
             "uptime", "taskCount", "memoryUsage", "cpuUsage", "taskIds", "instanceId", "replace"]  # fmt: skip
    for some in [names] if len(json.dumps(value)) < 1_000 else [[name] for name in names]:
        sent_everywhere(everything, routes, json.dumps(dict.fromkeys(some, value)).encode())


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=%00", "limit=1&limit=x", "cursor=%FF", "offset=-1", "status=%F0%9F", "=", "&&&", "%",
              "limit=" + "9" * 5_000, "a=" + "x" * 20_000, "limit[]=1", "cursor=" + "A" * 4_000]
)  # fmt: skip
def test_a_strange_query_never_breaks_anything(everything: Scene, routes: Routes, query: str) -> None:
    for method, resource in routes.all:
        answer = everything.user.send(method, f"{routes.path(resource)}?{query}", routes.body(method, resource))
        assert answer.status < 500, (method, resource, answer)
        if answer.status >= 400:
            refused(answer, answer.status)


@pytest.mark.parametrize("accept", ["application/xml", "application/octet-stream", "image/png", "*/*", "", "text/html"])
def test_whatever_a_client_accepts_it_gets_json(everything: Scene, routes: Routes, accept: str) -> None:
    for method, resource in routes.all:
        answer = everything.user.send(method, routes.path(resource), {}, Accept=accept, Accept_Encoding="br")
        assert answer.status < 500, (method, resource, answer)
        if resource.startswith("/api") or answer.status >= 400:
            assert answer.header("Content-Type") == "application/json", (method, resource)


def test_every_route_with_another_users_token_finds_nothing(everything: Scene, other: Scene, routes: Routes) -> None:
    before = snapshot(ignoring=["users"])
    for method, resource in routes.all:
        if "{" in resource:
            answer = other.user.send(method, routes.path(resource), routes.body(method, resource))
            assert answer.status in (400, 404), (method, resource, answer)
            refused(answer, answer.status)
    assert snapshot(ignoring=["users"]) == before
