"""chalicelib/core/settings.py: valid values of the environment, and values that are rejected at the start."""

import pytest

from chalicelib.core.settings import Settings, from_environment


def test_empty_environment_is_the_local_stage_with_defaults() -> None:
    assert from_environment({}) == Settings()
    assert Settings().local


def test_every_setting_is_read_from_its_variable() -> None:
    read = from_environment(
        {
            "DEVFLOW_STAGE": "dev",
            "DEVFLOW_SESSION_HOURS": "12",
            "DEVFLOW_PIN_LOGIN": "0",
            "DEVFLOW_SHARDS": "8",
            "DEVFLOW_TEAM_PARTITIONS": "3",
            "DEVFLOW_AGENTS_PER_USER": "10",
            "DEVFLOW_OPEN_TASKS_PER_USER": "20",
            "DEVFLOW_TASKS_PER_DAY": "300",
            "DEVFLOW_BYTES_PER_DAY": "4000000",
            "DEVFLOW_RETENTION_DAYS": "30",
            "DEVFLOW_WEBHOOKS_PER_USER": "5",
            "DEVFLOW_WEBHOOK_TIMEOUT_MS": "2500",
            "DEVFLOW_LOG_LEVEL": "DEBUG",
        }
    )
    assert read == Settings(
        stage="dev",
        session_hours=12,
        pin_login=False,
        shards=8,
        team_partitions=3,
        agents_per_user=10,
        open_tasks_per_user=20,
        tasks_per_day=300,
        bytes_per_day=4_000_000,
        retention_days=30,
        webhooks_per_user=5,
        webhook_timeout=2_500,
        log_level="DEBUG",
    )
    assert not read.local


@pytest.mark.parametrize(
    ("stage", "value", "enabled"),
    [
        ("local", None, True),
        ("dev", None, True),
        ("staging", None, False),
        ("staging", "1", True),
        ("dev", "false", False),
        ("prod", None, False),
        ("prod", "1", False),
    ],
)
def test_pin_login_is_never_enabled_on_prod(
    stage: str,
    value: str | None,
    enabled: bool,  # noqa: FBT001
) -> None:
    env = {"DEVFLOW_STAGE": stage} | ({} if value is None else {"DEVFLOW_PIN_LOGIN": value})
    assert from_environment(env).pin_login is enabled


@pytest.mark.parametrize(("stage", "disabled"), [("local", True), ("dev", False), ("prod", False)])
def test_rate_limits_can_be_disabled_only_on_local_stage(stage: str, disabled: bool) -> None:  # noqa: FBT001
    read = from_environment({"DEVFLOW_STAGE": stage, "DEVFLOW_RATE_LIMITS": "0"})
    assert read.rate_limits is not disabled


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEVFLOW_SHARDS", "0"),
        ("DEVFLOW_SHARDS", "65"),
        ("DEVFLOW_SHARDS", "four"),
        ("DEVFLOW_SHARDS", "-1"),
        ("DEVFLOW_SHARDS", "1.5"),
        ("DEVFLOW_SHARDS", ""),
        ("DEVFLOW_TEAM_PARTITIONS", "0"),
        ("DEVFLOW_TEAM_PARTITIONS", "9"),
        ("DEVFLOW_AGENTS_PER_USER", "10001"),
        ("DEVFLOW_TASKS_PER_DAY", "0"),
        ("DEVFLOW_TASKS_PER_DAY", "1e5"),
        ("DEVFLOW_BYTES_PER_DAY", "999999"),
        ("DEVFLOW_RETENTION_DAYS", "0"),
        ("DEVFLOW_WEBHOOKS_PER_USER", "41"),
        ("DEVFLOW_WEBHOOK_TIMEOUT_MS", "30001"),
        ("DEVFLOW_PIN_LOGIN", "maybe"),
        ("DEVFLOW_RATE_LIMITS", ""),
    ],
)
def test_invalid_value_is_rejected_with_name_of_variable(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        from_environment({name: value})


def test_resource_name_includes_the_stage() -> None:
    assert Settings(stage="dev").resource_name("tasks") == "devflow-dev-tasks"


def test_local_secret_is_not_in_repr() -> None:
    assert "hush" not in repr(Settings(local_secret="hush"))


@pytest.mark.parametrize("stage", ["dev", "prod", "staging"])
def test_deployed_stage_ignores_secret_in_environment(stage: str) -> None:
    """Everyone who may list the configuration of a function could read it there."""
    env = {"DEVFLOW_LOCAL_SECRET": "hush"}
    assert from_environment(env).local_secret == "hush"
    assert from_environment(env | {"DEVFLOW_STAGE": stage}).local_secret is None


@pytest.mark.parametrize(
    ("stage", "url", "expected"),
    [
        ("dev", "https://devflow.example.com/", "https://devflow.example.com"),
        ("dev", "https://devflow.example.com/base/", "https://devflow.example.com/base"),
        ("dev", "", None),
        ("local", "http://localhost:3000", "http://localhost:3000"),
        ("local", "http://127.0.0.1:3000/", "http://127.0.0.1:3000"),
    ],
)
def test_url_has_no_trailing_slash(stage: str, url: str, expected: str | None) -> None:
    assert from_environment({"DEVFLOW_STAGE": stage, "DEVFLOW_URL": url}).url == expected


@pytest.mark.parametrize(
    ("stage", "name", "value"),
    [
        ("dev", "DEVFLOW_URL", "http://devflow.example.com"),
        ("dev", "DEVFLOW_URL", "http://localhost:3000"),
        ("local", "DEVFLOW_URL", "http://example.com"),
        ("dev", "DEVFLOW_URL", "devflow.example.com"),
        ("dev", "DEVFLOW_URL", "https://"),
        ("dev", "DEVFLOW_URL", "https://devflow.example.com/?a=b"),
        ("dev", "DEVFLOW_URL", "javascript:alert(1)"),
        ("dev", "DEVFLOW_DASHBOARD", "//evil.example"),
        ("dev", "DEVFLOW_DASHBOARD", "https://evil.example"),
    ],
)
def test_unsafe_url_or_path_is_rejected(stage: str, name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        from_environment({"DEVFLOW_STAGE": stage, name: value})


def test_cors_origins_are_separated_by_commas() -> None:
    read = from_environment({"DEVFLOW_CORS_ORIGINS": "https://app.example.com, http://localhost:5173,"})
    assert read.cors_origins == {"https://app.example.com", "http://localhost:5173"}
    assert from_environment({}).cors_origins == frozenset()


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "https://*.example.com/", "https://app.example.com/", "https://app.example.com/path", "https://",
     "http://app.example.com", "app.example.com", "https://APP.example.com", "https://me@app.example.com"],
)  # fmt: skip
def test_invalid_or_insecure_cors_origin_is_rejected(origin: str) -> None:
    with pytest.raises(ValueError, match="DEVFLOW_CORS_ORIGINS"):
        from_environment({"DEVFLOW_CORS_ORIGINS": f"https://app.example.com,{origin}"})


def test_email_domains_are_separated_by_commas_and_lowercased() -> None:
    read = from_environment({"DEVFLOW_EMAIL_DOMAINS": "example.com, Example.ORG,,"})
    assert read.email_domains == {"example.com", "example.org"}
    assert from_environment({}).email_domains == frozenset()
