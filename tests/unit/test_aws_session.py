"""chalicelib/aws/session.py: the session omits only those parts of botocore that no request of the platform uses."""

from dataclasses import replace
from typing import Any

import pytest
from botocore.handlers import add_retry_headers
from botocore.session import Session

from chalicelib.aws import session
from chalicelib.core.settings import settings
from infra.deploy import trim

HOOKS = [
    "creating-client-class", "getattr", "provide-client-params", "before-parameter-build", "before-endpoint-resolution",
    "before-call", "request-created", "choose-signer", "before-sign", "before-send", "response-received",
    "needs-retry", "before-parse", "after-call", "after-call-error",
]  # fmt: skip
"""https://docs.aws.amazon.com/boto3/latest/guide/events.html, and botocore's internal events."""


@pytest.fixture
def new_session() -> Session:
    """A new session with which nothing was registered yet."""
    created: Session = session.botocore_session.__wrapped__()
    return created


def handlers_of(botocore_session: Session, event: str) -> list[Any]:
    """The handlers that a session calls for an event, in order."""
    emitter: Any = botocore_session.get_component("event_emitter")
    return list(emitter._emitter._handlers.prefix_search(event))


@pytest.mark.parametrize("service", sorted(trim.OPERATIONS))
def test_requests_have_the_handlers_of_botocore_in_order(new_session: Session, service: str) -> None:
    name = Session().get_service_model(service).service_id.hyphenize()
    events = [f"{hook}.{name}.{operation}" for hook in HOOKS for operation in trim.OPERATIONS[service]]
    default_session = Session()
    expected = {
        event: [each for each in handlers_of(default_session, event) if each is not add_retry_headers]
        for event in events
    }
    assert {event: handlers_of(new_session, event) for event in events} == expected
    assert any(expected.values())


def test_services_are_those_that_functions_call() -> None:
    names = {Session().get_service_model(service).service_id.hyphenize() for service in trim.OPERATIONS}
    assert names == session.SERVICES


def test_credentials_in_environment_are_the_only_provider(
    new_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    found: Any = new_session.get_credentials()
    assert (found.access_key, found.secret_key, found.token, found.method) == ("key", "secret", "token", "env")
    assert [each.METHOD for each in new_session.get_component("credential_provider").providers] == ["env"]


def test_without_credentials_in_environment_all_providers_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr(session, "settings", replace(settings, credentials_given=False))
    created: Session = session.botocore_session.__wrapped__()
    methods = [each.METHOD for each in created.get_component("credential_provider").providers]
    assert methods == [each.METHOD for each in Session().get_component("credential_provider").providers]
    assert len(methods) > 1
    events = [
        "getattr.signin.create_o_auth2_token",
        "before-parse.sso-oidc.CreateToken",
        "request-created.dynamodb.Query",
    ]
    for event in events:  # of `aws login`, of `aws sso login`, and of a request after them
        expected = [each for each in handlers_of(Session(), event) if each is not add_retry_headers]
        assert handlers_of(created, event) == expected
