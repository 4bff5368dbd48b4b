"""infra/keys.py: rotating a stage's keys while containers are warm, and rejecting steps that would lock users out."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from chalicelib.auth import keys, tokens
from chalicelib.core.errors import Unauthenticated
from chalicelib.core.settings import settings
from infra import keys as command
from tests.conftest import Clock

SECRET = "devflow-dev-secret"
FIRST = {"current": "key-1", "key-1": "x" * 64, "slackClientId": "", "slackClientSecret": ""}
NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)


class Stage:
    """A deployed stage with a warm container."""

    def __init__(self, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        self._clock, self._capsys = clock, capsys
        self.output = ""

    def step(self, name: str, *inputs: str) -> int:
        """Run one step of the command and return its exit status."""
        remaining = iter(inputs)
        status = command.main(["dev", name], lambda _: next(remaining))
        printed = self._capsys.readouterr()
        self.output = printed.out + printed.err
        return status

    def wait(self, **span: float) -> None:
        self._clock.advance(timedelta(**span).total_seconds())

    def token(self) -> str:
        return tokens.issue("user", "user-1", "user-1", "v", self._clock.now)

    def accepts(self, token: str) -> bool:
        try:
            return tokens.verify(token, self._clock.now).owner == "user-1"
        except Unauthenticated:
            return False

    @property
    def stored(self) -> dict[str, str]:
        content: dict[str, str] = json.loads(
            boto3.client("secretsmanager").get_secret_value(SecretId=SECRET)["SecretString"]
        )
        return content


@pytest.fixture
def stage(
    aws: None, clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Stage]:
    monkeypatch.setattr(keys, "_cached", None)
    monkeypatch.setattr(tokens, "_verified", {})
    monkeypatch.setattr(keys, "settings", replace(settings, stage="dev", local_secret=None))
    client = boto3.client("secretsmanager")
    client.create_secret(Name=SECRET, SecretString=json.dumps(FIRST))
    yield Stage(clock, capsys)
    client.delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)


def test_rotation_logs_nobody_out_and_removes_the_old_key(stage: Stage) -> None:
    before = stage.token()
    assert stage.step("add") == 0
    assert stage.accepts(before)
    stage.wait(minutes=10)
    assert stage.step("use") == 0
    stage.wait(minutes=5)
    after = stage.token()
    assert stage.accepts(before)
    assert stage.accepts(after)
    stage.wait(days=30, minutes=11)
    late = stage.token()
    assert stage.step("drop") == 0
    stage.wait(minutes=5)
    assert stage.accepts(late)
    assert [name for name in stage.stored if name.startswith("key-")] == [stage.stored["current"]]


def test_container_knows_a_new_key_before_it_signs(stage: Stage) -> None:
    """The container has not read the secret since the new key started to sign."""
    stage.step("add")
    stage.wait(minutes=10)
    stage.token()
    ring = keys._cached
    assert ring is not None
    stage.step("use")
    new = stage.stored["current"]
    assert ring.current == "key-1"
    assert new in ring.keys, "read before it signs"


def test_a_leaked_key_ends_every_token_within_five_minutes(stage: Stage) -> None:
    before = stage.token()
    assert stage.step("leaked") == 0
    stage.wait(minutes=5)
    assert not stage.accepts(before)
    assert stage.accepts(stage.token())
    assert "key-1" not in stage.stored


def test_no_key_is_printed(stage: Stage) -> None:
    for step in ("show", "add", "use", "leaked", "show"):
        stage.step(step)
        assert not [text for name, text in stage.stored.items() if name.startswith("key-") and text in stage.output]
    assert stage.stored["current"] in stage.output


def test_slack_credentials_are_set_and_removed(stage: Stage) -> None:
    assert stage.step("slack", " 1.2 ", "hush\n") == 0
    assert "hush" not in stage.output
    slack = keys.keyring(0).slack
    assert slack is not None
    assert (slack.id, slack.secret) == ("1.2", "hush")
    assert stage.step("slack", "1.2", "") == 1
    assert stage.step("slack", "", "") == 0
    assert keys.load(0).slack is None
    assert stage.stored["key-1"] == FIRST["key-1"]


def test_unknown_stage_is_reported(stage: Stage) -> None:
    """The first line names the secret and the region."""
    boto3.client("secretsmanager").update_secret(SecretId=SECRET, SecretString=json.dumps(FIRST))
    status = command.main(["nosuch", "leaked"], lambda _: "")
    printed = stage._capsys.readouterr()
    assert (status, printed.out) == (1, "")
    assert printed.err.startswith("There is no secret devflow-nosuch-secret in ")
    assert stage.stored == FIRST


@pytest.mark.parametrize("arguments", [["", ""], ["dev"], ["dev", "nosuch"], []])
def test_invalid_arguments_print_the_usage(stage: Stage, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments, lambda _: "")
    assert ended.value.code == 2
    assert "make keys STAGE=dev STEP=show" in stage._capsys.readouterr().err


def test_missing_region_and_credentials_are_reported(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert stage.step("leaked") == 1
    assert stage.output.startswith("No region is set. Set AWS_REGION")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert stage.step("leaked") == 1
    assert stage.output.startswith("The request to AWS failed: Unable to locate credentials")


def test_rejected_step_changes_nothing_and_names_the_time(stage: Stage) -> None:
    stage.step("add")
    before = stage.stored
    assert stage.step("use") == 1
    assert "Not before" in stage.output
    assert stage.step("add") == 1
    assert stage.step("drop") == 1
    assert stage.stored == before


def test_step_is_rejected_until_it_locks_nobody_out() -> None:
    added = command.add(FIRST, NOW)
    with pytest.raises(command.StepRejectedError, match="2026-01-05 09:10"):
        command.use(added, NOW + timedelta(minutes=9))
    used = command.use(added, NOW + timedelta(minutes=10))
    assert (used["current"], used["key-1"]) == ("key-20260105T090000Z", FIRST["key-1"])
    with pytest.raises(command.StepRejectedError, match="2026-02-04"):
        command.drop(used, NOW + timedelta(days=30))
    assert "key-1" not in command.drop(used, NOW + timedelta(days=30, minutes=21))


def test_steps_out_of_order_are_rejected() -> None:
    added = command.add(FIRST, NOW)
    for step, content, reason in (
        (command.use, FIRST, "signs already"),
        (command.drop, FIRST, "only one key"),
        (command.drop, added, "`use` it first"),
        (command.add, added, "two keys already"),
    ):
        with pytest.raises(command.StepRejectedError, match=reason):
            step(content, NOW + timedelta(days=100))


def test_second_rotation_waits_for_its_own_thirty_days() -> None:
    once = command.use(command.add(FIRST, NOW), NOW + timedelta(days=1))
    clean = command.drop(once, NOW + timedelta(days=32))
    twice = command.use(command.add(clean, NOW + timedelta(days=40)), NOW + timedelta(days=41))
    assert command.key_ids(twice) == ["key-20260214T090000Z", "key-20260105T090000Z"]
    with pytest.raises(command.StepRejectedError):
        command.drop(twice, NOW + timedelta(days=71))
    assert command.key_ids(command.drop(twice, NOW + timedelta(days=72))) == ["key-20260214T090000Z"]
