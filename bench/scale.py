"""The load of simulated fleets on each partition key of the tables and their indexes, compared with DynamoDB's limits.

Writes bench/partitions/results.json and the tables in docs/performance.md. The result depends only on the code, not on
the machine.
"""

from bench.partitions import recorder, replay, report
from bench.partitions.fleets import FLEETS, SMALL_FLEET, SimulatedFleet, Teams, simulate
from bench.partitions.recorder import Templates
from bench.partitions.report import FleetReport


def run(fleet: SimulatedFleet, templates: Templates) -> FleetReport:
    """Simulate a fleet. `templates`: those of its numbers of shards and team partitions, and of as many running
    tasks."""
    with recorder.use_shards(fleet.shards, fleet.team_partitions):
        teams = Teams(fleet.team_sizes())
        return report.report(fleet, replay.Replay(teams, templates).run(simulate(fleet, teams, recorder.START)))


def _stage(fleet: SimulatedFleet) -> tuple[int, int]:
    """What the recordings of a fleet have in common, whatever its number of shards."""
    return fleet.running, fleet.team_partitions


def main() -> bool:
    """Print and save the reports. Returns whether a limit is exceeded."""
    fleets = (*FLEETS, SMALL_FLEET)
    recordings = {
        stage: recorder.record({fleet.shards for fleet in fleets if _stage(fleet) == stage}, *stage)
        for stage in set(map(_stage, fleets))
    }
    reports: list[FleetReport] = []
    missed: list[str] = []
    for fleet in fleets:
        reports.append(run(fleet, recordings[_stage(fleet)][fleet.shards]))
        if fleet in FLEETS:
            print(report.text(reports[-1]))
            missed += reports[-1].missed()
            reports[-1] = reports[-1]._replace(lines=reports[-1].shown())
    report.save(reports)
    report.PAGE.write_text(
        report.insert(report.PAGE.read_text(encoding="utf-8"), reports[: len(FLEETS)]), encoding="utf-8"
    )
    for line in missed:
        print(f"Missed: {line}")
    return bool(missed)
