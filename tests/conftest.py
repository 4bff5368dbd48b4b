"""Set-up and fixtures for all tests.

tests/support/aws_fixtures.py contains the fixtures that need AWS in this process. tests/e2e/conftest.py contains those
with real processes.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
from _pytest import runner

from tests.support import environment

environment.prepare()

UNIT_ONLY = "tests.support.unit_only" in sys.modules
"""Whether this is `make unit`, which runs without moto."""

if not UNIT_ONLY:
    import moto.core  # noqa: F401  # before chalicelib: a botocore session created earlier would call AWS

from chalicelib.auth import rules as auth_model  # noqa: E402  # modules that read the environment come after it
from chalicelib.core import clock as server_clock  # noqa: E402
from chalicelib.core.settings import settings  # noqa: E402
from tests.support import policy_usage  # noqa: E402

hypothesis.settings.register_profile(
    "any-speed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any-speed")
"""A test does not fail because the machine has other work."""

pytest_plugins = [] if UNIT_ONLY else ["tests.support.aws_fixtures"]


def _call_with_large_frame(call: Callable[[], object]) -> None:
    call()


_call_with_large_frame.__code__ = _call_with_large_frame.__code__.replace(co_stacksize=32_768)
"""CPython 3.11 allocates frames in chunks of 16 KB, and maps and unmaps a chunk at every call that crosses its end.
With the deep stack of a test this takes a fifth of the time. A frame of this size gets a chunk that is large enough for
the frames of the test.
"""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test as pytest does, in a large chunk of frames."""
    _call_with_large_frame(lambda: runner.pytest_runtest_protocol(item, nextitem))
    return True


_policy_usage = policy_usage.PolicyUsage()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Add the AWS calls that a worker of pytest-xdist has recorded."""
    _policy_usage.add(getattr(node, "workeroutput", {}).get("aws_calls", ()))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Compare the policies with the AWS calls of the complete run. A worker sends its calls to the main process."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["aws_calls"] = _policy_usage.export()
    elif exitstatus == pytest.ExitCode.OK and policy_usage.is_complete_run(session.config):
        policy_usage.report_differences(session, _policy_usage)


class Clock:
    """The server's clock, which a test can move."""

    def advance(self, seconds: float) -> None:
        server_clock.shift(seconds)

    @property
    def now(self) -> int:
        """Epoch milliseconds."""
        return server_clock.now()


@pytest.fixture(scope="session", autouse=True)
def cheap_pins() -> Iterator[None]:
    """Make scrypt cheap. With its real cost, a quarter of a second per user, the tests would take minutes longer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(auth_model._SCRYPT, "n", 2**4)
        yield


def setting_changer(name: str) -> Iterator[Callable[[int], None]]:
    """Yields a function that changes a setting of the stage, and restores the setting afterwards."""
    before = getattr(settings, name)

    def deploy(value: int) -> None:
        object.__setattr__(settings, name, value)  # the settings are frozen

    yield deploy
    deploy(before)


SetPartitions = Callable[[int], None]


@pytest.fixture
def set_partitions() -> Iterator[SetPartitions]:
    """A function that changes the number of partitions of a team's open tasks until the end of the test."""
    yield from setting_changer("team_partitions")


@pytest.fixture(params=[1, 3])
def one_or_three_partitions(request: pytest.FixtureRequest, set_partitions: SetPartitions) -> int:
    """Run the test with one partition, and with three. Returns the number."""
    set_partitions(request.param)
    return int(request.param)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock, which a test can move. It is reset at the end."""
    monkeypatch.setattr(server_clock, "_shifted_ms", server_clock._shifted_ms)
    return Clock()
