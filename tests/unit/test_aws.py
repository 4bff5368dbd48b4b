"""chalicelib/aws/session.py: the session leaves out of botocore what our services never meet, and nothing else."""

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
"""https://docs.aws.amazon.com/boto3/latest/guide/events.html, and those that botocore has for itself."""


@pytest.fixture
def fresh() -> Session:
    """Ours, on which nothing was registered yet."""
    made: Session = session.session.__wrapped__()
    return made


def handlers(session: Session, event: str) -> list[Any]:
    """What a session calls at an event, in its order."""
    emitter: Any = session.get_component("event_emitter")
    return list(emitter._emitter._handlers.prefix_search(event))


@pytest.mark.parametrize("service", sorted(trim.OPERATIONS))
def test_each_request_meets_the_handlers_of_botocores_own_session_in_their_order(fresh: Session, service: str) -> None:
    name = Session().get_service_model(service).service_id.hyphenize()
    events = [f"{hook}.{name}.{operation}" for hook in HOOKS for operation in trim.OPERATIONS[service]]
    whole = Session()
    met = {event: [each for each in handlers(whole, event) if each is not add_retry_headers] for event in events}
    assert {event: handlers(fresh, event) for event in events} == met
    assert any(met.values())


def test_the_services_are_those_that_functions_ask_for() -> None:
    names = {Session().get_service_model(service).service_id.hyphenize() for service in trim.OPERATIONS}
    assert names == session.SERVICES


def test_credentials_come_from_the_environment_alone_where_it_has_them(
    fresh: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    found: Any = fresh.get_credentials()
    assert (found.access_key, found.secret_key, found.token, found.method) == ("key", "secret", "token", "env")
    assert [each.METHOD for each in fresh.get_component("credential_provider").providers] == ["env"]


def test_elsewhere_botocore_looks_wherever_it_always_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr(session, "settings", replace(settings, credentials_given=False))
    built: Session = session.session.__wrapped__()
    methods = [each.METHOD for each in built.get_component("credential_provider").providers]
    assert methods == [each.METHOD for each in Session().get_component("credential_provider").providers]
    assert len(methods) > 1
    ways = [
        "getattr.signin.create_o_auth2_token",
        "before-parse.sso-oidc.CreateToken",
        "request-created.dynamodb.Query",
    ]
    for event in ways:  # `aws login`, `aws sso login`, and what is asked for then
        met = [each for each in handlers(Session(), event) if each is not add_retry_headers]
        assert handlers(built, event) == met
