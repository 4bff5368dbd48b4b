"""What a call reaches of the app, and what it leaves: for measuring, beside what it asks of AWS.

with watch.watching(gateway, poller) as seen:
    gateway.call(...)
assert seen.reached == ["GET /api/tasks"]
"""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from moto.core.botocore_stubber import BotocoreStubber

from chalicelib.core import log
from infra.local.event_poller import EventPoller
from infra.local.gateway import Gateway

Handler = Callable[[Any, Any], Any]


@dataclass
class Seen:
    """Routes as `GET /api/tasks`, handlers by their names; in order."""

    reached: list[str] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Milliseconds of this process each time, without what moto took of them."""
    took: list[float] = field(default_factory=list)
    """Milliseconds until the answer, likewise."""
    answers: int = 0
    """Bytes of the answers that go out, with their headers."""
    log: io.StringIO = field(default_factory=io.StringIO)
    _motos: tuple[float, float] = (0, 0)

    @property
    def log_bytes(self) -> int:
        return len(self.log.getvalue().encode())

    def _through(self, handler: Handler, name: str | None, event: Any, context: Any) -> Any:
        asked = event.get("requestContext", {})
        self.reached.append(name or f"{asked['httpMethod']} {asked['resourcePath']}")
        answer = self.timed(lambda: handler(event, context))
        if name is None:
            self.answers += _size(answer)
        return answer

    def forget(self) -> None:
        """Begin anew."""
        self.reached.clear()
        self.cpu.clear()
        self.took.clear()
        self.answers = 0
        self.log.seek(0)
        self.log.truncate()

    def timed(self, act: Callable[[], Any]) -> Any:
        """What `act` gives back; how long it took is noted."""
        began, motos = _clocks(), self._motos
        result = act()
        cpu, took = (
            now - then - (moto - before)
            for now, then, moto, before in zip(_clocks(), began, self._motos, motos, strict=True)
        )
        self.cpu.append(cpu * 1_000)
        self.took.append(took * 1_000)
        return result

    def _aside(self, answered: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """AWS's work, as far as moto does it in this process, is none of ours."""
        began, (cpu, took) = _clocks(), self._motos
        try:
            return answered(*given, **named)
        finally:
            now = _clocks()
            self._motos = cpu + now[0] - began[0], took + now[1] - began[1]


def _clocks() -> tuple[float, float]:
    """Seconds of this process's CPU, and seconds that pass."""
    return time.process_time(), time.perf_counter()


@contextmanager
def watching(gateway: Gateway, poller: EventPoller) -> Iterator[Seen]:
    seen = Seen()
    stubber: Any = BotocoreStubber
    answered = stubber.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log.handler, "stream", seen.log)
        patch.setattr(stubber, "__call__", lambda self, *given, **named: seen._aside(answered, self, *given, **named))
        patch.setattr(gateway, "_app", _Watched(gateway._app, seen))
        for name in [source.name for source in poller._app.event_sources]:
            handlers = poller._app.handler_map
            patch.setitem(handlers, name, partial(seen._through, handlers[name], name))
        yield seen


class _Watched:
    def __init__(self, app: Any, seen: Seen) -> None:
        self._app, self._seen = app, seen
        self.routes = app.routes

    def __call__(self, event: Any, context: Any) -> Any:
        return self._seen._through(self._app, None, event, context)


def _size(answer: dict[str, Any]) -> int:
    headers = list((answer.get("headers") or {}).items())
    headers += [(name, value) for name, values in (answer.get("multiValueHeaders") or {}).items() for value in values]
    return len(answer.get("body") or "") + sum(len(f"{name}: {value}\r\n") for name, value in headers)
