"""`make deploy` and `make destroy`, the real ones, against a whole account on loopback (tests/support/cloud.py)."""

import os
import re
import signal
import subprocess
import time

import pytest

from infra.deploy.settings import gateway_responses
from infra.deploy.stage import PROJECT
from infra.local.gateway import Headers, Response
from infra.local.lambdas import REGION
from tests.deploy.conftest import PATIENCE, Cloud, Project
from tests.deploy.standing import Standing
from tests.support import template
from tests.support.client import Client, Http

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("stack")]


def deployed(project: Project, stage: str) -> str:
    """Deploy, and say what was printed."""
    made = project.make("deploy", stage)
    assert made.returncode == 0, made.stdout + made.stderr
    assert made.stdout.splitlines()[-1].startswith(f"DevFlow {stage} runs at https://")
    return made.stdout


def assert_as_the_repository_says(cloud: Cloud, project: Project, stage: str) -> None:
    from tests.deploy.expected import Expected  # noqa: PLC0415  # imports the app, whose clients moto must stand in for

    standing = Standing(cloud)
    (api,) = standing.apis()
    expected = Expected(project, stage, api["id"])
    assert standing.tables() == expected.tables()
    assert standing.queues() == expected.queues()
    assert sorted(standing.secrets()) == expected.secrets()
    assert standing.alarms() == expected.alarms()
    assert standing.dashboards() == expected.dashboards()
    assert standing.topics() == expected.topics()
    assert standing.logs() == expected.logs()
    assert standing.functions() == expected.functions()
    assert standing.roles() == expected.roles()
    assert standing.rules() == expected.rules()
    triggers = [{name: value for name, value in each.items() if name != "UUID"} for each in standing.triggers()]
    assert sorted(triggers, key=str) == sorted(expected.triggers(), key=str)
    assert (api["name"], api["stages"]) == (f"devflow-{stage}", ["api"])
    assert api["routes"] == expected.routes()
    assert set(api["responses"]) == set(gateway_responses())


