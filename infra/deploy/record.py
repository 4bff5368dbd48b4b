"""Tells Chalice what is there already.

Chalice knows what it deployed from .chalice/deployed/<stage>.json alone, which it writes at the very end. Cut short, or
run on another machine, it would make a second API under another address, and fail on triggers that are there. So that
file is made anew before each run, from what AWS has under the stage's names: whoever made it, and however far it came.
"""

import json
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError
from chalice.deploy import models

from infra.deploy.account import Account, code
from infra.deploy.stage import Stage

Entry = dict[str, Any]
"""One resource as Chalice records it: its `name` among the app's resources, its `resource_type`, and values by type."""

API_HANDLER = "api_handler"
_DOMAIN = "api_gateway_custom_domain"


def write(stage: Stage, account: Account) -> list[Entry]:
    """Write Chalice's record of the stage, and return its entries. What a run that was cut short left twice goes."""
    entries = [*functions(stage, account), *rules(stage, account), *apis(stage, account), *domains(stage, account)]
    path = stage.project / ".chalice" / "deployed" / f"{stage.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"resources": entries, "schema_version": "2.0", "backend": "api"}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return entries


def recorded(stage: Stage) -> dict[str, Entry]:
    """What the file says as it stands, by name."""
    try:
        content = json.loads((stage.project / ".chalice" / "deployed" / f"{stage.name}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {entry["name"]: entry for entry in content["resources"]}


def functions(stage: Stage, account: Account) -> Iterator[Entry]:
    """Functions with their roles and triggers; also those that app.py no longer declares, so that Chalice removes them.

    A role is looked for under each name that a function has or is to have: it is made first, and may be alone.
    """
    standing = {_resource_name(stage, name): arn for name, arn in function_arns(stage, account).items()}
    planned = {function.resource_name for function in stage.of_kind(models.LambdaFunction)}
    for name in sorted(standing.keys() | planned):
        role = _role(account, f"{stage.stack}-{name}")
        if role is not None:
            yield {
                "name": f"{name}_role",
                "resource_type": "iam_role",
                "role_name": f"{stage.stack}-{name}",
                "role_arn": role,
            }
        if name in standing:
            yield {"name": name, "resource_type": "lambda_function", "lambda_arn": standing[name]}
            yield from _triggers(stage, account, name, standing[name])


def function_arns(stage: Stage, account: Account) -> dict[str, str]:
    """The stage's functions in AWS, by their whole names."""
    found = account.pages("lambda", "list_functions", "Functions")
    return {
        function["FunctionName"]: function["FunctionArn"]
        for function in found
        if function["FunctionName"] == stage.stack or function["FunctionName"].startswith(f"{stage.stack}-")
    }


def _resource_name(stage: Stage, function: str) -> str:
    """Chalice calls the function of the API as the stage is called, and the others after their handlers."""
    return API_HANDLER if function == stage.stack else function.removeprefix(f"{stage.stack}-")


def _role(account: Account, name: str) -> str | None:
    try:
        return str(account.client("iam").get_role(RoleName=name)["Role"]["Arn"])
    except ClientError as error:
        if code(error) != "NoSuchEntity":
            raise
        return None


def _triggers(stage: Stage, account: Account, name: str, function_arn: str) -> Iterator[Entry]:
    """The queue that feeds a function. One that the app declares goes before another; the others go away."""
    wanted = {
        source.queue for source in stage.of_kind(models.SQSEventSource) if source.lambda_function.resource_name == name
    }
    mappings = list(
        account.pages("lambda", "list_event_source_mappings", "EventSourceMappings", FunctionName=function_arn)
    )
    mappings.sort(key=lambda each: (_queue(each) not in wanted, each["UUID"]))
    for extra in mappings[1:]:
        print(f"  removing a second trigger of {name}, from {_queue(extra)}")
        account.client("lambda").delete_event_source_mapping(UUID=extra["UUID"])
    for mapping in mappings[:1]:
        yield {
            "name": f"{name}-sqs-event-source",
            "resource_type": "sqs_event",
            "queue_arn": mapping["EventSourceArn"],
            "event_uuid": mapping["UUID"],
            "queue": _queue(mapping),
            "lambda_arn": function_arn,
        }


def _queue(mapping: Entry) -> str:
    return str(mapping["EventSourceArn"].rpartition(":")[2])


def rules(stage: Stage, account: Account) -> Iterator[Entry]:
    """The schedules."""
    for rule in account.pages("events", "list_rules", "Rules", NamePrefix=f"{stage.stack}-"):
        name = rule["Name"].removeprefix(f"{stage.stack}-")
        yield {"name": name, "resource_type": "cloudwatch_event", "rule_name": rule["Name"]}


def apis(stage: Stage, account: Account) -> Iterator[Entry]:
    """The API, if there is one.

    Among several (Chalice by itself makes a second one after a run that was cut short) it is the one that was recorded,
    else the oldest that was ever published: its address is known to people. Those that never were published go; another
    one that was is named, for somebody may use it.
    """
    known = recorded(stage).get("rest_api", {}).get("rest_api_id")
    found = sorted(stage_apis(stage, account), key=lambda api: (api["id"] != known, not api["stages"], api["created"]))
    for extra in found[1:]:
        if extra["stages"]:
            print(
                f"  there is a second API {extra['id']} of this stage; when nobody uses it, remove it:\n"
                f"    aws apigateway delete-rest-api --rest-api-id {extra['id']}"
            )
        else:
            print(f"  removing the API {extra['id']}, which was never published")
            account.client("apigateway").delete_rest_api(restApiId=extra["id"])
    for api in found[:1]:
        yield {
            "name": "rest_api",
            "resource_type": "rest_api",
            "rest_api_id": api["id"],
            "rest_api_url": address(account, api["id"], stage.config.api_gateway_stage),
        }


def stage_apis(stage: Stage, account: Account) -> Iterator[Entry]:
    """Every API that bears the stage's name: `id`, when it was `created`, and the names of its published `stages`."""
    client = account.client("apigateway")
    for api in account.pages("apigateway", "get_rest_apis", "items"):
        if api["name"] == stage.stack:
            published = [each["stageName"] for each in client.get_stages(restApiId=api["id"])["item"]]
            yield {"id": api["id"], "created": api["createdDate"], "stages": published}


def address(account: Account, api: str, api_stage: str) -> str:
    """Where API Gateway answers for an API."""
    suffix = "amazonaws.com.cn" if account.region.startswith("cn-") else "amazonaws.com"
    return f"https://{api}.execute-api.{account.region}.{suffix}/{api_stage}/"


def domains(stage: Stage, account: Account) -> Iterator[Entry]:
    """The domain name of the API: the one that the stage is to have, or the one that it had."""
    wanted = [domain.domain_name for domain in stage.of_kind(models.DomainName)]
    had = recorded(stage).get(_DOMAIN, {}).get("domain_name")
    client = account.client("apigateway")
    for name in wanted or ([had] if had else []):
        try:
            domain = client.get_domain_name(domainName=name)
        except ClientError as error:
            if code(error) != "NotFoundException":
                raise
            continue
        mappings = account.pages("apigateway", "get_base_path_mappings", "items", domainName=name)
        regional = "regionalDomainName" in domain
        yield {
            "name": _DOMAIN,
            "resource_type": "domain_name",
            "domain_name": name,
            "hosted_zone_id": domain["regionalHostedZoneId" if regional else "distributionHostedZoneId"],
            "alias_domain_name": domain["regionalDomainName" if regional else "distributionDomainName"],
            "certificate_arn": domain["regionalCertificateArn" if regional else "certificateArn"],
            "security_policy": domain["securityPolicy"],
            "api_mapping": [{"key": _key(mapping["basePath"])} for mapping in mappings],
        }


def _key(base_path: str) -> str:
    """A path under a domain name as Chalice records it."""
    return "/" if base_path == "(none)" else f"/{base_path}"
