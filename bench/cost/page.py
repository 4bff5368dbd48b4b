"""Renders docs/cost.md. The text is in page.md. Every figure in it is computed here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.cost import bill, prices, usage
from bench.cost.bill import Bill
from bench.cost.prices import MILLION, Price
from bench.cost.usage import SimulatedAgent
from chalicelib.agents.entities import FAST_POLLING_TIME, MAX_POLL_INTERVAL, MIN_POLL_INTERVAL
from chalicelib.core.settings import MINUTE, SECOND, settings

TEXT = Path(__file__).with_suffix(".md")
AGENT_COUNTS = (0, 1, 10, 100, 10_000)


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown. All columns but the first are aligned to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_dollars(amount: float) -> str:
    if amount < 0.005:
        return "0.00" if amount < 0.000_5 else f"{amount:.3f}"
    return f"{amount:,.2f}" if amount < 1_000 else f"{amount:,.0f}"


def total(amounts: Bill) -> float:
    return sum(amounts.values())


def table_by_agents(month: usage.Calls) -> str:
    bills = [bill.bill_stage(agents, month) for agents in AGENT_COUNTS]
    rows = [[service, *(format_dollars(each[service]) for each in bills)] for service in bill.SERVICES]
    rows.append(["**total**", *(f"**{format_dollars(total(each))}**" for each in bills)])
    return format_table(["agents", *(f"{agents:,}" for agents in AGENT_COUNTS)], rows)


Month = Callable[[SimulatedAgent], usage.Calls]
MONTHS: dict[str, Month] = {
    "idle": usage.idle_month,
    "at work in working hours": usage.working_hours_month,
    "busy day and night": usage.busy_month,
}


def _cost_of(month: Month, agent: SimulatedAgent) -> float:
    return total(bill.bill_calls(month(agent)))


def _fixed_polling() -> SimulatedAgent:
    return SimulatedAgent(usage.fixed_interval, polls_at_work=True, beats_when_idle=True, jitter=0.0)


def table_against_fixed_polling() -> str:
    rows = []
    for name, month in MONTHS.items():
        own, fixed = _cost_of(month, SimulatedAgent()), _cost_of(month, _fixed_polling())
        rows.append([name, format_dollars(own), format_dollars(fixed), f"{fixed / own:.1f}"])
    return format_table(["one agent", "DevFlow", "polling every 5 s", "ratio"], rows)


def idle_ratio(*, beats: bool = True) -> float:
    """The cost of an idle agent that polls every five seconds, as a multiple of the cost of DevFlow's idle agent.

    `beats`: whether the former also sends heartbeats.
    """
    fixed = replace(_fixed_polling(), beats_when_idle=beats)
    return _cost_of(usage.idle_month, fixed) / _cost_of(usage.idle_month, SimulatedAgent())


def table_of_agent_calls(names: Iterable[str]) -> str:
    months = [month(SimulatedAgent()) for month in MONTHS.values()]
    rows = [[name, *(f"{month[name]:,}" for month in months)] for name in names]
    return format_table(["call", "idle", "at work", "busy"], rows)


def table_of_call_costs() -> str:
    rows = []
    for name, call in bill.load_figures().items():
        cost = bill.bill_call(call)
        parts = [cost[service] * MILLION for service in (bill.API, bill.LAMBDA, bill.DYNAMODB, bill.SQS, bill.LOGS)]
        figures = [
            f"{len(call.requests)}", f"{call.read:g}", f"{call.write:g}", f"{bill.billed_milliseconds(call)}"
        ]  # fmt: skip
        rows.append([name, *figures, *(f"{part:.2f}" for part in parts), f"**{sum(parts):.2f}**"])
    header = [
        "call", "requests", "read units", "write units", "ms", "API Gateway", "Lambda", "DynamoDB", "SQS", "logs",
        "total",
    ]  # fmt: skip
    return format_table(header, rows)


_PAGE_STATES = {
    "busy": "a task is running, and the user is active",
    "calm": "no task is running",
    "idle": "no input for ten minutes",
    "hidden": "the tab is in the background; after an hour the page stops",
}
"""What each name of `INTERVALS` in polling.js means."""


def table_of_pauses() -> str:
    rows = []
    for name, pause in usage.read_pauses().items():
        if name != "backoff":
            hour = usage.overview_hour(pause)
            cost = total(bill.bill_calls(hour))
            requests = f"{sum(hour.values()) / 60:.0f}"
            rows.append([_PAGE_STATES[name], f"{pause} s", requests, format_dollars(cost), format_dollars(cost * 730)])
    header = ["open overview", "refreshes every", "requests a minute", "one hour", "730 hours"]
    return format_table(header, rows)


def table_of_prices() -> str:
    found = [each for each in vars(prices).values() if isinstance(each, Price)]
    return format_table(["unit", "dollars", "source"], [[each.what, _format_price(each), each.page] for each in found])


def _format_price(price: Price) -> str:
    """Dollars in the unit of AWS's page: a million, ten thousand, a GB or one."""
    for word, number in (("million", MILLION), ("10,000", 10_000), ("GB of", prices.GB)):
        if word in price.what and price.dollars * number >= 0.01 and price.dollars < 0.01:
            return f"{price.dollars * number:.3f}".rstrip("0").rstrip(".")
    return f"{price.dollars:g}"


def render() -> str:
    """The text of docs/cost.md."""
    idle, working_hours, busy = (month(SimulatedAgent()) for month in MONTHS.values())
    idle_agent = bill.bill_calls(idle)
    unused_stage = bill.bill_unused_stage()
    values: Mapping[str, str] = {
        "idle": table_by_agents(idle),
        "working_hours": table_by_agents(working_hours),
        "busy": table_by_agents(busy),
        "against_fixed_polling": table_against_fixed_polling(),
        "ratio": f"{idle_ratio():.1f}",
        "ratio_without_heartbeats": f"{idle_ratio(beats=False):.1f}",
        "agent_calls": table_of_agent_calls(working_hours),
        "call_costs": table_of_call_costs(),
        "pauses": table_of_pauses(),
        "prices": table_of_prices(),
        "monitoring": format_dollars(unused_stage[bill.MONITORING]),
        "queue_polling": format_dollars(unused_stage[bill.SQS]),
        "api_gateway_share": f"{100 * idle_agent[bill.API] / total(idle_agent):.0f}",
        "fastest": f"{MIN_POLL_INTERVAL // SECOND}",
        "slowest": f"{MAX_POLL_INTERVAL // SECOND}",
        "busy_for": f"{FAST_POLLING_TIME // MINUTE}",
        "task": f"{usage.TASK // 60}",
        "task_every": f"{usage.TASK_EVERY // 60}",
        "log": f"{usage.LOG}",
        "task_size": f"{usage.TASK_BYTES / 1_000:.0f}",
        "retention": f"{settings.retention_days}",
        "lambda_log": f"{bill.LAMBDA_LOG_BYTES}",
        "pollers": f"{bill.POLLERS}",
        "wait": f"{bill.DEFAULT_WAIT}",
        "transaction_wait": f"{bill.REQUEST_WAITS['TransactWriteItems']}",
        "message_wait": f"{bill.REQUEST_WAITS['SendMessage']}",
        "api_memory": f"{bill.memory_of('api_handler'):,}",
        "other_memory": f"{bill.memory_of('sweep'):,}",
        "processor_memory": f"{bill.ONE_PROCESSOR:,}",
    }
    return TEXT.read_text(encoding="utf-8").format_map(values)
