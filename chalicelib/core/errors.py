"""Every error that a caller may get. This module does not know HTTP: `chalicelib.http` maps each error to a status.

    DevFlowError                the platform failed to process the request
    ├── Invalid                 the request is not valid
    │   ├── MissingFields
    │   ├── ProgressOutOfRange
    │   ├── NotJson
    │   ├── TooLarge
    │   └── UnsupportedContent
    ├── Unauthenticated         the caller is not known
    │   └── AgentTokenInvalid
    ├── Forbidden               the token is of the wrong kind
    ├── NotFound                the resource does not exist or belongs to another user; callers cannot tell which
    │   ├── AgentNotFound
    │   ├── TaskNotFound
    │   ├── WebhookNotFound
    │   ├── DeliveryNotFound
    │   ├── RouteNotFound
    │   └── MethodNotAllowed
    ├── Conflict                not possible in the current state
    │   └── AgentExists
    ├── WrongOffset             a chunk that does not start where the stored data ends; carries that offset
    ├── RateLimited             too many requests; carries the time to wait
    └── Unavailable             not possible now, for a reason that is not the caller's; a retry is correct

The docstring of an error is its default message: what happened, and what to do next. `title` is what clients switch
on. It never changes.
"""

from collections.abc import Sequence


class DevFlowError(Exception):
    """The platform failed to process the request. Retry it; if it fails again, report its X-Request-Id."""

    title = "Internal error"

    def __init__(self, message: str = "", details: Sequence[str] | None = None) -> None:
        self.message = message or " ".join((type(self).__doc__ or "").split())
        self.details = list(details) if details is not None else None
        super().__init__(self.message)


class Invalid(DevFlowError):
    """The request is not valid. Correct it before you send it again."""

    title = "Invalid request"


class MissingFields(Invalid):
    """Required fields are missing. Send a value for each field that `details` names."""

    title = "Missing required fields"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"Required fields are missing: {', '.join(names)}. Send a value for each of them.", names)


class ProgressOutOfRange(Invalid):
    """`progress` must be a number from 0 (just started) to 1 (finished)."""

    title = "Progress must be between 0 and 1"


class NotJson(Invalid):
    """The body is not valid JSON. Correct the body before you send it again."""

    title = "Invalid JSON"


class TooLarge(Invalid):
    """The body is too large. Send a smaller one."""

    title = "Request too large"


class UnsupportedContent(Invalid):
    """The body must be JSON. Send it with the header Content-Type: application/json."""

    title = "Unsupported content type"


class Unauthenticated(DevFlowError):
    """The token is missing, invalid or expired. Log in again, and send the new one as Authorization: Bearer <token>."""

    title = "Invalid or expired token"


class AgentTokenInvalid(Unauthenticated):
    """The token is missing or invalid. Send the one from the agent's registration as Authorization: Bearer <token>."""

    title = "Agent token expired or invalid"


class Forbidden(DevFlowError):
    """This kind of token has no access to this operation. Use a token of the kind that the operation requires."""

    title = "Insufficient permissions"


class NotFound(DevFlowError):
    """The resource does not exist, or it belongs to another user. Check its id."""

    title = "Not found"


class AgentNotFound(NotFound):
    """You have no agent with this id. GET /api/agents lists your agents."""

    title = "Agent not found"


class TaskNotFound(NotFound):
    """You have no task with this id. GET /api/tasks lists your tasks."""

    title = "Task not found"


class WebhookNotFound(NotFound):
    """You have no webhook with this id. GET /api/webhooks lists your webhooks."""

    title = "Webhook not found"


class DeliveryNotFound(NotFound):
    """This webhook has no delivery with this id. Old deliveries are deleted; check the list of its deliveries."""

    title = "Delivery not found"


class RouteNotFound(NotFound):
    """This address does not exist. The API is documented at /docs; the dashboard is at /dashboard."""


class MethodNotAllowed(NotFound):
    """This address does not support that method. The header Allow lists the methods that it supports."""

    title = "Method not allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = sorted(allowed)
        super().__init__(f"This address supports only these methods: {', '.join(self.allowed)}.")


class Conflict(DevFlowError):
    """The request is not possible in the current state. Read the resource again before you retry."""

    title = "Conflict"


class AgentExists(Conflict):
    """You already have an agent with this agentId. Choose another one, or send "replace": true to replace it."""

    title = "Agent with this ID already exists for user"


class WrongOffset(DevFlowError):
    """The chunk does not start where the stored data ends. Send the chunk that starts at the Upload-Offset."""

    title = "Wrong offset"

    def __init__(self, expected_offset: int) -> None:
        self.expected_offset = expected_offset
        """Where the stored data ends, in bytes."""
        super().__init__(
            f"The stored data ends at byte {expected_offset}. Send the chunk that starts there.",
            [f"offset: {expected_offset}"],
        )


class RateLimited(DevFlowError):
    """You have sent too many requests. Wait for the seconds in the header Retry-After before you retry."""

    title = "Too many requests"

    def __init__(self, message: str, retry_after: int) -> None:
        self.retry_after = retry_after
        """Seconds until a request can succeed."""
        super().__init__(message)


class Unavailable(DevFlowError):
    """The platform is temporarily unavailable. Send the same request again after the seconds in Retry-After."""

    title = "Temporarily unavailable"

    def __init__(self, message: str = "", *, retry_after: int | None = None) -> None:
        self.retry_after = retry_after
        """Seconds after which a request may succeed. None: not known, so the response asks for a short wait."""
        super().__init__(message)
