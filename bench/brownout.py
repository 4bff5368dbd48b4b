"""A brown-out of DynamoDB: for two minutes every request takes four seconds, or is throttled.

A simulated fleet keeps calling: agents that poll, send heartbeats and work on tasks, users that look at their tasks,
and programs that submit tasks. The app runs for real, on a virtual clock (`bench/virtual_lambda.py`), so the result
depends only on the seed. Agents decide when to send a request by the rules of the real agent (`devflow.poll_schedule`,
`devflow.backoff`).

The benchmark prints how many requests were in flight, and fails unless

- no request took longer than 20 s;
- in the brown-out, the mean number of requests in flight was less than three times the normal mean, and after the onset
  the peak was less than three times the normal peak;
- afterwards every agent is served, every accepted task ends, and no message is lost or in a dead-letter queue.

The onset is the time until the containers know: each container finds out by the timeouts of its own first requests.
"""

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from bench import quiet
from bench.virtual_lambda import EventLoop, Function, Invocation, VirtualLambda
from chalicelib.core.settings import settings
from devflow.backoff import compute_retry_delay
from devflow.intervals import Intervals
from devflow.poll_schedule import Action, PollSchedule
from infra.local.gateway import Gateway, Response
from tests.http.budget_world import Agent, register
from tests.service import invariants
from tests.support import costs, moto_aws, users
from tests.support.client import Client
from tests.support.virtual_aws import VirtualAws

NETWORK_SECONDS = 0.05
"""Between the end of an invocation and the next decision of its client."""
LATENCIES = {"GetItem": 0.004, "UpdateItem": 0.006, "Query": 0.006, "BatchGetItem": 0.008, "TransactWriteItems": 0.02}
"""The median latencies of DynamoDB as a client measures them, in seconds. The tail is lognormal: p99 is 3.2 times."""
SQS_LATENCY = 0.01
BACKLOG_SECONDS = 30.0
"""How old the messages are at most that the queues deliver as the brown-out begins."""
MAX_SECONDS = 20.0
FACTOR = 3.0
ONSET_SECONDS = 5.0
"""After this time the brown-out counts as known."""


@dataclass(frozen=True)
class BrownOutPlan:
    """The size of the fleet, and the phases of a run in seconds."""

    agents: int = 1_000
    users: int = 13
    dashboards: int = 13
    tasks_per_minute: float = 30.0
    work_seconds: float = 60.0
    """How long an agent works on a task."""
    warm_up: float = 60.0
    normal: float = 120.0
    brown_out: float = 120.0
    recovery: float = 240.0
    """The time after the brown-out, of which the last minute must be as normal."""

    @property
    def begins(self) -> float:
        return self.warm_up + self.normal

    @property
    def ends(self) -> float:
        return self.begins + self.brown_out

    @property
    def total(self) -> float:
        return self.ends + self.recovery


SMALL = BrownOutPlan(
    agents=20, users=2, dashboards=2, tasks_per_minute=4.0, work_seconds=30.0, warm_up=30.0, normal=60.0, recovery=240.0
)
"""For `make test`. So few requests have a peak of two or three by chance, so only the means are compared."""
MIN_AGENTS_FOR_PEAKS = 500


class UnavailableResponse(Exception):
    """The platform responded with 429 or 5xx."""

    def __init__(self, retry_after: float | None) -> None:
        self.retry_after = retry_after
        super().__init__("unavailable")


def read(response: Response) -> Any:
    """The parsed body of a successful response. Raises UnavailableResponse after 429 and 5xx."""
    if response.status == 429 or response.status >= 500:
        after = response.header("Retry-After")
        raise UnavailableResponse(float(after) if after else None)
    return response.json() if response.status < 300 else None


@dataclass
class BrownOutFleet:
    """Everybody who calls the platform."""

    plan: BrownOutPlan
    loop: EventLoop
    chance: random.Random
    accepted: set[str] = field(default_factory=set)
    unavailable: list[float] = field(default_factory=list)
    """When a client got 429 or 5xx."""

    def repeat(self, send: Callable[[], Response], then: Callable[[Any], None], failures: int = 0) -> None:
        """Send a request, and again while the platform is unavailable, with the agent's delays."""
        try:
            result = read(send())
        except UnavailableResponse as error:
            self.unavailable.append(self.loop.aws.now)
            delay = compute_retry_delay(failures + 1, self.chance.random(), error.retry_after)
            self.loop.at(self.loop.aws.now + delay, lambda: self.repeat(send, then, failures + 1))
        else:
            then(result)

    def later(self, seconds: float, run: Callable[[], None]) -> None:
        self.loop.at(self.loop.aws.now + NETWORK_SECONDS + seconds, run)


