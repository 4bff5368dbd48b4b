"""The real `make deploy` and `make destroy`, with an AWS account on loopback (tests/support/aws_server.py)."""

import os
import re
import signal
import subprocess
import time

import pytest

from infra.deploy.resource_settings import gateway_responses
from infra.deploy.stage import PROJECT
from infra.local.gateway import Headers, Response
from infra.local.lambda_context import REGION
from tests.deploy.account_state import AccountState
from tests.deploy.conftest import DEPLOY_TIMEOUT, Cloud, Project
from tests.support import template
from tests.support.client import Client, Http

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("stack")]


def deploy(project: Project, stage: str) -> str:
    """Deploy a stage and return the output."""
    ended = project.make("deploy", stage)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].startswith(f"DevFlow {stage} runs at https://")
    return ended.stdout


def assert_state_matches_repository(cloud: Cloud, project: Project, stage: str) -> None:
    from tests.deploy.expected import Expected  # noqa: PLC0415  # imports the app, whose clients must use moto

    actual = AccountState(cloud)
    (api,) = actual.apis()
    expected = Expected(project, stage, api["id"])
    assert actual.tables() == expected.tables()
    assert actual.queues() == expected.queues()
    assert sorted(actual.secrets()) == expected.secrets()
    assert actual.alarms() == expected.alarms()
    assert actual.dashboards() == expected.dashboards()
    assert actual.topics() == expected.topics()
    assert actual.logs() == expected.logs()
    assert actual.functions() == expected.functions()
    assert actual.roles() == expected.roles()
    assert actual.rules() == expected.rules()
    triggers = [{name: value for name, value in each.items() if name != "UUID"} for each in actual.triggers()]
    assert sorted(triggers, key=str) == sorted(expected.triggers(), key=str)
    assert (api["name"], api["stages"]) == (f"devflow-{stage}", ["api"])
    assert api["throttling"] == expected.throttling()
    assert api["routes"] == expected.routes()
    assert set(api["responses"]) == set(gateway_responses())


