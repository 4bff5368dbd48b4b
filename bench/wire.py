"""Answers botocore's HTTP send in process: everything before and after it is botocore's own."""

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session

from bench.recording import Exchange


class Canned:
    """The answers to one call's requests, in their order; `begin` before each call."""

    def __init__(self, exchanges: list[Exchange]) -> None:
        self._answers = [_Answer(exchange) for exchange in exchanges]
        self._next = 0

    def begin(self) -> None:
        self._next = 0

    @property
    def done(self) -> bool:
        return self._next == len(self._answers)

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        answer = self._answers[self._next]
        self._next += 1
        return AWSResponse(request.url, 200, answer.headers, answer)

    @contextmanager
    def answering(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(URLLib3Session, "send", self.send)
            yield


class _Answer:
    """As DynamoDB sends it, its checksum included, and what botocore reads it from."""

    def __init__(self, exchange: Exchange) -> None:
        self._body = json.dumps(exchange.answer, separators=(",", ":")).encode()
        self.headers: Any = {
            "Server": "Server",
            "Date": "Thu, 01 Jan 2026 00:00:00 GMT",
            "Content-Type": "application/x-amz-json-1.0",
            "Content-Length": str(len(self._body)),
            "Connection": "keep-alive",
            "x-amzn-RequestId": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEF",
            "x-amz-crc32": str(zlib.crc32(self._body)),
        }

    def stream(self) -> Iterator[bytes]:
        yield self._body
