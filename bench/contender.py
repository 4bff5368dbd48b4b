"""One contender in a process of its own: `python -m bench.contender NAME check|measure SCENARIOS`.

`check`: every call over moto, from the same rows, gives the product's answer, makes the product's requests and leaves
the product's rows. Prints what differs, and exits 1 if anything does.

`measure`: reads `[scenario, calls]` from standard input, a line each, and answers with the seconds of CPU that so many
calls took. The contender's own log goes where nobody reads it.
"""

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from tests.support import environment

environment.prepare()

from bench import recording  # noqa: E402  # what reads the environment comes after it
from bench.recording import Scenario  # noqa: E402

CONTENDERS = {
    "devflow": "app:app",
    "bare": "bench.peers.bare:handler",
    "powertools": "bench.peers.powertools:handler",
    "flask": "bench.peers.flask_apig:handler",
    "fastapi": "bench.peers.fastapi_mangum:handler",
}
WARM_CALLS = 300

Handler = Callable[[Any, Any], dict[str, Any]]


def load(name: str) -> Handler:
    module, _, attribute = CONTENDERS[name].partition(":")
    handler: Handler = getattr(importlib.import_module(module), attribute)
    return handler


@contextmanager
def at(name: str, instant: int) -> Iterator[None]:
    """The contender's clock stands still."""
    with recording.at(instant):
        if name == "devflow":
            yield
            return
        work = importlib.import_module("bench.peers.work")
        real, work.now = work.now, lambda: instant  # type: ignore[attr-defined]
        try:
            yield
        finally:
            work.now = real  # type: ignore[attr-defined]


def check(name: str, scenarios: list[Scenario], out: IO[str]) -> int:
    from tests.support import moto_aws, wire  # noqa: PLC0415  # moto changes botocore, which is not to be measured

    found = []
    with moto_aws.deployed():
        handler = load(name)
        for scenario in scenarios:
            recording.put(scenario.before)
            with at(name, scenario.now), wire.recorded() as sent:
                answer = handler(scenario.event, recording.context())
            made = replace(
                scenario,
                exchanges=[recording.Exchange(each.operation, each.tables, {}) for each in sent],
                status=answer["statusCode"],
                headers=_headers(answer),
                body=json.loads(answer["body"]),
                after=recording.rows(),
            )
            found += [f"{name}, {scenario.name}: {what}" for what in _differences(scenario, made)]
    print("\n".join(found), file=out, flush=True)
    return 1 if found else 0


def _headers(answer: dict[str, Any]) -> dict[str, str]:
    single = dict(answer.get("headers") or {})
    return single | {key: values[-1] for key, values in (answer.get("multiValueHeaders") or {}).items()}


_ANYTHING = {"x-request-id", "content-length", "www-authenticate", "retry-after", "allow"}


def _differences(wanted: Scenario, made: Scenario) -> list[str]:
    told = []
    if wanted.status != made.status:
        told.append(f"answers {made.status} and not {wanted.status}")
    if wanted.probe:
        if wanted.body["error"] != made.body.get("error"):
            told.append(f"says {made.body!r} and not {wanted.body!r}")
        return told
    if wanted.body != made.body:
        told.append(f"answers {made.body!r}\nand not {wanted.body!r}")
    headers = [
        {key.lower(): value for key, value in each.headers.items() if key.lower() not in _ANYTHING}
        for each in (made, wanted)
    ]
    if headers[0] != headers[1]:
        told.append(f"has the headers {headers[0]}\nand not {headers[1]}")
    requests = [[(each.operation, each.tables) for each in scenario.exchanges] for scenario in (made, wanted)]
    if requests[0] != requests[1]:
        told.append(f"asks {requests[0]}\nand not {requests[1]}")
    for table in recording.TABLES:
        left, expected = (_sorted(scenario.after[table]) for scenario in (made, wanted))
        told += [f"leaves {row}\nand not {other}" for row, other in zip(left, expected, strict=False) if row != other]
        if len(left) != len(expected):
            told.append(f"leaves {len(left)} rows in {table} and not {len(expected)}")
    return told


def _sorted(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(_untagged({"M": row}), sort_keys=True) for row in rows)


def _untagged(value: Any) -> Any:
    """Numbers by their value: 5 and 5.0 are one number to DynamoDB."""
    ((tag, content),) = value.items()
    if tag == "N":
        return float(content)
    if tag == "M":
        return {name: _untagged(each) for name, each in content.items()}
    return [_untagged(each) for each in content] if tag == "L" else content


def measure(name: str, scenarios: list[Scenario], out: IO[str]) -> int:
    from bench.wire import Canned  # noqa: PLC0415  # this and nothing else of ours stands beside the contender

    handler = load(name)
    context = recording.context()
    canned = [Canned(scenario.exchanges) for scenario in scenarios]
    for number, scenario in enumerate(scenarios):
        _run(handler, scenario, canned[number], name, WARM_CALLS, context)
    gc.collect()
    gc.freeze()  # as DevFlow does; the same for all, so that none pays for another's garbage
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        number, calls = json.loads(line)
        print(_run(handler, scenarios[number], canned[number], name, calls, context), file=out, flush=True)
    return 0


def _run(handler: Handler, scenario: Scenario, canned: Any, name: str, calls: int, context: Any) -> float:
    """Seconds of CPU of so many calls."""
    event = scenario.event
    with at(name, scenario.now), canned.answering():
        gc.collect()
        began = time.process_time()
        for _ in range(calls):
            canned.begin()
            answer = handler(event, context)
        took = time.process_time() - began
    assert answer["statusCode"] == scenario.status, answer
    assert canned.done
    return took


def main() -> int:
    name, mode, path = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    scenarios = recording.restore(Path(path))
    if mode == "check":
        return check(name, scenarios, out)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return measure(name, [scenario for scenario in scenarios if not scenario.probe], out)


if __name__ == "__main__":
    sys.exit(main())
