"""Dollars of calls, by service: what was measured (bench/figures.json), times AWS's list prices."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Self

from bench import figures
from bench.cost import prices, use
from bench.cost.prices import GB
from bench.figures import Figures
from chalicelib.core.settings import settings
from tests.support import template

API, LAMBDA, DYNAMODB, SQS, LOGS = "API Gateway", "Lambda", "DynamoDB", "SQS", "CloudWatch, logs"
WATCHING, SECRETS, KMS = "CloudWatch, the rest", "Secrets Manager", "KMS"
SERVICES = [API, LAMBDA, DYNAMODB, SQS, LOGS, WATCHING, SECRETS, KMS]


class Bill(defaultdict[str, float]):
    """Dollars by service."""

    def __init__(self, **dollars: float) -> None:
        super().__init__(float, **dollars)

    def add(self, other: "Bill", times: float = 1) -> Self:
        for service, dollars in other.items():
            self[service] += times * dollars
        return self


WAITS = {"TransactWriteItems": 15, "SendMessage": 10, "SendEmail": 50}
OTHER_WAIT = 5
"""Milliseconds until AWS has answered a request, assumed: there is no AWS here to measure it at."""

ONE_PROCESSOR = 1_769
"""MB at which a function has a whole processor
(https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html); with less it has that part of one."""

LAMBDAS_LINES = 330
"""Bytes that Lambda itself logs for each run: START, END and REPORT, as they look in any function's log."""

POLLERS = 5
"""So many connections Lambda keeps open to a queue at least, each asking again after twenty seconds
(https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html)."""

RECEIVE_AND_DELETE = 2
KEYS_EVERY = 300
"""Seconds after which a container reads the secret again, and DynamoDB its table's key for each role."""

ROW_IN_INDEX = 150
"""Bytes of an agent in the index of the sweep, which reads up to a thousand of each shard for its figures."""

CONFIG = Path(__file__).parents[2] / ".chalice" / "config.json"


@cache
def measured() -> dict[str, Figures]:
    return figures.load()


@cache
def memory(function: str) -> int:
    """MB of a function on prod."""
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    return int(config["stages"]["prod"]["lambda_functions"][function]["lambda_memory_size"])


@cache
def _template() -> dict[str, str]:
    """The type of each resource of infra/template.yaml, by logical name."""
    return {name: resource["Type"] for name, resource in template.load()["Resources"].items()}


def _resources(kind: str) -> list[str]:
    return [name for name, type_ in _template().items() if type_ == kind]


def milliseconds(call: Figures) -> int:
    """What Lambda bills a run for: its CPU on its part of a processor, and its waits for AWS one after the other."""
    share = min(1.0, memory(function(call)) / ONE_PROCESSOR)
    waits = sum(WAITS.get(request.split()[0], OTHER_WAIT) for request in call.requests)
    return math.ceil(call.cpu / share + waits)


def function(call: Figures) -> str:
    return "api_handler" if " " in call.reached else call.reached


def one(call: Figures) -> Bill:
    """One call, or one run of a function with one message."""
    seconds = milliseconds(call) / 1_000
    sent = sum(request.startswith("SendMessage") for request in call.requests)
    bill = Bill()
    if function(call) == "api_handler":
        bill[API] = prices.API_REQUEST.dollars + call.answer * prices.BYTE_OUT.dollars
    bill[LAMBDA] = prices.LAMBDA_REQUEST.dollars
    bill[LAMBDA] += memory(function(call)) / 1_024 * seconds * prices.LAMBDA_GB_SECOND.dollars
    bill[DYNAMODB] = call.read * prices.READ_UNIT.dollars + call.write * prices.WRITE_UNIT.dollars
    bill[SQS] = sent * (1 + RECEIVE_AND_DELETE) * prices.SQS_REQUEST.dollars
    bill[LOGS] = (call.log + LAMBDAS_LINES) * prices.LOG_BYTE.dollars
    return bill


def of(calls: Mapping[str, float]) -> Bill:
    bill = Bill()
    for name, many in calls.items():
        bill.add(one(measured()[name]), many)
    return bill


def standing() -> Bill:
    """A month of a stage like prod that nobody uses."""
    sweeps = use.MONTH // 60
    bill = of({"sweep, idle": sweeps})
    queues = [name for name in _resources("AWS::SQS::Queue") if "Dead" not in name]
    bill[SQS] += len(queues) * POLLERS * use.MONTH / 20 * prices.SQS_REQUEST.dollars
    alarms, dashboards = _resources("AWS::CloudWatch::Alarm"), _resources("AWS::CloudWatch::Dashboard")
    bill[WATCHING] = len(alarms) * prices.ALARM.dollars + len(dashboards) * prices.DASHBOARD.dollars
    bill[SECRETS] = len(_resources("AWS::SecretsManager::Secret")) * prices.SECRET.dollars
    return bill.add(_keys(roles=1))


def fleet(agents: int, calls: Mapping[str, int]) -> Bill:
    """A month of a stage with so many agents, each of which leads to these calls."""
    bill = standing()
    if not agents:
        return bill
    bill.add(of(calls), agents)
    requests = agents * sum(many for name, many in calls.items() if " " in measured()[name].reached)
    cheaper = prices.API_REQUEST.dollars - prices.API_REQUEST_LATER.dollars
    bill[API] -= max(0, requests - prices.API_FIRST) * cheaper
    works = "submit" in calls
    bill[WATCHING] += (7 if works else 3) * prices.METRIC.dollars
    seen = min(agents, 1_000 * settings.shards) * ROW_IN_INDEX / 4_096 / 2
    bill[DYNAMODB] += use.MONTH // 60 * seen * prices.READ_UNIT.dollars
    if works:
        bill.add(_kept(agents, calls))
    reads = use.MONTH / KEYS_EVERY * _containers(requests)
    bill[SECRETS] += reads * prices.SECRET_REQUEST.dollars
    return bill.add(_keys(roles=3 if works else 1))


def _kept(agents: int, calls: Mapping[str, int]) -> Bill:
    """Tasks and their logs in the tables for as long as they are kept, and a month of the functions' logs."""
    months = settings.retention_days / (use.MONTH / use.DAY)
    each = calls["submit"] * use.KEPT + calls["1 KB more of a log"] * 1_100
    kept = agents * each * months / GB
    lines = agents * sum(many * (measured()[name].log + LAMBDAS_LINES) for name, many in calls.items()) / GB
    bill = Bill()
    bill[DYNAMODB] = kept * (prices.STORED_GB.dollars + prices.RECOVERABLE_GB.dollars)
    bill[LOGS] = lines * prices.LOG_GB_KEPT.dollars
    return bill


def _containers(requests: float) -> int:
    """How many containers of the API live: as many as there are requests at once, and never none."""
    return 1 + math.ceil(requests / use.MONTH * milliseconds(measured()["idle poll, empty queue"]) / 1_000)


def _keys(roles: int) -> Bill:
    """Each role's use of the key of each table."""
    tables = len(_resources("AWS::DynamoDB::Table"))
    return Bill(**{KMS: roles * tables * use.MONTH / KEYS_EVERY * prices.KMS_REQUEST.dollars})