class BrownOutAgent:
    """An agent that does one task at a time."""

    def __init__(self, agent: Agent, fleet: BrownOutFleet, started_at: float) -> None:
        self._agent, self._fleet = agent, fleet
        self._schedule = PollSchedule(Intervals(), started_at)
        self._task: str | None = None
        fleet.loop.at(started_at, self._step)

    def _step(self) -> None:
        now = self._fleet.loop.aws.now
        held = 0 if self._task is None else 1
        action, wait = self._schedule.next_action(now, running=held, free=1 - held)
        if action is Action.WAIT:
            self._fleet.loop.at(now + max(wait, 0.001), self._step)
            return
        try:
            if action is Action.HEARTBEAT:
                read(self._agent.heartbeat(taskIds=[self._task] if self._task else []))
                self._schedule.record_heartbeat(self._fleet.loop.aws.now)
            else:
                self._poll()
        except UnavailableResponse as error:
            self._fleet.unavailable.append(self._fleet.loop.aws.now)
            self._schedule.record_failure(self._fleet.loop.aws.now, self._fleet.chance.random(), error.retry_after)
        self._fleet.later(0.0, self._step)

    def _poll(self) -> None:
        response = read(self._agent.poll(1))
        interval = response["nextPollInterval"] / 1_000
        self._schedule.record_poll(self._fleet.loop.aws.now, interval, self._fleet.chance.random())
        for command in response["commands"]:
            self._task = command["task_id"]
            self._fleet.later(1.0, lambda: self._report(self._fleet.loop.aws.now + self._fleet.plan.work_seconds))

    def _report(self, until: float) -> None:
        """Report progress every ten seconds, then the completion."""
        task_id = self._task
        assert task_id is not None
        if self._fleet.loop.aws.now < until:
            self._fleet.repeat(
                lambda: self._agent.progress(task_id), lambda _: self._fleet.later(10.0, lambda: self._report(until))
            )
        else:
            self._fleet.repeat(lambda: self._agent.complete(task_id), self._end_task)

    def _end_task(self, _: Any) -> None:
        self._task = None
        self._schedule.poll_now(self._fleet.loop.aws.now)


def start_dashboard(user: Client, fleet: BrownOutFleet, at: float) -> None:
    """A page that lists tasks every 15 s."""

    def load() -> None:
        fleet.repeat(lambda: user.get("/api/tasks"), lambda _: fleet.later(15.0, load))

    fleet.loop.at(at, load)


def start_submitter(users_: list[Client], fleet: BrownOutFleet) -> None:
    """Programs that submit tasks, evenly until the end of the brown-out."""
    pause = 60.0 / fleet.plan.tasks_per_minute
    for number in range(int(fleet.plan.ends / pause)):
        task_id = f"task-{number}"
        user = users_[number % len(users_)]
        body = {"taskId": task_id, "intent": "fix-bug", "repo": "r", "naturalLanguage": "Do it"}

        def submit(user: Client = user, body: dict[str, str] = body) -> None:
            fleet.repeat(
                lambda: user.post("/api/workflows/execute", body), lambda _: fleet.accepted.add(body["taskId"])
            )

        fleet.loop.at(number * pause, submit)


@dataclass(frozen=True)
class Load:
    """How many requests were in flight during a time."""

    requests: int
    mean: float
    peak: int
    longest: float
    """The longest request that began in that time, in seconds."""


def load_between(invocations: list[Invocation], began: float, ended: float) -> Load:
    """The load from one virtual time to another."""
    clipped = [
        (max(each.began, began), min(each.ended, ended))
        for each in invocations
        if each.began < ended and each.ended > began
    ]
    changes = sorted([(start, 1) for start, _ in clipped] + [(end, -1) for _, end in clipped])
    current = peak = 0
    for _, change in changes:
        current += change
        peak = max(peak, current)
    inside = [each for each in invocations if began <= each.began < ended]
    return Load(
        len(inside),
        sum(end - start for start, end in clipped) / (ended - began),
        peak,
        max((each.ended - each.began for each in inside), default=0.0),
    )


@dataclass(frozen=True)
class BrownOutResult:
    """What a run has measured, and the promises that it broke."""

    loads: dict[str, Load]
    containers: int
    healed_after: float
    """Seconds from the end of the brown-out to the last 5xx."""
    broken: list[str]

    def table(self) -> str:
        rows = [
            [name, str(load.requests), f"{load.mean:.2f}", str(load.peak), f"{load.longest:.2f} s"]
            for name, load in self.loads.items()
        ]
        return costs.table(["time", "requests", "in flight, mean", "peak", "longest request"], rows)


VARIANTS = ("slow", "throttled")


