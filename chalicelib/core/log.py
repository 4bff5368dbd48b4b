"""Structured logs: one JSON object a line, on standard output, where Lambda and `make run` both pick it up.

A line has a `timestamp`, a `level`, a `message` and whatever its author adds (`extra`); where something was raised, its
`exception` with the stack. A line never holds a token, a PIN or a body.
"""

import logging
import sys
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from chalicelib.core.settings import settings

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request or message being handled: in every line and, for HTTP, in the answer."""

_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""What every record has; the rest is what its author added."""


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        added = {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info:
            added["exception"] = self.formatException(record.exc_info)
        return _line(record.created, record.levelname, record.getMessage(), added)


def _line(created: float, level: str, message: str, added: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
    line = {"timestamp": f"{at[:-6]}Z", "level": level, "message": message, **added}
    current = request_id.get()
    if current:
        line["requestId"] = current
    return to_json(line, fallback=str).decode()


logger = logging.getLogger("devflow")
logger.setLevel(settings.log_level)
logger.propagate = False  # Lambda's own handler would write everything a second time

handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(_Formatter())
logger.addHandler(handler)


def info(message: str, **added: Any) -> None:
    """What `logger.info` writes, for the line that every request has: a record for handlers and filters of which there
    are none takes as long again as everything else about it."""
    if logger.isEnabledFor(logging.INFO):
        line = _line(time.time(), "INFO", message, added)
        handler.acquire()
        try:
            handler.stream.write(f"{line}\n")
            handler.flush()
        finally:
            handler.release()
