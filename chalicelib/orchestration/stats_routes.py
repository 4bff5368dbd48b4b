"""GET /api/stats."""

from chalice.app import Blueprint

from chalicelib.auth import guard
from chalicelib.http import Request, Response, route
from chalicelib.http.rate_limits import TASKS_API
from chalicelib.orchestration import stats
from chalicelib.orchestration.stats import StatsResponse

blueprint = Blueprint(__name__)


@route(blueprint, "GET", "/api/stats", "user", TASKS_API, response=StatsResponse)
def get_stats(request: Request) -> Response:
    """Count tasks and agents by status."""
    user = guard.admitted_user(request)
    return Response(stats.get_stats(user.owner, request.now))
