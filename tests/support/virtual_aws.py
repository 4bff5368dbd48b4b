"""A clock that nobody waits for, and an AWS whose responses take time on that clock.

    with VirtualAws().install() as aws:
        aws.latency = 4.0              # every request now takes four seconds, or ends at its read timeout
        gateway.call(...)
    assert aws.now < 20

The product runs unchanged up to the point where botocore would send a request. There (the event `before-send`) moto
executes the request, and the clock moves by the latency. If that is longer than the timeout of the request, the clock
moves by the timeout and the request fails, although AWS executes it.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse

from chalicelib.aws import tries
from chalicelib.core import clock as server_clock
from chalicelib.core import deadline
from chalicelib.dynamodb import retries

THROTTLING_SECONDS = 0.005
"""How long AWS takes to reject a request."""

_THROTTLED = json.dumps({"__type": "ThrottlingException", "message": "Rate exceeded, as injected"}).encode()

_moto: Any = BotocoreStubber.__call__


@dataclass(frozen=True)
class Attempt:
    """An attempt to send a request to AWS."""

    service: str
    operation: str
    at: float
    """The virtual time, in seconds."""


@dataclass
class VirtualAws:
    """The virtual time of this process, and how AWS behaves."""

    now: float = 0.0
    """Seconds since the start."""
    epoch: float = field(default_factory=time.time)
    """The epoch seconds at the start."""
    latency: Callable[[str, str], float] | float = 0.0
    """How long a request takes, in seconds, by its service and operation."""
    throttles: Callable[[str, str], bool] = lambda _service, _operation: False
    """Whether AWS rejects a request, by its service and operation."""
    attempts: list[Attempt] = field(default_factory=list)
    sleeps: list[float] = field(default_factory=list)

    @contextmanager
    def install(self) -> Iterator["VirtualAws"]:
        """Replace time and AWS during the block. The product has the timeouts of a deployed stage."""
        fake_time = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BotocoreStubber, "__call__", self._handler())
            patch.setattr(deadline, "time", fake_time)
            patch.setattr(server_clock, "time", SimpleNamespace(time=lambda: self.epoch + self.now))
            patch.setattr(retries, "_limits", retries.limits(tries.DEPLOYED))
            tries.forget_failures()
            yield self
            tries.forget_failures()

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    def _handler(self) -> Callable[..., Any]:
        """A method that handles the event `before-send.<service>.<operation>` in place of moto's."""

        def send(stubber: Any, event_name: str, request: Any, **more: Any) -> Any:
            _, service, operation = event_name.split(".")
            self.attempts.append(Attempt(service, operation, self.now))
            if self.throttles(service, operation):
                self.now += THROTTLING_SECONDS
                headers: Any = {"Content-Type": "application/x-amz-json-1.0"}
                raw: Any = MockRawResponse(_THROTTLED)
                return AWSResponse(request.url, 400, headers, raw)
            latency = self.latency(service, operation) if callable(self.latency) else self.latency
            timeout = request.context["read_timeout"] if service == "dynamodb" else tries.DEPLOYED.other
            response = _moto(stubber, event_name, request, **more)
            self.now += min(latency, timeout)
            if latency > timeout:
                raise ReadTimeoutError(endpoint_url=request.url)
            return response

        return send
