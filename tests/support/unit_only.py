"""A pytest plugin for `make unit`: a test fails if it opens a socket, starts a process or imports moto.

Python reports these operations as audit events (https://docs.python.org/3/library/audit_events.html). Each one raises
an error where it happens. Code under test may catch that error, so the test is failed at its end as well.
"""

import sys
from typing import Any

import pytest

_OPERATIONS = ("os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "socket.", "subprocess.")

_found: list[str] = []


def violation(event: str, arguments: tuple[Any, ...]) -> str | None:
    """A description of an audit event that a unit test must not cause; None for any other event."""
    if event == "import" and str(arguments[0]).partition(".")[0] == "moto":
        return "imports moto"
    if event == "socket.getaddrinfo" and arguments[0] == "localhost":
        return None  # pytest-socket itself, for the hosts that pyproject.toml allows
    return f"causes {event}{arguments[1:]}" if event.startswith(_OPERATIONS) else None


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if found := violation(event, arguments):
        _found.append(found)
        raise RuntimeError(f"A unit test {found}: move it to the tests of `make integration`.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """Clear the violations of earlier tests."""
    del item
    _found.clear()
    return (yield)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Fail a test whose code caught the error."""
    if _found:
        pytest.fail(f"{item.name} {', '.join(_found)}: move it to the tests of `make integration`.", pytrace=False)


sys.addaudithook(_refuse)
