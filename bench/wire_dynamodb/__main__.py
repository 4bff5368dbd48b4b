"""`python -m bench.wire_dynamodb STAGE MILLISECONDS`: serve the stage's tables, and answer after this time.

Prints the port. Ends when standard input is closed. `GET /state?now=…` returns the due rows by kind and shard, the
number of requests of each operation, and the messages that were sent.
"""

import asyncio
import hashlib
import sys
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic_core import from_json, to_json

from bench.wire_dynamodb.stored_tables import Database, RequestError
from tests.support import template

STATUS = {200: "OK", 400: "Bad Request"}


class WireServer:
    def __init__(self, stage: str, delay_ms: float) -> None:
        self.database = Database(template.create_table_requests(stage))
        self.delay = delay_ms / 1_000
        self.messages: list[dict[str, Any]] = []

    def respond(self, target: str, body: bytes) -> tuple[int, Any, list[Any]]:
        """The status, the body and the rows to lock until the response is sent."""
        service, _, operation = target.partition(".")
        request = from_json(body)
        if service == "AmazonSQS":
            return 200, self._respond_as_sqs(operation, request), []
        try:
            response, rows = self.database.handle(operation, request)
        except RequestError as error:
            return 400, {"__type": f"com.amazonaws.dynamodb#{error.code}", "message": "", **error.members}, []
        self.database.locked.update(rows)
        return 200, response, rows

    def _respond_as_sqs(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self.database.served[operation] += 1
        if operation == "GetQueueUrl":
            return {"QueueUrl": f"http://localhost/{request['QueueName']}"}
        body = request["MessageBody"]
        self.messages.append({"queue": request["QueueUrl"].rpartition("-")[2], "body": from_json(body)})
        digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
        return {"MessageId": str(uuid.uuid4()), "MD5OfMessageBody": digest}

    def state(self, now: int) -> dict[str, Any]:
        return {"due": self.database.due(now), "served": self.database.served, "messages": self.messages}


class _Connection(asyncio.Protocol):
    """One connection of a client, which sends one request after the other."""

    def __init__(self, server: WireServer) -> None:
        self._server, self._received = server, b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self._received = rest[length:]
        method, path, _ = first.split(" ")
        if method == "GET":
            query = parse_qs(urlsplit(path).query)
            self._send(200, self._server.state(int(query["now"][0])), [])
            return
        status, response, rows = self._server.respond(headers["x-amz-target"], rest[:length])
        asyncio.get_running_loop().call_later(self._server.delay, self._send, status, response, rows)

    def _send(self, status: int, response: Any, rows: list[Any]) -> None:
        self._server.database.locked.difference_update(rows)
        body = to_json(response)
        head = f"HTTP/1.1 {status} {STATUS[status]}\r\nContent-Type: application/x-amz-json-1.0\r\n"
        if not self._transport.is_closing():
            self._transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


async def serve(stage: str, delay_ms: float) -> None:
    loop = asyncio.get_running_loop()
    server = WireServer(stage, delay_ms)
    listening = await loop.create_server(lambda: _Connection(server), "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], float(sys.argv[2])))
