"""Structured logs: one JSON object a line, on standard output, where Lambda and `make run` both pick it up.

A line has a `timestamp`, a `level`, a `message` and whatever its author adds (`extra`); where something was raised, its
`exception` with the stack. A line never holds a token, a PIN or a body.
"""

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from chalicelib.settings import settings

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request or message being handled: in every line and, for HTTP, in the answer."""

_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""What every record has; the rest is what its author added."""


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _USUAL}
        current = request_id.get()
        if current:
            line["requestId"] = current
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return to_json(line, fallback=str).decode()


logger = logging.getLogger("devflow")
logger.setLevel(settings.log_level)
logger.propagate = False  # Lambda's own handler would write everything a second time

handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(_Line())
logger.addHandler(handler)
