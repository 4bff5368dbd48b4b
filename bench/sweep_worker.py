"""One function of the sweep in a process of its own, as Lambda runs it. `bench/sweep_backlog.py` starts it.

`python -m bench.sweep_worker NOW FUNCTION [KIND SHARD]`. It prints a line when it is ready, begins at a line of its
standard input, and prints a line with what it did.
"""

import io
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from tests.support import handlers
from tests.support.handlers import Handlers, LambdaContext

TIME_LIMIT = {"sweep": 50_000, "sweep_backlog": 60_000}
"""Milliseconds, as in .chalice/config.json."""


@dataclass
class TimedContext(LambdaContext):
    """The context of an invocation that began now."""

    began: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        return TIME_LIMIT[self.function_name] - int((time.monotonic() - self.began) * 1_000)


def main(now: int, function: str, *message: str) -> None:
    from app import app  # noqa: PLC0415  # reads the environment, which the benchmark has set
    from chalicelib.aws import sqs  # noqa: PLC0415
    from chalicelib.core import clock, log  # noqa: PLC0415

    for queue in ("events", "webhooks", "sweep"):
        sqs._queue_url(queue)
    vars(handlers)["LambdaContext"] = TimedContext
    log.handler.setStream(stream := io.StringIO())
    print("ready", flush=True)
    sys.stdin.readline()
    clock.shift(now / 1_000 - time.time())
    began, began_cpu = time.monotonic(), time.process_time()
    if function == "sweep":
        Handlers(app).sweep()
    else:
        kind, shard = message
        body = {"kind": kind, "shard": int(shard), "until": now + 60_000}
        assert Handlers(app).batch("sweep_backlog", body) == []
    seconds, cpu = time.monotonic() - began, time.process_time() - began_cpu
    lines: list[dict[str, Any]] = [json.loads(line) for line in stream.getvalue().splitlines()]
    (line,) = [line for line in lines if line["message"] in ("swept", "swept a backlog")]
    print(json.dumps({"seconds": seconds, "cpu": cpu, **line}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
