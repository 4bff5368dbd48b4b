"""What a team would deploy in DevFlow's place: aws-lambda-powertools' REST resolver, PyJWT and pydantic, for the same
call: the stage's secret is read, the token checked, the body validated, and the agent's item written."""

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

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
Figure = Annotated[float, Field(ge=0, le=1e15)]
keys: dict[str, str] = {}


class Heartbeat(BaseModel):
    status: Annotated[str, StringConstraints(max_length=32)] | None = None
    uptime: Figure | None = None
    taskCount: Figure | None = None  # noqa: N815  # the spec's names
    memoryUsage: Figure | None = None  # noqa: N815
    cpuUsage: Figure | None = None  # noqa: N815
    version: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    capabilities: Annotated[list[Id], Field(max_length=32)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=20)] | None = None
    taskIds: Annotated[list[Id], Field(max_length=100)] | None = None  # noqa: N815
    instanceId: Id | None = None  # noqa: N815


class Beaten(BaseModel):
    success: bool = True
    status: str


def key(kid: str) -> str:
    if not keys:
        secret = boto3.client("secretsmanager").get_secret_value(SecretId="devflow-dev-secret")
        keys.update(json.loads(secret["SecretString"]))
    return keys[kid]


@app.post("/api/agents/<agent_id>/heartbeat")
def heartbeat(agent_id: str) -> dict[str, Any]:
    token = app.current_event.headers["Authorization"].removeprefix("Bearer ")
    kid = jwt.get_unverified_header(token)["kid"]
    claims = jwt.decode(token, key(kid), ["HS256"], issuer="devflow", audience="devflow-dev")
    assert claims["sub"] == agent_id
    said = Heartbeat.model_validate_json(app.current_event.body or "{}", strict=True)
    answer = client.update_item(
        TableName="devflow-dev-agents",
        Key={"owner": {"S": claims["own"]}, "agent": {"S": agent_id}},
        UpdateExpression="SET seenAt = :now, machine = :machine",
        ConditionExpression="ver = :ver",
        ExpressionAttributeValues={
            ":now": {"N": str(int(time.time() * 1_000))},
            ":machine": {"M": {"uptime": {"N": str(said.uptime)}}},
            ":ver": {"S": claims["ver"]},
        },
        ReturnValues="ALL_NEW",
    )
    logger.info("request")
    return Beaten(status=answer["Attributes"]["state"]["S"]).model_dump()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    answer: dict[str, Any] = app.resolve(event, context)
    return answer
