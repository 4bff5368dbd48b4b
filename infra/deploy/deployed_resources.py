"""Records for Chalice which of a stage's resources exist.

Chalice knows what it has deployed only from .chalice/deployed/<stage>.json, which it writes at the end of a deployment.
Without that file, after an interrupted run or on another machine, it would create a second API with another address and
fail because the triggers exist. So this module writes the file before each run, from the resources in AWS that have the
stage's names. It does not matter who created them, or at which step an earlier run stopped.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from chalice.deploy import models

from infra.deploy.aws_account import AwsAccount, error_code
from infra.deploy.stage import Stage

Entry = dict[str, Any]
"""One resource as Chalice records it: `name` (its name in the app), `resource_type`, and values that depend on it."""

API_HANDLER = "api_handler"
_DOMAIN = "api_gateway_custom_domain"


def path(stage: Stage) -> Path:
    """The file in which Chalice records what it has deployed."""
    return stage.project / ".chalice" / "deployed" / f"{stage.name}.json"


def write(stage: Stage, account: AwsAccount) -> list[Entry]:
    """Write the file and return its entries. Duplicates that an interrupted run has left are deleted from AWS."""
    entries = [*functions(stage, account), *rules(stage, account), *apis(stage, account), *domains(stage, account)]
    path(stage).parent.mkdir(parents=True, exist_ok=True)
    content = {"resources": entries, "schema_version": "2.0", "backend": "api"}
    path(stage).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return entries


def read(stage: Stage) -> dict[str, Entry]:
    """The entries of the file, by name. Empty if there is no file or it cannot be read."""
    try:
        content = json.loads(path(stage).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {entry["name"]: entry for entry in content["resources"]}


def functions(stage: Stage, account: AwsAccount) -> Iterator[Entry]:
    """The functions with their roles and triggers. Includes those that app.py no longer declares: Chalice deletes them.

    Chalice creates a role before its function, so an interrupted run can leave a role alone. Roles are therefore looked
    up for the functions that exist and for those that app.py declares.
    """
    existing = {_resource_name(stage, name): arn for name, arn in function_arns(stage, account).items()}
    declared = {function.resource_name for function in stage.resources_of_type(models.LambdaFunction)}
    for name in sorted(existing.keys() | declared):
        role_arn = _role_arn(account, f"{stage.stack}-{name}")
        if role_arn is not None:
            yield {
                "name": f"{name}_role",
                "resource_type": "iam_role",
                "role_name": f"{stage.stack}-{name}",
                "role_arn": role_arn,
            }
        if name in existing:
            yield {"name": name, "resource_type": "lambda_function", "lambda_arn": existing[name]}
            yield from _triggers(stage, account, name, existing[name])


def function_arns(stage: Stage, account: AwsAccount) -> dict[str, str]:
    """The ARNs of the stage's functions in AWS, by function name."""
    found = account.paginate("lambda", "list_functions", "Functions")
    return {
        function["FunctionName"]: function["FunctionArn"]
        for function in found
        if function["FunctionName"] == stage.stack or function["FunctionName"].startswith(f"{stage.stack}-")
    }


def _resource_name(stage: Stage, function_name: str) -> str:
    """A function's name in the app. In AWS, the API's function is named like the stack, others have a suffix."""
    return API_HANDLER if function_name == stage.stack else function_name.removeprefix(f"{stage.stack}-")


def _role_arn(account: AwsAccount, role_name: str) -> str | None:
    try:
        return str(account.client("iam").get_role(RoleName=role_name)["Role"]["Arn"])
    except ClientError as error:
        if error_code(error) != "NoSuchEntity":
            raise
        return None


def _triggers(stage: Stage, account: AwsAccount, name: str, function_arn: str) -> Iterator[Entry]:
    """The queue that invokes a function. Of several, the one that the app declares; the others are deleted."""
    declared = {
        source.queue
        for source in stage.resources_of_type(models.SQSEventSource)
        if source.lambda_function.resource_name == name
    }
    mappings = list(
        account.paginate("lambda", "list_event_source_mappings", "EventSourceMappings", FunctionName=function_arn)
    )
    mappings.sort(key=lambda mapping: (_queue_name(mapping) not in declared, mapping["UUID"]))
    for duplicate in mappings[1:]:
        print(f"  deleting a second trigger of {name}, the queue {_queue_name(duplicate)}")
        account.client("lambda").delete_event_source_mapping(UUID=duplicate["UUID"])
    for mapping in mappings[:1]:
        yield {
            "name": f"{name}-sqs-event-source",
            "resource_type": "sqs_event",
            "queue_arn": mapping["EventSourceArn"],
            "event_uuid": mapping["UUID"],
            "queue": _queue_name(mapping),
            "lambda_arn": function_arn,
        }


