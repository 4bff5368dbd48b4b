"""Requests as pydantic models, for the peers that parse with it."""

from typing import Annotated, Any, Literal

import jwt
from jwt.types import Options
from pydantic import BaseModel, Field, StrictFloat, StrictInt, StrictStr, StringConstraints, ValidationError

from bench.peers import work
from bench.peers.work import Caller, Refused

Id = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
Capability = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
Figure = Annotated[StrictFloat, Field(ge=0, le=1e15)]


class Heartbeat(BaseModel):
    status: Annotated[StrictStr, StringConstraints(max_length=32)] | None = None
    uptime: Figure | None = None
    taskCount: Figure | None = None  # noqa: N815  # the spec's names
    memoryUsage: Figure | None = None  # noqa: N815
    cpuUsage: Figure | None = None  # noqa: N815
    version: Annotated[StrictStr, StringConstraints(min_length=1, max_length=64)] | None = None
    capabilities: Annotated[list[Capability], Field(max_length=32)] | None = None
    concurrency: Annotated[StrictInt, Field(ge=1, le=20)] | None = None
    taskIds: Annotated[list[Id], Field(max_length=100)] | None = None  # noqa: N815
    instanceId: Id | None = None  # noqa: N815


class Progress(BaseModel):
    progress: Annotated[StrictFloat, Field(ge=0, le=1)]
    status: Literal["in_progress"] = "in_progress"
    step: StrictStr | None = None
    details: StrictStr | None = None
    attempt: Annotated[StrictInt, Field(ge=1, le=1_000)] | None = None


UNTIMED: Options = {"verify_exp": False, "verify_iat": False}
"""Time is an argument here, so PyJWT is not to look at the clock."""

Limit = Annotated[int, Field(ge=1, le=100)]


class Poll(BaseModel):
    limit: Limit = 10


class Page(BaseModel):
    limit: Limit = 20


def verified(authorization: str, path: str, at: int) -> Caller:
    """The holder of a token, by PyJWT."""
    scheme, _, token = authorization.partition(" ")
    try:
        key = work.KEYS[jwt.get_unverified_header(token)["kid"]]
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=["HS256"], issuer="devflow", audience="devflow-local", options=UNTIMED
        )
        caller = work.caller_of(claims, at)
    except (ValueError, KeyError, jwt.PyJWTError):
        raise work.denied(path) from None
    if scheme.lower() != "bearer":
        raise work.denied(path)
    return caller


def own_agent(caller: Caller, agent: str) -> None:
    if caller.kind != "agent" or caller.subject != agent:
        raise Refused(404, "Agent not found")


def user(caller: Caller) -> None:
    if caller.kind != "user":
        raise Refused(403, "Insufficient permissions")


def invalid(problems: list[Any]) -> Refused:
    """What pydantic found wrong, under the spec's titles."""
    about_progress = [problem for problem in problems if "progress" in problem["loc"]]
    if any(problem["type"] == "missing" for problem in about_progress):
        return Refused(400, "Missing required fields")
    if about_progress:
        return Refused(400, "Progress must be between 0 and 1")
    return Refused(400, "Invalid request", problems[0]["msg"])


def refusal(error: ValidationError) -> Refused:
    return invalid(error.errors())
