"""A handler on boto3, and nothing else."""

import json
import time

import boto3

client = boto3.client("dynamodb")


def handler(event: dict[str, object], context: object) -> dict[str, object]:
    del event, context
    answer = client.update_item(
        TableName="devflow-dev-agents",
        Key={"owner": {"S": "user-1"}, "agent": {"S": "agent-1"}},
        UpdateExpression="SET seenAt = :now",
        ExpressionAttributeValues={":now": {"N": str(int(time.time() * 1_000))}},
        ReturnValues="ALL_NEW",
    )
    body = {"success": True, "status": answer["Attributes"]["state"]["S"]}
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}