def interrupt(project: Project, cloud: Cloud, stage: str, method: str, path: str) -> None:
    """Kill a deployment, with all its processes, while it waits for the response to this request."""
    before = len(cloud.requests)
    cloud.trouble(method, path, "hang")
    running = subprocess.Popen(
        project.command("deploy", stage), cwd=project.directory, env=dict(project.environment(stage)),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + DEPLOY_TIMEOUT
    while not any(each["stuck"] for each in cloud.requests[before:]):
        assert running.poll() is None, "it ended before this request"
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def test_interrupted_deployment_can_be_repeated_at_every_step(cloud: Cloud, project: Project) -> None:
    """First a trigger is rejected. Then runs are killed while they create the schedule, publish the API and write the
    last settings. Each run continues where the previous one stopped. A run of a complete stage changes nothing."""
    cloud.trouble("POST", "^/2015-03-31/event-source-mappings", "refuse")
    failed = project.make("deploy", "dev")
    assert failed.returncode != 0
    assert "`chalice deploy --stage dev` failed" in failed.stderr
    interrupt(project, cloud, "dev", "POST", "^/2015-03-31/functions/[^/]+/policy$")
    interrupt(project, cloud, "dev", "POST", "^/restapis/[^/]+/deployments$")
    interrupt(project, cloud, "dev", "PUT", "/gatewayresponses/UNAUTHORIZED$")

    deploy(project, "dev")
    assert_state_matches_repository(cloud, project, "dev")

    before = AccountState(cloud).all_resources()
    assert "nothing to change" in deploy(project, "dev")
    assert AccountState(cloud).all_resources() == before


def test_deployed_stage_responds_and_is_removed_completely(cloud: Cloud, project: Project) -> None:
    """Through API Gateway, including its own error responses. The functions run the uploaded package."""
    empty = AccountState(cloud).all_resources()
    rejected = chalice_deploy(project, "dev")
    assert rejected.returncode != 0
    assert "The stage dev is not complete. It has no table devflow-dev-users, " in rejected.stderr
    assert "make deploy STAGE=dev" in rejected.stderr
    assert AccountState(cloud).all_resources() == empty

    deploy(project, "dev")
    (documented_time,) = re.findall(r"`(\S+ \+0000)`", (PROJECT / "docs" / "api.md").read_text(encoding="utf-8"))
    http = Http(cloud.endpoint)
    client = Client(Stage(http, "/execute-api/devflow-dev/api"))
    assert client.get("/health").json()["stage"] == "dev"
    unauthenticated = client.get("/api/tasks")
    assert (unauthenticated.status, unauthenticated.json()["error"]) == (401, "Invalid or expired token")
    for unknown in (client.get("/nowhere"), client.delete("/health"), client.post("/api/agents/a/b/c")):
        assert (unknown.status, unknown.json()["error"], unknown.json()["statusCode"]) == (404, "Not found", 404)
        assert set(unknown.json()) == {"error", "message", "statusCode", "timestamp"}
        assert time_format(unknown.json()["timestamp"]) == time_format(documented_time), "docs/api.md"
        assert unknown.header("X-Content-Type-Options") == "nosniff"
    http.close_all()

    assert chalice_deploy(project, "dev").returncode == 0
    assert project.make("destroy", "dev").returncode == 0
    assert AccountState(cloud).all_resources() == empty
    assert project.make("destroy", "dev").returncode == 0, "destroying a stage that does not exist succeeds"


def test_prod_keeps_its_data_when_it_is_removed_and_deployed_again(cloud: Cloud, project: Project) -> None:
    deploy(project, "prod")
    assert_state_matches_repository(cloud, project, "prod")
    before = AccountState(cloud).all_resources()
    for typed in ("", "\n", "yes\n", "dev\n"):
        rejected = project.make("destroy", "prod", stdin=typed)
        assert rejected.returncode != 0
        assert "Nothing was changed." in rejected.stderr
    assert AccountState(cloud).all_resources() == before

    removed = project.make("destroy", "prod", stdin="prod\n")
    assert removed.returncode == 0, removed.stderr
    kept = {name: before[name] for name in ("tables", "secrets")}
    assert AccountState(cloud).all_resources() == {name: type(value)() for name, value in before.items()} | kept

    secret = cloud.client("secretsmanager").get_secret_value(SecretId="devflow-prod-secret")["SecretString"]
    row = {"login": {"S": "pin#somebody"}}
    cloud.client("dynamodb").put_item(TableName="devflow-prod-logins", Item=row)
    restore_from_backup(cloud, "devflow-prod-tasks")
    assert "imported unchanged" in deploy(project, "prod")
    assert_state_matches_repository(cloud, project, "prod")
    assert cloud.client("dynamodb").scan(TableName="devflow-prod-logins")["Items"] == [row]
    secret_now = cloud.client("secretsmanager").get_secret_value(SecretId="devflow-prod-secret")["SecretString"]
    assert secret_now == secret, "all tokens stay valid"


def restore_from_backup(cloud: Cloud, table: str) -> None:
    """Replace a table as docs/how-to/restore-tables.md describes. A restored table has no expiry and no protection."""
    client = cloud.client("dynamodb")
    client.update_table(TableName=table, DeletionProtectionEnabled=False)
    client.delete_table(TableName=table)
    (request,) = [each for each in template.create_table_requests("prod") if each["TableName"] == table]
    client.create_table(**request | {"DeletionProtectionEnabled": False})


def time_format(instant: str) -> str:
    """The format of a time: the time with its digits and names replaced."""
    return re.sub(r"\d", "0", re.sub(r"[A-Z][a-z]{2}", "Mon", instant))


def chalice_deploy(project: Project, stage: str) -> subprocess.CompletedProcess[str]:
    """Run `chalice deploy --stage ...` directly."""
    environment = {**project.environment(stage), "AWS_DEFAULT_REGION": REGION}
    return subprocess.run(
        [project.directory / ".venv" / "bin" / "chalice", "deploy", "--stage", stage],
        cwd=project.directory, env=environment, capture_output=True, text=True, timeout=DEPLOY_TIMEOUT, check=False,
    )  # fmt: skip


class Stage:
    """HTTP to a stage of an API, with the prefix of API Gateway before each path."""

    def __init__(self, http: Http, prefix: str) -> None:
        self._http, self._prefix = http, prefix

    def call(self, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Response:
        return self._http.call(method, self._prefix + target, headers, body)
