"""docs/cost.md: the words are in page.md, and every figure in them is computed here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.cost import bill, prices, use
from bench.cost.bill import Bill
from bench.cost.prices import MILLION, Price
from bench.cost.use import Worker
from chalicelib.agents.entities import FAST_POLLING_TIME, MAX_POLL_INTERVAL, MIN_POLL_INTERVAL
from chalicelib.core.settings import MINUTE, SECOND, settings

TEXT = Path(__file__).with_suffix(".md")
FLEETS = (0, 1, 10, 100, 10_000)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """As Markdown has it; all but the first column to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def dollars(amount: float) -> str:
    if amount < 0.005:
        return "0.00" if amount < 0.000_5 else f"{amount:.3f}"
    return f"{amount:,.2f}" if amount < 1_000 else f"{amount:,.0f}"


def total(of: Bill) -> float:
    return sum(of.values())


def by_fleet(month: use.Calls) -> str:
    bills = [bill.fleet(many, month) for many in FLEETS]
    rows = [[service, *(dollars(each[service]) for each in bills)] for service in bill.SERVICES]
    rows.append(["**a month**", *(f"**{dollars(total(each))}**" for each in bills)])
    return table(["agents", *(f"{many:,}" for many in FLEETS)], rows)


MONTHS = {"idle": use.idle, "at work in working hours": use.at_work, "busy day and night": use.busy}


def against_fixed() -> str:
    rows = []
    for name, month in MONTHS.items():
        ours, fixed = total(bill.of(month(Worker()))), total(bill.of(month(_fixed())))
        rows.append([name, dollars(ours), dollars(fixed), f"{fixed / ours:.1f}"])
    return table(["an agent's month", "DevFlow", "polling every 5 s", "times as much"], rows)


def _fixed() -> Worker:
    return Worker(use.every_five_seconds, polls_at_work=True, beats_when_idle=True, chance=0.0)


def idle_ratio(*, beats: bool = True) -> float:
    """How many times as much an idle agent would cost that polls every five seconds."""
    fixed = replace(_fixed(), beats_when_idle=beats)
    return total(bill.of(use.idle(fixed))) / total(bill.of(use.idle(Worker())))


def asked(month: use.Calls) -> str:
    return table(["call", "an idle agent", "at work", "busy"], [
        [name, *(f"{each(Worker())[name]:,}" for each in MONTHS.values())] for name in month
    ])  # fmt: skip


def by_call() -> str:
    rows = []
    for name, call in bill.measured().items():
        one = bill.one(call)
        parts = [one[service] * MILLION for service in (bill.API, bill.LAMBDA, bill.DYNAMODB, bill.SQS, bill.LOGS)]
        requests = [f"{len(call.requests)}", f"{call.read:g}", f"{call.write:g}", f"{bill.milliseconds(call)}"]
        rows.append([name, *requests, *(f"{part:.2f}" for part in parts), f"**{sum(parts):.2f}**"])
    header = ["call", "requests", "read units", "write units", "ms", *(
        "API Gateway", "Lambda", "DynamoDB", "SQS", "logs", "a million")]  # fmt: skip
    return table(header, rows)


def by_pause() -> str:
    rows = []
    for name, pause in use.pauses().items():
        if name != "worst":
            hour = use.overview(pause)
            cost = total(bill.of(hour))
            rows.append(
                [_WHEN[name], f"{pause} s", f"{sum(hour.values()) / 60:.0f}", dollars(cost), dollars(cost * 730)]
            )
    return table(["the overview, open", "looks every", "requests a minute", "an hour", "a month of such hours"], rows)


_WHEN = {
    "busy": "something runs, somebody is there",
    "calm": "nothing runs",
    "idle": "untouched for ten minutes",
    "hidden": "another tab is in front; after an hour of that it stops",
}


def by_price() -> str:
    found = [each for each in vars(prices).values() if isinstance(each, Price)]
    return table(["for", "dollars", "from"], [[each.what, _for(each), each.page] for each in found])


def _for(price: Price) -> str:
    """As the page has it: for a million, ten thousand, a GB or one."""
    for word, many in (("million", MILLION), ("10,000", 10_000), ("GB of", prices.GB)):
        if word in price.what and price.dollars * many >= 0.01 and price.dollars < 0.01:
            return f"{price.dollars * many:.3f}".rstrip("0").rstrip(".")
    return f"{price.dollars:g}"


def written() -> str:
    busiest = use.at_work(Worker())
    share = bill.of(use.idle(Worker()))
    fixed = bill.standing()
    watching = fixed[bill.WATCHING]
    values: Mapping[str, str] = {
        "idle": by_fleet(use.idle(Worker())),
        "at_work": by_fleet(busiest),
        "busy": by_fleet(use.busy(Worker())),
        "against": against_fixed(),
        "ratio": f"{idle_ratio():.1f}",
        "bare": f"{idle_ratio(beats=False):.1f}",
        "asked": asked(busiest),
        "calls": by_call(),
        "pauses": by_pause(),
        "prices": by_price(),
        "watching": dollars(watching),
        "polling": dollars(fixed[bill.SQS]),
        "gateway": f"{100 * share[bill.API] / total(share):.0f}",
        "fastest": f"{MIN_POLL_INTERVAL // SECOND}",
        "slowest": f"{MAX_POLL_INTERVAL // SECOND}",
        "busy_for": f"{FAST_POLLING_TIME // MINUTE}",
        "task": f"{use.TASK // 60}",
        "every": f"{use.TASK_EVERY // 60}",
        "log": f"{use.LOG}",
        "kept": f"{use.KEPT / 1_000:.0f}",
        "retention": f"{settings.retention_days}",
        "lines": f"{bill.LAMBDAS_LINES}",
        "pollers": f"{bill.POLLERS}",
        "wait": f"{bill.OTHER_WAIT}",
        "transaction": f"{bill.WAITS['TransactWriteItems']}",
        "message": f"{bill.WAITS['SendMessage']}",
        "memory": f"{bill.memory('api_handler'):,}",
        "others": f"{bill.memory('sweep'):,}",
        "processor": f"{bill.ONE_PROCESSOR:,}",
    }
    return TEXT.read_text(encoding="utf-8").format_map(values)
