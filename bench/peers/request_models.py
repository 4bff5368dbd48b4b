"""The pydantic models of requests and the checks of callers, for the peers that use pydantic and PyJWT."""

from typing import Annotated, Any, Literal

import jwt
from jwt.types import Options
from pydantic import BaseModel, Field, StrictFloat, StrictInt, StrictStr, StringConstraints, ValidationError

from bench.peers import common
from bench.peers.common import ApiError, Caller

Id = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
Capability = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
Figure = Annotated[StrictFloat, Field(ge=0, le=1e15)]


class HeartbeatBody(BaseModel):
    status: Annotated[StrictStr, StringConstraints(max_length=32)] | None = None
    uptime: Figure | None = None
    taskCount: Figure | None = None  # noqa: N815  # names of the API
    memoryUsage: Figure | None = None  # noqa: N815
    cpuUsage: Figure | None = None  # noqa: N815
    version: Annotated[StrictStr, StringConstraints(min_length=1, max_length=64)] | None = None
    capabilities: Annotated[list[Capability], Field(max_length=32)] | None = None
    concurrency: Annotated[StrictInt, Field(ge=1, le=20)] | None = None
    taskIds: Annotated[list[Id], Field(max_length=100)] | None = None  # noqa: N815
    instanceId: Id | None = None  # noqa: N815


class ProgressBody(BaseModel):
    progress: Annotated[StrictFloat, Field(ge=0, le=1)]
    status: Literal["in_progress"] = "in_progress"
    step: StrictStr | None = None
    details: StrictStr | None = None
    attempt: Annotated[StrictInt, Field(ge=1, le=1_000)] | None = None


WITHOUT_TIME_CHECKS: Options = {"verify_exp": False, "verify_iat": False}
"""PyJWT would compare with the real time; `common.make_caller` checks the expiry against the frozen clock."""

Limit = Annotated[int, Field(ge=1, le=100)]


class PollQuery(BaseModel):
    limit: Limit = 10


class TaskListQuery(BaseModel):
    limit: Limit = 20


def verify_token(authorization: str, path: str, at: int) -> Caller:
    """The caller that a token identifies. Raises ApiError if the token is invalid."""
    scheme, _, token = authorization.partition(" ")
    try:
        key = common.KEYS[jwt.get_unverified_header(token)["kid"]]
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=["HS256"], issuer="devflow", audience="devflow-local", options=WITHOUT_TIME_CHECKS
        )
        caller = common.make_caller(claims, at)
    except (ValueError, KeyError, jwt.PyJWTError):
        raise common.make_token_error(path) from None
    if scheme.lower() != "bearer":
        raise common.make_token_error(path)
    return caller


def require_own_agent(caller: Caller, agent_id: str) -> None:
    if caller.kind != "agent" or caller.subject != agent_id:
        raise ApiError(404, "Agent not found")


def require_user(caller: Caller) -> None:
    if caller.kind != "user":
        raise ApiError(403, "Insufficient permissions")


def to_api_error(problems: list[Any]) -> ApiError:
    """The error response for what pydantic rejected, with the titles of the specification."""
    about_progress = [problem for problem in problems if "progress" in problem["loc"]]
    if any(problem["type"] == "missing" for problem in about_progress):
        return ApiError(400, "Missing required fields")
    if about_progress:
        return ApiError(400, "Progress must be between 0 and 1")
    return ApiError(400, "Invalid request", problems[0]["msg"])


def convert_validation_error(error: ValidationError) -> ApiError:
    return to_api_error(error.errors())
