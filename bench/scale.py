"""The load of simulated fleets on each partition key of the tables and their indexes, compared with DynamoDB's limits.

Writes bench/partitions/results.json and the tables in docs/performance.md. The result depends only on the code, not on
the machine.
"""

from bench.partitions import recorder, replay, report
from bench.partitions.fleets import FLEETS, SMALL_FLEET, SimulatedFleet, Teams, simulate
from bench.partitions.recorder import Template
from bench.partitions.report import FleetReport


def run(fleet: SimulatedFleet, templates: dict[str, list[Template]]) -> FleetReport:
    """Simulate a fleet. `templates` must be recorded with its number of shards."""
    with recorder.use_shards(fleet.shards):
        teams = Teams(fleet.team_sizes())
        return report.report(fleet, replay.Replay(teams, templates).run(simulate(fleet, teams, recorder.START)))


def main() -> bool:
    """Print and save the reports. Returns whether a limit is exceeded."""
    reports = []
    for fleet in (*FLEETS, SMALL_FLEET):
        reports.append(run(fleet, recorder.record(fleet.shards, fleet.running)))
        if fleet in FLEETS:
            print(report.text(reports[-1]))
    report.save(reports)
    report.PAGE.write_text(
        report.insert(report.PAGE.read_text(encoding="utf-8"), reports[: len(FLEETS)]), encoding="utf-8"
    )
    missed = [line for each in reports for line in each.missed()]
    for line in missed:
        print(f"Missed: {line}")
    return bool(missed)
