"""What every peer answers and logs besides its body."""

import json
import time
from typing import Any

from bench.peers import work
from bench.peers.work import Refused

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
HEADERS = {"Content-Type": "application/json", **SECURITY_HEADERS}


def failure(refused: Refused, at: int) -> dict[str, Any]:
    return {
        "error": refused.title,
        "message": refused.message,
        "statusCode": refused.status,
        "timestamp": work.iso(at),
    }


def log(request_id: str, method: str, route: str, status: int, started: float, who: str) -> None:
    """One line a request, on standard output."""
    line = {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "level": "INFO",
        "message": "request",
        "service": "devflow",
        "method": method,
        "route": route,
        "status": status,
        "ms": round((time.perf_counter() - started) * 1_000, 1),
        "who": who,
        "requestId": request_id,
    }
    print(json.dumps(line), flush=True)
