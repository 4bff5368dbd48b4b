"""Computes dollars by service: the measured figures of calls (bench/figures.json) times AWS's list prices."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Self

from bench import figures
from bench.cost import prices, usage
from bench.cost.prices import GB
from bench.figures import Figures
from chalicelib.core.settings import settings
from tests.support import template

API, LAMBDA, DYNAMODB, SQS, LOGS = "API Gateway", "Lambda", "DynamoDB", "SQS", "CloudWatch, logs"
MONITORING, SECRETS, KMS = "CloudWatch, other", "Secrets Manager", "KMS"
SERVICES = [API, LAMBDA, DYNAMODB, SQS, LOGS, MONITORING, SECRETS, KMS]


class Bill(defaultdict[str, float]):
    """Dollars by service."""

    def __init__(self, **dollars: float) -> None:
        super().__init__(float, **dollars)

    def add(self, other: "Bill", times: float = 1) -> Self:
        for service, dollars in other.items():
            self[service] += times * dollars
        return self


REQUEST_WAITS = {"TransactWriteItems": 15, "SendMessage": 10, "SendEmail": 50}
DEFAULT_WAIT = 5
"""Milliseconds until AWS responds to a request. Assumed, because the benchmarks do not run on AWS."""

ONE_PROCESSOR = 1_769
"""MB of memory at which a function has one whole processor. With less memory it has that share of one
(https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html)."""

LAMBDA_LOG_BYTES = 330
"""Bytes of the lines START, END and REPORT, which Lambda logs for each invocation."""

POLLERS = 5
"""The minimum number of pollers that Lambda runs for a queue. Each polls every twenty seconds
(https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html)."""

RECEIVE_AND_DELETE = 2
"""Requests to SQS for each message, besides the one that sends it."""

KEYS_EVERY = 300
"""Seconds after which a container reads the secret again. DynamoDB reads a table's key as often for each role."""

ROW_IN_INDEX = 150
"""Bytes of an agent in the sweep's index. For its metrics the sweep reads up to a thousand agents of each shard."""

CONFIG = Path(__file__).parents[2] / ".chalice" / "config.json"


@cache
def load_figures() -> dict[str, Figures]:
    return figures.load()


@cache
def memory_of(function: str) -> int:
    """MB of memory of a function on the stage prod."""
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    return int(config["stages"]["prod"]["lambda_functions"][function]["lambda_memory_size"])


@cache
def _resource_types() -> dict[str, str]:
    """The type of each resource of infra/template.yaml, by logical name."""
    return {name: resource["Type"] for name, resource in template.load()["Resources"].items()}


def _find_resources(kind: str) -> list[str]:
    return [name for name, type_ in _resource_types().items() if type_ == kind]


def billed_milliseconds(call: Figures) -> int:
    """Milliseconds that Lambda bills for an invocation: its CPU time on its share of a processor, and its waits for AWS
    one after the other."""
    share = min(1.0, memory_of(function_of(call)) / ONE_PROCESSOR)
    waits = sum(REQUEST_WAITS.get(request.split()[0], DEFAULT_WAIT) for request in call.requests)
    return math.ceil(call.cpu / share + waits)


def function_of(call: Figures) -> str:
    return "api_handler" if " " in call.reached else call.reached


def bill_call(call: Figures) -> Bill:
    """The bill of one call, or of one invocation of a function with one message."""
    seconds = billed_milliseconds(call) / 1_000
    sent = sum(request.startswith("SendMessage") for request in call.requests)
    bill = Bill()
    if function_of(call) == "api_handler":
        bill[API] = prices.API_REQUEST.dollars + call.answer * prices.BYTE_OUT.dollars
    bill[LAMBDA] = prices.LAMBDA_REQUEST.dollars
    bill[LAMBDA] += memory_of(function_of(call)) / 1_024 * seconds * prices.LAMBDA_GB_SECOND.dollars
    bill[DYNAMODB] = call.read * prices.READ_UNIT.dollars + call.write * prices.WRITE_UNIT.dollars
    bill[SQS] = sent * (1 + RECEIVE_AND_DELETE) * prices.SQS_REQUEST.dollars
    bill[LOGS] = (call.log + LAMBDA_LOG_BYTES) * prices.LOG_BYTE.dollars
    return bill