def cut_short(project: Project, cloud: Cloud, stage: str, method: str, what: str) -> None:
    """Kill a deployment, with all its processes, while it waits for the answer to this request."""
    before = len(cloud.requests)
    cloud.trouble(method, what, "hang")
    running = subprocess.Popen(
        project.command("deploy", stage), cwd=project.directory, env=dict(project.environment(stage)),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + PATIENCE
    while not any(each["stuck"] for each in cloud.requests[before:]):
        assert running.poll() is None, "it ended before it came so far"
        assert time.monotonic() < until
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def test_a_stage_is_made_whole_by_running_it_again_wherever_it_was_cut_short(cloud: Cloud, project: Project) -> None:
    """Refused a trigger; killed when the schedule is made, before the API is published, and among the last settings.
    Each run takes up what the one before left; once all is there, another one changes nothing."""
    cloud.trouble("POST", "^/2015-03-31/event-source-mappings", "refuse")
    failed = project.make("deploy", "dev")
    assert failed.returncode != 0
    assert "`chalice deploy --stage dev` failed" in failed.stderr
    cut_short(project, cloud, "dev", "POST", "^/2015-03-31/functions/[^/]+/policy$")
    cut_short(project, cloud, "dev", "POST", "^/restapis/[^/]+/deployments$")
    cut_short(project, cloud, "dev", "PUT", "/gatewayresponses/UNAUTHORIZED$")

    deployed(project, "dev")
    assert_as_the_repository_says(cloud, project, "dev")

    standing = Standing(cloud).everything()
    told = deployed(project, "dev")
    assert "nothing to change" in told
    assert Standing(cloud).everything() == standing


def test_a_stage_answers_as_the_contract_says_and_leaves_nothing_behind(cloud: Cloud, project: Project) -> None:
    """By way of API Gateway's stage, its own answers among them; the code that runs is what was uploaded."""
    nothing = Standing(cloud).everything()
    plain = chalice_deploy(project, "dev")
    assert plain.returncode != 0
    assert "The stage dev is not complete. It has no table devflow-dev-users, " in plain.stderr
    assert "make deploy STAGE=dev" in plain.stderr
    assert Standing(cloud).everything() == nothing

    deployed(project, "dev")
    (as_documented,) = re.findall(r"`(\S+ \+0000)`", (PROJECT / "docs" / "api.md").read_text(encoding="utf-8"))
    http = Http(cloud.endpoint)
    client = Client(Stage(http, "/execute-api/devflow-dev/api"))
    assert client.get("/health").json()["stage"] == "dev"
    refused = client.get("/api/tasks")
    assert (refused.status, refused.json()["error"]) == (401, "Invalid or expired token")
    for unknown in (client.get("/nowhere"), client.delete("/health"), client.post("/api/agents/a/b/c")):
        assert (unknown.status, unknown.json()["error"], unknown.json()["statusCode"]) == (404, "Not found", 404)
        assert set(unknown.json()) == {"error", "message", "statusCode", "timestamp"}
        assert form(unknown.json()["timestamp"]) == form(as_documented), "docs/api.md"
        assert unknown.header("X-Content-Type-Options") == "nosniff"
    http.close_all()

    assert chalice_deploy(project, "dev").returncode == 0
    assert project.make("destroy", "dev").returncode == 0
    assert Standing(cloud).everything() == nothing
    assert project.make("destroy", "dev").returncode == 0, "nothing is left to destroy, and that is fine"


def test_of_prod_the_data_stays_and_is_taken_in_again_and_nothing_goes_unless_its_name_is_typed(
    cloud: Cloud, project: Project
) -> None:
    deployed(project, "prod")
    assert_as_the_repository_says(cloud, project, "prod")
    standing = Standing(cloud).everything()
    for typed in ("", "\n", "yes\n", "dev\n"):
        refused = project.make("destroy", "prod", typed=typed)
        assert refused.returncode != 0
        assert "Nothing was changed." in refused.stderr
    assert Standing(cloud).everything() == standing

    gone = project.make("destroy", "prod", typed="prod\n")
    assert gone.returncode == 0, gone.stderr
    kept = {name: standing[name] for name in ("tables", "secrets")}
    assert Standing(cloud).everything() == {name: type(value)() for name, value in standing.items()} | kept

    secret = cloud.client("secretsmanager").get_secret_value(SecretId="devflow-prod-secret")["SecretString"]
    row = {"login": {"S": "pin#somebody"}}
    cloud.client("dynamodb").put_item(TableName="devflow-prod-logins", Item=row)
    put_back_from_a_backup(cloud, "devflow-prod-tasks")
    assert "taken in as they are" in deployed(project, "prod")
    assert_as_the_repository_says(cloud, project, "prod")
    assert cloud.client("dynamodb").scan(TableName="devflow-prod-logins")["Items"] == [row]
    again = cloud.client("secretsmanager").get_secret_value(SecretId="devflow-prod-secret")["SecretString"]
    assert again == secret, "nobody is logged out"


def put_back_from_a_backup(cloud: Cloud, table: str) -> None:
    """As docs/operations.md says: a table that was restored expires nothing and is protected from nothing."""
    client = cloud.client("dynamodb")
    client.update_table(TableName=table, DeletionProtectionEnabled=False)
    client.delete_table(TableName=table)
    (request,) = [each for each in template.create_table_requests("prod") if each["TableName"] == table]
    client.create_table(**request | {"DeletionProtectionEnabled": False})


def form(instant: str) -> str:
    """How an instant is written, whenever it is."""
    return re.sub(r"\d", "0", re.sub(r"[A-Z][a-z]{2}", "Mon", instant))


def chalice_deploy(project: Project, stage: str) -> subprocess.CompletedProcess[str]:
    """`chalice deploy --stage ...` by itself."""
    environment = {**project.environment(stage), "AWS_DEFAULT_REGION": REGION}
    return subprocess.run(
        [project.directory / ".venv" / "bin" / "chalice", "deploy", "--stage", stage],
        cwd=project.directory, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


class Stage:
    """HTTP to a stage of an API, whose paths begin where API Gateway's end."""

    def __init__(self, http: Http, prefix: str) -> None:
        self._http, self._prefix = http, prefix

    def call(self, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Response:
        return self._http.call(method, self._prefix + target, headers, body)
