"""A handler with aws-lambda-powertools: its REST resolver and its logger, without validation or tokens."""

import time
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver

client = boto3.client("dynamodb")
logger = Logger(service="devflow")
app = APIGatewayRestResolver()


@app.post("/api/agents/<agent_id>/heartbeat")
def post_heartbeat(agent_id: str) -> dict[str, Any]:
    response = client.update_item(
        TableName="devflow-dev-agents",
        Key={"owner": {"S": "user-1"}, "agent": {"S": agent_id}},
        UpdateExpression="SET seenAt = :now",
        ExpressionAttributeValues={":now": {"N": str(int(time.time() * 1_000))}},
        ReturnValues="ALL_NEW",
    )
    logger.info("request")
    return {"success": True, "status": response["Attributes"]["state"]["S"]}


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    response: dict[str, Any] = app.resolve(event, context)
    return response
