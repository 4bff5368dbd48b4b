"""A handler with boto3 and no other library."""

import json
import time

import boto3

client = boto3.client("dynamodb")


def handler(event: dict[str, object], context: object) -> dict[str, object]:
    del event, context
    response = client.update_item(
        TableName="devflow-dev-agents",
        Key={"owner": {"S": "user-1"}, "agent": {"S": "agent-1"}},
        UpdateExpression="SET seenAt = :now",
        ExpressionAttributeValues={":now": {"N": str(int(time.time() * 1_000))}},
        ReturnValues="ALL_NEW",
    )
    body = {"success": True, "status": response["Attributes"]["state"]["S"]}
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}
