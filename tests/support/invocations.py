"""Records the invocations of the app's handlers: their CPU time, latency, response size and log size.

with invocations.recorded(gateway, poller) as seen:
    gateway.call(...)
assert seen.handlers == ["GET /api/tasks"]
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
class Invocations:
    """The invocations of one recording, in order."""

    handlers: list[str] = field(default_factory=list)
    """Routes as `GET /api/tasks`, event handlers by their names."""
    cpu: list[float] = field(default_factory=list)
    """CPU time of this process for each invocation in milliseconds, without the share of moto."""
    durations: list[float] = field(default_factory=list)
    """Time until the response for each invocation in milliseconds, without the share of moto."""
    response_bytes: int = 0
    """Bytes of the HTTP responses, with their headers."""
    log: io.StringIO = field(default_factory=io.StringIO)
    _moto_time: tuple[float, float] = (0, 0)
    """CPU seconds and elapsed seconds that moto has used."""

    @property
    def log_bytes(self) -> int:
        return len(self.log.getvalue().encode())

    def _invoke(self, handler: Handler, name: str | None, event: Any, context: Any) -> Any:
        request = event.get("requestContext", {})
        self.handlers.append(name or f"{request['httpMethod']} {request['resourcePath']}")
        response = self.timed(lambda: handler(event, context))
        if name is None:
            self.response_bytes += _size(response)
        return response

    def clear(self) -> None:
        """Remove everything that was recorded."""
        self.handlers.clear()
        self.cpu.clear()
        self.durations.clear()
        self.response_bytes = 0
        self.log.seek(0)
        self.log.truncate()

    def timed(self, call: Callable[[], Any]) -> Any:
        """The result of `call`. Records its CPU time and its duration."""
        start, moto_start = _clocks(), self._moto_time
        result = call()
        cpu, duration = (
            now - then - (moto_now - moto_then)
            for now, then, moto_now, moto_then in zip(_clocks(), start, self._moto_time, moto_start, strict=True)
        )
        self.cpu.append(cpu * 1_000)
        self.durations.append(duration * 1_000)
        return result

    def _call_moto(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call moto and record its time: moto does AWS's work in this process, which is not the app's time."""
        start, (cpu, elapsed) = _clocks(), self._moto_time
        try:
            return call(*args, **kwargs)
        finally:
            now = _clocks()
            self._moto_time = cpu + now[0] - start[0], elapsed + now[1] - start[1]


def _clocks() -> tuple[float, float]:
    """CPU seconds of this process, and elapsed seconds."""
    return time.process_time(), time.perf_counter()


@contextmanager
def recorded(gateway: Gateway, poller: EventPoller) -> Iterator[Invocations]:
    """Record the invocations through this gateway and this poller during the block."""
    seen = Invocations()
    stubber: Any = BotocoreStubber
    call = stubber.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log.handler, "stream", seen.log)
        patch.setattr(stubber, "__call__", lambda self, *args, **kwargs: seen._call_moto(call, self, *args, **kwargs))
        patch.setattr(gateway, "_app", _RecordedApp(gateway._app, seen))
        for name in [source.name for source in poller._app.event_sources]:
            handlers = poller._app.handler_map
            patch.setitem(handlers, name, partial(seen._invoke, handlers[name], name))
        yield seen


class _RecordedApp:
    def __init__(self, app: Any, seen: Invocations) -> None:
        self._app, self._seen = app, seen
        self.routes = app.routes

    def __call__(self, event: Any, context: Any) -> Any:
        return self._seen._invoke(self._app, None, event, context)


def _size(response: dict[str, Any]) -> int:
    headers = list((response.get("headers") or {}).items())
    headers += [(name, value) for name, values in (response.get("multiValueHeaders") or {}).items() for value in values]
    return len(response.get("body") or "") + sum(len(f"{name}: {value}\r\n") for name, value in headers)
