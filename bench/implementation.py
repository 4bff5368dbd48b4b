"""Runs one implementation of the calls in a separate process: `python -m bench.implementation NAME check|measure FILE`.

`FILE` contains the scenarios that `bench/recording.py` saved.

`check` runs every scenario on moto, from the recorded rows. The implementation must give DevFlow's response, make
DevFlow's requests and leave DevFlow's rows. Prints each difference, and exits with 1 if there is one.

`measure` prints `ready`, then reads one line `[scenario, calls]` at a time from standard input. For each, it makes that
number of calls and prints the seconds of CPU time that they took. What the implementation logs is discarded.
"""

import gc
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import IO, Any

from tests.support import environment

environment.prepare()

from bench import recording  # noqa: E402  # this module reads the environment
from bench.recording import Scenario  # noqa: E402

IMPLEMENTATIONS = {
    "devflow": "app:app",
    "bare": "bench.peers.bare:handler",
    "powertools": "bench.peers.powertools:handler",
    "flask": "bench.peers.flask_apig:handler",
    "fastapi": "bench.peers.fastapi_mangum:handler",
}
WARM_CALLS = 300

Handler = Callable[[Any, Any], dict[str, Any]]


def load(name: str) -> Handler:
    module, _, attribute = IMPLEMENTATIONS[name].partition(":")
    handler: Handler = getattr(importlib.import_module(module), attribute)
    return handler


@contextmanager
def freeze_clock(name: str, instant: int) -> Iterator[None]:
    """Stop the implementation's clock at an instant (epoch milliseconds)."""
    with recording.freeze_clock(instant):
        if name == "devflow":
            yield
            return
        common = importlib.import_module("bench.peers.common")
        real, common.now = common.now, lambda: instant  # type: ignore[attr-defined]
        try:
            yield
        finally:
            common.now = real  # type: ignore[attr-defined]


def check(name: str, scenarios: list[Scenario], out: IO[str]) -> int:
    from bench import quiet  # noqa: PLC0415  # only for checks: no other test code is loaded beside what is measured
    from tests.support import aws_requests, moto_aws  # noqa: PLC0415  # moto changes botocore, which `measure` must not include

    found = []
    with quiet.capture_log(), moto_aws.deployed():
        handler = load(name)
        for scenario in scenarios:
            recording.replace_rows(scenario.before)
            with freeze_clock(name, scenario.now), aws_requests.recorded() as sent:
                response = handler(scenario.event, recording.make_context())
            actual = replace(
                scenario,
                exchanges=[recording.Exchange(each.operation, each.tables, {}) for each in sent],
                status=response["statusCode"],
                headers=_headers_of(response),
                body=json.loads(response["body"]),
                after=recording.read_rows(),
            )
            found += [f"{name}, {scenario.name}: {difference}" for difference in _compare(scenario, actual)]
    print("\n".join(found), file=out, flush=True)
    return 1 if found else 0


def _headers_of(response: dict[str, Any]) -> dict[str, str]:
    single = dict(response.get("headers") or {})
    return single | {key: values[-1] for key, values in (response.get("multiValueHeaders") or {}).items()}


_UNCOMPARED_HEADERS = {"x-request-id", "content-length", "www-authenticate", "retry-after", "allow"}


def _compare(expected: Scenario, actual: Scenario) -> list[str]:
    """A description of each difference. Of a call that is rejected, only the status and the title are compared."""
    differences = []
    if expected.status != actual.status:
        differences.append(f"status {actual.status} instead of {expected.status}")
    if expected.is_rejected:
        if expected.body["error"] != actual.body.get("error"):
            differences.append(f"body {actual.body!r} instead of {expected.body!r}")
        return differences
    if expected.body != actual.body:
        differences.append(f"body {actual.body!r}\ninstead of {expected.body!r}")
    headers = [
        {key.lower(): value for key, value in each.headers.items() if key.lower() not in _UNCOMPARED_HEADERS}
        for each in (actual, expected)
    ]
    if headers[0] != headers[1]:
        differences.append(f"headers {headers[0]}\ninstead of {headers[1]}")
    requests = [[(each.operation, each.tables) for each in scenario.exchanges] for scenario in (actual, expected)]
    if requests[0] != requests[1]:
        differences.append(f"requests {requests[0]}\ninstead of {requests[1]}")
    for table in recording.TABLES:
        rows, expected_rows = (_sort_rows(scenario.after[table]) for scenario in (actual, expected))
        pairs = zip(rows, expected_rows, strict=False)
        differences += [f"row {row}\ninstead of {other}" for row, other in pairs if row != other]
        if len(rows) != len(expected_rows):
            differences.append(f"{len(rows)} rows in {table} instead of {len(expected_rows)}")
    return differences


def _sort_rows(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(_strip_type({"M": row}), sort_keys=True) for row in rows)


def _strip_type(value: Any) -> Any:
    """A value without its type tag. Numbers are compared by value: DynamoDB does not distinguish 5 from 5.0."""
    ((tag, content),) = value.items()
    if tag == "N":
        return float(content)
    if tag == "M":
        return {name: _strip_type(each) for name, each in content.items()}
    return [_strip_type(each) for each in content] if tag == "L" else content


def measure(name: str, scenarios: list[Scenario], out: IO[str]) -> int:
    from bench.canned_responses import CannedResponses  # noqa: PLC0415  # no other test code is loaded beside it

    handler = load(name)
    canned = [CannedResponses(scenario.exchanges) for scenario in scenarios]
    for number, scenario in enumerate(scenarios):
        _run(handler, scenario, canned[number], name, WARM_CALLS)
    gc.collect()
    gc.freeze()  # as DevFlow does; done for every implementation, so that the collector treats them alike
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        number, calls = json.loads(line)
        print(_run(handler, scenarios[number], canned[number], name, calls), file=out, flush=True)
    return 0


def _run(handler: Handler, scenario: Scenario, canned: Any, name: str, calls: int) -> float:
    """Seconds of CPU time of this number of calls."""
    event, context = scenario.event, recording.make_context()  # a new one, whose time is not up yet
    with freeze_clock(name, scenario.now), canned.install():
        gc.collect()
        began = process_time()
        for _ in range(calls):
            canned.rewind()
            response = handler(event, context)
        elapsed = process_time() - began
    assert response["statusCode"] == scenario.status, response
    assert canned.is_used_up
    return elapsed


def main() -> int:
    name, mode, path = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    scenarios = recording.read(Path(path))
    if mode == "check":
        return check(name, scenarios, out)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return measure(name, [scenario for scenario in scenarios if not scenario.is_rejected], out)


if __name__ == "__main__":
    sys.exit(main())