def _queue_name(mapping: Entry) -> str:
    return str(mapping["EventSourceArn"].rpartition(":")[2])


def rules(stage: Stage, account: AwsAccount) -> Iterator[Entry]:
    """The EventBridge rules, which are the schedules."""
    for rule in account.paginate("events", "list_rules", "Rules", NamePrefix=f"{stage.stack}-"):
        name = rule["Name"].removeprefix(f"{stage.stack}-")
        yield {"name": name, "resource_type": "cloudwatch_event", "rule_name": rule["Name"]}


def apis(stage: Stage, account: AwsAccount) -> Iterator[Entry]:
    """The API, if there is one.

    There can be several, because Chalice creates a second API after an interrupted run. The one to keep is the recorded
    one, else the oldest published one, whose address users know. APIs that were never published are deleted. Another
    published API is only reported, because somebody may use it.
    """
    recorded_id = read(stage).get("rest_api", {}).get("rest_api_id")
    found = sorted(
        stage_apis(stage, account), key=lambda api: (api["id"] != recorded_id, not api["stages"], api["created"])
    )
    for other in found[1:]:
        if other["stages"]:
            print(
                f"  this stage has a second API, {other['id']}. Once nobody uses it, delete it:\n"
                f"    aws apigateway delete-rest-api --rest-api-id {other['id']}"
            )
        else:
            print(f"  deleting the API {other['id']}, which was never published")
            account.client("apigateway").delete_rest_api(restApiId=other["id"])
    for api in found[:1]:
        yield {
            "name": "rest_api",
            "resource_type": "rest_api",
            "rest_api_id": api["id"],
            "rest_api_url": api_url(account, api["id"], stage.chalice_config.api_gateway_stage),
        }


def stage_apis(stage: Stage, account: AwsAccount) -> Iterator[Entry]:
    """Every API with the stage's name: its `id`, when it was `created`, and its published `stages` by name."""
    client = account.client("apigateway")
    for api in account.paginate("apigateway", "get_rest_apis", "items"):
        if api["name"] == stage.stack:
            published = [each["stageName"] for each in client.get_stages(restApiId=api["id"])["item"]]
            yield {"id": api["id"], "created": api["createdDate"], "stages": published}


def api_url(account: AwsAccount, api_id: str, api_stage: str) -> str:
    """API Gateway's URL of an API, with a trailing slash."""
    suffix = "amazonaws.com.cn" if account.region.startswith("cn-") else "amazonaws.com"
    return f"https://{api_id}.execute-api.{account.region}.{suffix}/{api_stage}/"


def domains(stage: Stage, account: AwsAccount) -> Iterator[Entry]:
    """The custom domain of the API, if it exists: the one in the stage's configuration, else the recorded one."""
    configured = [domain.domain_name for domain in stage.resources_of_type(models.DomainName)]
    recorded = read(stage).get(_DOMAIN, {}).get("domain_name")
    client = account.client("apigateway")
    for name in configured or ([recorded] if recorded else []):
        try:
            domain = client.get_domain_name(domainName=name)
        except ClientError as error:
            if error_code(error) != "NotFoundException":
                raise
            continue
        mappings = account.paginate("apigateway", "get_base_path_mappings", "items", domainName=name)
        regional = "regionalDomainName" in domain
        yield {
            "name": _DOMAIN,
            "resource_type": "domain_name",
            "domain_name": name,
            "hosted_zone_id": domain["regionalHostedZoneId" if regional else "distributionHostedZoneId"],
            "alias_domain_name": domain["regionalDomainName" if regional else "distributionDomainName"],
            "certificate_arn": domain["regionalCertificateArn" if regional else "certificateArn"],
            "security_policy": domain["securityPolicy"],
            "api_mapping": [{"key": _mapping_key(mapping["basePath"])} for mapping in mappings],
        }


def _mapping_key(base_path: str) -> str:
    """A base path of a domain, as Chalice records it."""
    return "/" if base_path == "(none)" else f"/{base_path}"
