"""A handler as a team would write it without DevFlow: the REST resolver of aws-lambda-powertools, PyJWT and pydantic.

It does the same work as DevFlow: it reads the stage's secret, verifies the token, validates the body and writes the
agent's item.
"""

import json
import time
from typing import Annotated, Any

import boto3
import jwt
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from pydantic import BaseModel, Field, StringConstraints

client = boto3.client("dynamodb")
logger = Logger(service="devflow")
app = APIGatewayRestResolver()

_Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
_Figure = Annotated[float, Field(ge=0, le=1e15)]
_keys: dict[str, str] = {}


class HeartbeatRequest(BaseModel):
    status: Annotated[str, StringConstraints(max_length=32)] | None = None
    uptime: _Figure | None = None
    taskCount: _Figure | None = None  # noqa: N815  # names of the API
    memoryUsage: _Figure | None = None  # noqa: N815
    cpuUsage: _Figure | None = None  # noqa: N815
    version: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    capabilities: Annotated[list[_Id], Field(max_length=32)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=20)] | None = None
    taskIds: Annotated[list[_Id], Field(max_length=100)] | None = None  # noqa: N815
    instanceId: _Id | None = None  # noqa: N815


class HeartbeatResponse(BaseModel):
    success: bool = True
    status: str


def load_key(kid: str) -> str:
    if not _keys:
        secret = boto3.client("secretsmanager").get_secret_value(SecretId="devflow-dev-secret")
        _keys.update(json.loads(secret["SecretString"]))
    return _keys[kid]


@app.post("/api/agents/<agent_id>/heartbeat")
def post_heartbeat(agent_id: str) -> dict[str, Any]:
    token = app.current_event.headers["Authorization"].removeprefix("Bearer ")
    kid = jwt.get_unverified_header(token)["kid"]
    claims = jwt.decode(token, load_key(kid), ["HS256"], issuer="devflow", audience="devflow-dev")
    assert claims["sub"] == agent_id
    body = HeartbeatRequest.model_validate_json(app.current_event.body or "{}", strict=True)
    response = client.update_item(
        TableName="devflow-dev-agents",
        Key={"owner": {"S": claims["own"]}, "agent": {"S": agent_id}},
        UpdateExpression="SET seenAt = :now, machine = :machine",
        ConditionExpression="ver = :ver",
        ExpressionAttributeValues={
            ":now": {"N": str(int(time.time() * 1_000))},
            ":machine": {"M": {"uptime": {"N": str(body.uptime)}}},
            ":ver": {"S": claims["ver"]},
        },
        ReturnValues="ALL_NEW",
    )
    logger.info("request")
    return HeartbeatResponse(status=response["Attributes"]["state"]["S"]).model_dump()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    response: dict[str, Any] = app.resolve(event, context)
    return response
