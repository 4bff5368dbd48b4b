"""What a container of a Lambda function remembers between its invocations."""

from chalicelib.aws import tries
from chalicelib.http import rate_limits


def new_container() -> None:
    """Forget rate-limited callers, and requests to AWS that failed, as a new container."""
    rate_limits._rate_limited_callers.clear()
    tries.forget_failures()
