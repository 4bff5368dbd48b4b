"""Everything that can go wrong for a caller. Knows no HTTP: `chalicelib.http` gives each its status.

    DevFlowError
    ├── Invalid                 the request cannot be meant
    │   ├── MissingFields
    │   ├── ProgressOutOfRange
    │   ├── NotJson
    │   ├── TooLarge
    │   └── UnsupportedContent
    ├── Unauthenticated         who calls is not known
    │   └── AgentTokenInvalid
    ├── Forbidden               the wrong kind of token
    ├── NotFound                not there, or somebody else's: the two are never told apart
    │   ├── AgentNotFound
    │   ├── TaskNotFound
    │   ├── WebhookNotFound
    │   ├── DeliveryNotFound
    │   ├── RouteNotFound
    │   └── MethodNotAllowed
    ├── Conflict                not possible in the present state
    │   └── AgentExists
    ├── WrongOffset             a piece that does not fit to what is there; carries where it ends
    ├── RateLimited             too often; carries when to come back
    └── Unavailable             not now, through no fault of the caller; asking again is right

An error's docstring is its default message. `title` is what clients switch on: it never changes.
"""

from collections.abc import Sequence


class DevFlowError(Exception):
    """Something went wrong."""

    title = "Internal error"

    def __init__(self, message: str = "", details: Sequence[str] | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.details = list(details) if details is not None else None
        super().__init__(self.message)


class Invalid(DevFlowError):
    """The request is not valid."""

    title = "Invalid request"


class MissingFields(Invalid):
    """Missing required fields"""

    title = "Missing required fields"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"These fields are required: {', '.join(names)}.", names)


class ProgressOutOfRange(Invalid):
    """`progress` must be a number from 0 (just begun) to 1 (all done)."""

    title = "Progress must be between 0 and 1"


class NotJson(Invalid):
    """The body is not valid JSON."""

    title = "Invalid JSON"


class TooLarge(Invalid):
    """The body is too large."""

    title = "Request too large"


class UnsupportedContent(Invalid):
    """The body must be JSON, sent with the header Content-Type: application/json."""

    title = "Unsupported content type"


class Unauthenticated(DevFlowError):
    """Send a valid token in the header Authorization: Bearer <token>; log in again to get a new one."""

    title = "Invalid or expired token"


class AgentTokenInvalid(Unauthenticated):
    """Send the token that the agent got when it was registered, in the header Authorization: Bearer <token>."""

    title = "Agent token expired or invalid"


class Forbidden(DevFlowError):
    """This kind of token may not do that."""

    title = "Insufficient permissions"


class NotFound(DevFlowError):
    """There is no such thing."""

    title = "Not found"


class AgentNotFound(NotFound):
    """You have no agent with this id."""

    title = "Agent not found"


class TaskNotFound(NotFound):
    """You have no task with this id."""

    title = "Task not found"


class WebhookNotFound(NotFound):
    """You have no webhook with this id."""

    title = "Webhook not found"


class DeliveryNotFound(NotFound):
    """This webhook has no delivery with this id, or not any more."""

    title = "Delivery not found"


class RouteNotFound(NotFound):
    """There is nothing at this address; /dashboard is for people, and /docs lists what there is for programs."""


class MethodNotAllowed(NotFound):
    """This address does not support that method."""

    title = "Method not allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = sorted(allowed)
        super().__init__(f"Allowed here: {', '.join(self.allowed)}.")


class Conflict(DevFlowError):
    """That is not possible in the present state."""

    title = "Conflict"


class AgentExists(Conflict):
    """Choose another agentId, or send "replace": true to register this one anew."""

    title = "Agent with this ID already exists for user"


class WrongOffset(DevFlowError):
    """The piece does not fit to what is there already."""

    title = "Wrong offset"

    def __init__(self, expected_offset: int) -> None:
        self.wanted = expected_offset
        super().__init__(
            f"What is there ends at byte {expected_offset}; go on from there.", [f"offset: {expected_offset}"]
        )


class RateLimited(DevFlowError):
    """Too many requests."""

    title = "Too many requests"

    def __init__(self, message: str, retry_after: int) -> None:
        self.retry_after = retry_after
        """Seconds until a call can succeed."""
        super().__init__(message)


class Unavailable(DevFlowError):
    """The platform cannot answer right now; send the same request again in a moment."""

    title = "Temporarily unavailable"
