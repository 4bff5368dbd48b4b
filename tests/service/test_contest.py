"""The tasks of one user do not meet in any item: a small run of `make bench ARGS=contest`."""

from bench import contest
from tests.support.client import Client


def test_workers_of_one_user_cause_hardly_any_conflicts(user: Client) -> None:
    from app import app  # noqa: PLC0415  # the app builds its AWS clients on import; moto must be active by then

    result = contest.run(app, user, workers=8, tasks=80)
    assert result.missed() == []
    assert result.conflicts["users"] == 0