def bill_calls(calls: Mapping[str, float]) -> Bill:
    """`calls`: the number of calls by name."""
    bill = Bill()
    for name, number in calls.items():
        bill.add(bill_call(load_figures()[name]), number)
    return bill


def bill_unused_stage() -> Bill:
    """The monthly bill of a stage like prod without any calls."""
    sweeps = usage.MONTH // 60
    bill = bill_calls({"sweep, idle": sweeps})
    queues = [name for name in _find_resources("AWS::SQS::Queue") if "Dead" not in name]
    bill[SQS] += len(queues) * POLLERS * usage.MONTH / 20 * prices.SQS_REQUEST.dollars
    alarms, dashboards = _find_resources("AWS::CloudWatch::Alarm"), _find_resources("AWS::CloudWatch::Dashboard")
    bill[MONITORING] = len(alarms) * prices.ALARM.dollars + len(dashboards) * prices.DASHBOARD.dollars
    bill[SECRETS] = len(_find_resources("AWS::SecretsManager::Secret")) * prices.SECRET.dollars
    return bill.add(_bill_keys(roles=1))


def bill_stage(agents: int, calls: Mapping[str, int]) -> Bill:
    """The monthly bill of a stage like prod. `calls`: the calls of each agent and its tasks, by name."""
    bill = bill_unused_stage()
    if not agents:
        return bill
    bill.add(bill_calls(calls), agents)
    requests = agents * sum(number for name, number in calls.items() if " " in load_figures()[name].reached)
    discount = prices.API_REQUEST.dollars - prices.API_REQUEST_SECOND_TIER.dollars
    bill[API] -= max(0, requests - prices.API_FIRST_TIER) * discount
    has_tasks = "submit" in calls
    bill[MONITORING] += (7 if has_tasks else 3) * prices.METRIC.dollars
    units = min(agents, 1_000 * settings.shards) * ROW_IN_INDEX / 4_096 / 2
    bill[DYNAMODB] += usage.MONTH // 60 * units * prices.READ_UNIT.dollars
    if has_tasks:
        bill.add(_bill_storage(agents, calls))
    reads = usage.MONTH / KEYS_EVERY * _count_containers(requests)
    bill[SECRETS] += reads * prices.SECRET_REQUEST.dollars
    return bill.add(_bill_keys(roles=3 if has_tasks else 1))


def _bill_storage(agents: int, calls: Mapping[str, int]) -> Bill:
    """Tasks and their logs in the tables for the whole retention, and a month of the functions' logs."""
    months = settings.retention_days / (usage.MONTH / usage.DAY)
    bytes_of_agent = calls["submit"] * usage.TASK_BYTES + calls["1 KB more of a log"] * 1_100
    stored = agents * bytes_of_agent * months / GB
    lines = agents * sum(number * (load_figures()[name].log + LAMBDA_LOG_BYTES) for name, number in calls.items()) / GB
    bill = Bill()
    bill[DYNAMODB] = stored * (prices.STORED_GB.dollars + prices.RECOVERABLE_GB.dollars)
    bill[LOGS] = lines * prices.LOG_STORED_GB.dollars
    return bill


def _count_containers(requests: float) -> int:
    """Running containers of the API: one more than the mean number of concurrent requests."""
    return 1 + math.ceil(requests / usage.MONTH * billed_milliseconds(load_figures()["idle poll, empty queue"]) / 1_000)


def _bill_keys(roles: int) -> Bill:
    """The use of the key of each table by each role."""
    tables = len(_find_resources("AWS::DynamoDB::Table"))
    return Bill(**{KMS: roles * tables * usage.MONTH / KEYS_EVERY * prices.KMS_REQUEST.dollars})
