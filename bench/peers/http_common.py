"""The security headers, the error body and the log line of every peer."""

import json
import time
from typing import Any

from bench.peers import common
from bench.peers.common import ApiError

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
HEADERS = {"Content-Type": "application/json", **SECURITY_HEADERS}


def make_error_body(error: ApiError, at: int) -> dict[str, Any]:
    return {
        "error": error.title,
        "message": error.message,
        "statusCode": error.status,
        "timestamp": common.format_time(at),
    }


def log_request(request_id: str, method: str, route: str, status: int, started: float, subject: str) -> None:
    """Write one line for a request to standard output."""
    line = {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "level": "INFO",
        "message": "request",
        "service": "devflow",
        "method": method,
        "route": route,
        "status": status,
        "ms": round((time.perf_counter() - started) * 1_000, 1),
        "who": subject,
        "requestId": request_id,
    }
    print(json.dumps(line), flush=True)
