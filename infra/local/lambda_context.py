"""The context object that AWS Lambda passes to a handler, beside the event."""

import time
import uuid
from dataclasses import dataclass, field

REGION = "us-east-1"
ACCOUNT = "123456789012"

TIMEOUT_MS = 30_000
"""The time limit of a function, as in .chalice/config.json."""


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class Context:
    """See https://docs.aws.amazon.com/lambda/latest/dg/python-context.html."""

    function_name: str
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 256
    aws_request_id: str = field(default_factory=_new_id)
    log_group_name: str = ""
    log_stream_name: str = ""
    identity: None = None
    client_context: None = None
    _started: float = field(default_factory=time.monotonic)

    @property
    def invoked_function_arn(self) -> str:
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        return max(0, TIMEOUT_MS - int((time.monotonic() - self._started) * 1000))