def run(variant: str, plan: BrownOutPlan, seed: int = 1) -> BrownOutResult:
    """Simulate one brown-out. Needs a deployed moto without rows."""
    from app import app  # noqa: PLC0415  # it must not create AWS clients before moto has replaced AWS

    chance = random.Random(seed)  # noqa: S311  # not for security
    random.seed(seed)  # the product's own jitter
    aws = VirtualAws(epoch=1_800_000_000.0)
    loop = EventLoop(aws)

    def is_brown(service: str) -> bool:
        return service == "dynamodb" and plan.begins <= aws.now < plan.ends

    def latency(service: str, operation: str) -> float:
        if variant == "slow" and is_brown(service):
            return 4.0
        return LATENCIES.get(operation, SQS_LATENCY) * chance.lognormvariate(0.0, 0.5)

    with aws.install(), pytest.MonkeyPatch.context() as patch:
        # The limit of calls a minute would only apply to the registrations.
        patch.setattr("chalicelib.http.rate_limits.settings", replace(settings, rate_limits=False))
        platform = VirtualLambda(app, loop)
        gateway = Gateway(platform)
        accounts = [users.make_user(gateway, f"user{number}@example.com") for number in range(plan.users)]
        agents = [
            register(accounts[number % plan.users], f"agent-{number}", "fix-bug") for number in range(plan.agents)
        ]
        aws.latency = latency
        aws.throttles = lambda service, _: variant == "throttled" and is_brown(service)
        aws.now = 0.0
        platform.api = Function("api_handler", 29.0, aws)
        fleet = BrownOutFleet(plan, loop, chance)
        simulated = [BrownOutAgent(agent, fleet, chance.uniform(0, 30)) for agent in agents]
        for number in range(plan.dashboards):
            start_dashboard(accounts[number % plan.users], fleet, chance.uniform(0, 15))
        start_submitter(accounts, fleet)
        for queue in platform.queues.values():  # messages arrive as the brown-out begins
            queue.backlog = (plan.begins - BACKLOG_SECONDS, plan.begins + 1.0)
        for minute in range(int(plan.total / 60)):
            loop.at(minute * 60.0 + 30.0, platform.sweep)
        loop.run_until(plan.total)
        assert len(simulated) == plan.agents
        return _result(plan, platform, fleet)


def _result(plan: BrownOutPlan, platform: VirtualLambda, fleet: BrownOutFleet) -> BrownOutResult:
    api = platform.api.invocations
    loads = {
        "normal": load_between(api, plan.warm_up, plan.begins),
        "brown-out": load_between(api, plan.begins, plan.ends),
        f"its first {ONSET_SECONDS:.0f} s": load_between(api, plan.begins, plan.begins + ONSET_SECONDS),
        "the rest of it": load_between(api, plan.begins + ONSET_SECONDS, plan.ends),
        "the minute after it": load_between(api, plan.ends, plan.ends + 60),
        "the last minute": load_between(api, plan.total - 60, plan.total),
    }
    for name, queue in platform.queues.items():
        loads[f"{name} messages, in the brown-out"] = load_between(queue._function.invocations, plan.begins, plan.ends)
    healed_after = max((at for at in fleet.unavailable), default=plan.ends) - plan.ends
    return BrownOutResult(loads, len(platform.api.containers), healed_after, _broken(plan, platform, fleet, loads))


def _broken(plan: BrownOutPlan, platform: VirtualLambda, fleet: BrownOutFleet, loads: dict[str, Load]) -> list[str]:
    """The promises that a run broke."""
    normal, brown_out, rest = loads["normal"], loads["brown-out"], loads["the rest of it"]
    heads = invariants.heads()
    left = [head["task"] for head in heads if head["status"] != "completed"]
    silent = [row["agent"] for row in invariants.rows("agents") if row["state"] != "active"]
    invariants.check()
    queues = platform.queues.values()
    checks = {
        "a request took more than 20 s": max(load.longest for load in loads.values()) > MAX_SECONDS,
        "the mean in the brown-out is not below three times the normal mean": brown_out.mean >= FACTOR * normal.mean,
        "the peak after the onset is not below three times the normal peak": plan.agents >= MIN_AGENTS_FOR_PEAKS
        and rest.peak >= FACTOR * normal.peak,
        "no client noticed the brown-out": not fleet.unavailable,
        "no message was delivered in it": not any(receives > 1 for each in queues for _, receives in each.deliveries),
        "clients still got 5xx in the last minute": max(fleet.unavailable, default=0.0) > plan.total - 60,
        "the load in the last minute is not normal": loads["the last minute"].mean >= 1.5 * normal.mean,
        "accepted tasks are missing": {head["task"] for head in heads} != fleet.accepted,
        f"tasks did not complete: {', '.join(left)}": bool(left),
        "there are dead messages": any(queue.dead for queue in queues),
        "there are messages that were not handled": any(queue.waiting for queue in queues),
        f"agents are not active: {', '.join(silent)}": bool(silent),
    }
    return [promise for promise, is_broken in checks.items() if is_broken]


def main() -> bool:
    failed = False
    for variant in VARIANTS:
        with quiet.capture_log(), moto_aws.deployed():
            result = run(variant, BrownOutPlan())
        print(f"\nA brown-out of two minutes: every request to DynamoDB is {variant}\n\n{result.table()}\n")
        print(f"{result.containers} containers; the last 5xx {result.healed_after:.0f} s after the brown-out")
        for promise in result.broken:
            print(f"Missed: {promise}", file=sys.stderr)
        failed = failed or bool(result.broken)
    return failed
