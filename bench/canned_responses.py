"""Recorded responses of AWS, returned in process in place of botocore's HTTP exchange. All other code of botocore runs
as usual."""

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session

from bench.recording import Exchange


class CannedResponses:
    """The responses to one call's requests, in order. `rewind` before each call."""

    def __init__(self, exchanges: list[Exchange]) -> None:
        self._responses = [_RawResponse(exchange) for exchange in exchanges]
        self._next = 0

    def rewind(self) -> None:
        self._next = 0

    @property
    def is_used_up(self) -> bool:
        return self._next == len(self._responses)

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        response = self._responses[self._next]
        self._next += 1
        return AWSResponse(request.url, 200, response.headers, response)

    @contextmanager
    def install(self) -> Iterator[None]:
        """Have botocore receive these responses within the block."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(URLLib3Session, "send", self.send)
            yield


class _RawResponse:
    """A response as DynamoDB sends it, with its checksum, and with the method by which botocore reads the body."""

    def __init__(self, exchange: Exchange) -> None:
        self._body = json.dumps(exchange.response, separators=(",", ":")).encode()
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
