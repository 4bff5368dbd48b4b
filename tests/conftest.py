"""Fixtures for everything that runs in this process. See tests/e2e/conftest.py for real processes."""

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from _pytest import runner

from tests.support import environment

environment.prepare()

import moto.core  # noqa: E402, F401  # before chalicelib: a botocore session made earlier would call AWS itself

from chalicelib.auth import rules as auth_model  # noqa: E402
from chalicelib.core import clock as server_clock  # noqa: E402  # what reads the environment comes after it
from chalicelib.http import rate_limits  # noqa: E402
from infra.local.event_poller import EventPoller  # noqa: E402
from infra.local.gateway import Gateway  # noqa: E402
from tests.support import dynamodb_local as dynamodb_local_support  # noqa: E402
from tests.support import ledger, moto_aws, users, wire  # noqa: E402
from tests.support.client import Client  # noqa: E402
from tests.support.iam import AsDeployed  # noqa: E402
from tests.support.promises import AsDeclared  # noqa: E402


def _roomy(call: Callable[[], object]) -> None:
    call()


_roomy.__code__ = _roomy.__code__.replace(co_stacksize=32_768)
"""CPython 3.11 keeps its frames in chunks of 16 KB, and maps and unmaps one at every call that crosses the end of a
chunk: under a test's deep stack a fifth of the time. A frame this large gets a chunk with room for all the others."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test as pytest does, with room on the stack."""
    _roomy(lambda: runner.pytest_runtest_protocol(item, nextitem))
    return True


_ledger = ledger.Ledger()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what one of pytest-xdist's workers saw the functions call."""
    _ledger.take(getattr(node, "workeroutput", {}).get("aws_calls", ()))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Hold the policies against what the whole run saw; a worker hands over its part of that."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["aws_calls"] = _ledger.told()
    elif exitstatus == pytest.ExitCode.OK and ledger.is_whole(session.config):
        ledger.judge(session, _ledger)


class Clock:
    """The server's clock, as a test moves it."""

    def advance(self, seconds: float) -> None:
        server_clock.shift(seconds)

    @property
    def now(self) -> int:
        """Epoch milliseconds."""
        return server_clock.now()


@pytest.fixture(scope="session")
def stack() -> Iterator[None]:
    """AWS in this process with infra/template.yaml deployed, once a session."""
    with moto_aws.deployed():
        gc.collect()
        gc.freeze()  # what is there now stays; looking through it again and again is a tenth of a test's time
        yield


@pytest.fixture(scope="session", autouse=True)
def cheap_pins() -> Iterator[None]:
    """A quarter of a second of scrypt for every user that a test makes would be minutes of nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(auth_model._SCRYPT, "n", 2**4)
        yield


@pytest.fixture
def aws(stack: None) -> None:
    """The same, with not a row and not a message in it, and a container that has refused nobody yet."""
    moto_aws.empty()
    rate_limits._rate_limited_callers.clear()


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[str]:
    """The endpoint of Amazon's DynamoDB Local; skips where it cannot run."""
    reason = dynamodb_local_support.unavailable()
    if reason:
        pytest.skip(reason)
    with dynamodb_local_support.running() as endpoint:
        yield endpoint


@pytest.fixture
def true_dynamodb(aws: None, dynamodb_local: str) -> Iterator[str]:
    """From here on DynamoDB is Amazon's own (SQS stays moto's), over empty tables; its endpoint."""
    dynamodb_local_support.create_tables(dynamodb_local)
    with wire.redirected("dynamodb", dynamodb_local):
        yield dynamodb_local


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock, to be moved; put back at the end."""
    monkeypatch.setattr(server_clock, "_shifted_ms", server_clock._shifted_ms)
    return Clock()


@pytest.fixture
def deployed(aws: None) -> Iterator[AsDeployed]:
    """The real app over empty tables, each of its functions held to its policy in .chalice/."""
    from app import app  # noqa: PLC0415  # its clients must not be built before moto stands in

    deployed = AsDeployed(app)
    with deployed.enforced():
        yield deployed
    assert not deployed.refused, "not allowed by the policies in .chalice/"


@pytest.fixture
def gateway(deployed: AsDeployed) -> Iterator[Gateway]:
    """The app behind the in-process gateway, each of its answers held to what its route declares."""
    app = AsDeclared(deployed)
    yield Gateway(app)
    assert not app.broken, "not declared by the route"


@pytest.fixture
def poller(deployed: AsDeployed) -> EventPoller:
    """Invokes the app's event handlers on demand: `poller.drain()`, `poller.sweep()`. Errors are raised, not logged."""
    return EventPoller(deployed, log=_fail)


@pytest.fixture
def anonymous(gateway: Gateway) -> Client:
    """A client of the in-process gateway without a token."""
    return Client(gateway)


@pytest.fixture
def make_user(gateway: Gateway) -> Callable[..., Client]:
    """Make a user: `make_user("a@example.com")` is a client with that user's token (no login is counted)."""
    return partial(users.make_user, gateway)


@pytest.fixture
def user(make_user: Callable[..., Client]) -> Client:
    """A client with the token of user@example.com."""
    return make_user()


def _fail(line: str) -> None:
    raise AssertionError(line)
