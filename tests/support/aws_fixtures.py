"""Fixtures that need AWS in this process: the deployed app, its gateway and its users, over moto.

tests/conftest.py loads this module as a plugin, but not for `make unit`.
"""

import gc
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from infra.local.event_poller import EventPoller
from infra.local.gateway import Gateway
from tests.support import aws_requests, moto_aws, users
from tests.support import dynamodb_local as dynamodb_local_support
from tests.support.client import Client
from tests.support.container import new_container
from tests.support.declared_responses import ContractCheckedApp
from tests.support.iam import DeployedApp


@pytest.fixture(scope="session")
def stack() -> Iterator[None]:
    """AWS in this process with infra/template.yaml deployed, once per session."""
    with moto_aws.deployed():
        gc.collect()
        gc.freeze()  # these objects live until the end; scanning them repeatedly takes a tenth of the time
        yield


@pytest.fixture
def aws(stack: None) -> None:
    """The same AWS without any rows or messages, and a new container."""
    moto_aws.empty()
    new_container()


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[str]:
    """The endpoint of Amazon's DynamoDB Local. Skips the test where it cannot run."""
    reason = dynamodb_local_support.unavailable()
    if reason:
        pytest.skip(reason)
    with dynamodb_local_support.running() as endpoint:
        yield endpoint


@pytest.fixture
def true_dynamodb(aws: None, dynamodb_local: str) -> Iterator[str]:
    """Replaces moto's DynamoDB with DynamoDB Local, over empty tables; returns its endpoint. SQS remains moto's."""
    dynamodb_local_support.create_tables(dynamodb_local)
    with aws_requests.redirected("dynamodb", dynamodb_local):
        yield dynamodb_local


@pytest.fixture
def deployed(aws: None) -> Iterator[DeployedApp]:
    """The real app over empty tables. Each function can do only what its policy in .chalice/ allows."""
    from app import app  # noqa: PLC0415  # it must not create AWS clients before moto has replaced AWS

    deployed = DeployedApp(app)
    with deployed.enforced():
        yield deployed
    assert not deployed.denied, "the policies in .chalice/ do not allow this"


@pytest.fixture
def gateway(deployed: DeployedApp) -> Iterator[Gateway]:
    """The app behind the in-process gateway. The route of each response must declare its status and error title."""
    app = ContractCheckedApp(deployed)
    yield Gateway(app)
    assert not app.violations, "the route does not declare this"


@pytest.fixture
def poller(deployed: DeployedApp) -> EventPoller:
    """Invokes the app's event handlers on demand: `poller.drain()`, `poller.sweep()`. Errors are raised, not logged."""
    return EventPoller(deployed, log=_fail)


@pytest.fixture
def anonymous(gateway: Gateway) -> Client:
    """A client of the in-process gateway without a token."""
    return Client(gateway)


@pytest.fixture
def make_user(gateway: Gateway) -> Callable[..., Client]:
    """Creates a user: `make_user("a@example.com")` returns a client with that user's token. It counts no login."""
    return partial(users.make_user, gateway)


@pytest.fixture
def user(make_user: Callable[..., Client]) -> Client:
    """A client with the token of user@example.com."""
    return make_user()


def _fail(line: str) -> None:
    raise AssertionError(line)
