"""chalicelib/core/settings.py: what the environment may say, and what is refused at the start instead of later."""

import pytest

from chalicelib.core.settings import Settings, from_environment


def test_without_a_word_it_is_the_local_stage_with_the_documented_defaults() -> None:
    assert from_environment({}) == Settings()
    assert Settings().local


def test_everything_can_be_said() -> None:
    said = from_environment(
        {
            "DEVFLOW_STAGE": "dev",
            "DEVFLOW_SESSION_HOURS": "12",
            "DEVFLOW_PIN_LOGIN": "0",
            "DEVFLOW_SHARDS": "8",
            "DEVFLOW_AGENTS_PER_USER": "10",
            "DEVFLOW_OPEN_TASKS_PER_USER": "20",
            "DEVFLOW_RETENTION_DAYS": "30",
            "DEVFLOW_WEBHOOKS_PER_USER": "5",
            "DEVFLOW_WEBHOOK_TIMEOUT_MS": "2500",
            "DEVFLOW_LOG_LEVEL": "DEBUG",
        }
    )
    assert said == Settings(
        stage="dev",
        session_hours=12,
        pin_login=False,
        shards=8,
        agents_per_user=10,
        open_tasks_per_user=20,
        retention_days=30,
        webhooks_per_user=5,
        webhook_timeout=2_500,
        log_level="DEBUG",
    )
    assert not said.local


@pytest.mark.parametrize(
    ("stage", "said", "exists"),
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
def test_pin_login_is_for_development_and_never_for_prod_whatever_is_said(
    stage: str,
    said: str | None,
    exists: bool,  # noqa: FBT001
) -> None:
    env = {"DEVFLOW_STAGE": stage} | ({} if said is None else {"DEVFLOW_PIN_LOGIN": said})
    assert from_environment(env).pin_login is exists


@pytest.mark.parametrize(("stage", "lifted"), [("local", True), ("dev", False), ("prod", False)])
def test_rate_limits_can_be_lifted_on_the_local_stage_alone(stage: str, lifted: bool) -> None:  # noqa: FBT001
    said = from_environment({"DEVFLOW_STAGE": stage, "DEVFLOW_RATE_LIMITS": "0"})
    assert said.rate_limits is not lifted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEVFLOW_SHARDS", "0"),
        ("DEVFLOW_SHARDS", "65"),
        ("DEVFLOW_SHARDS", "four"),
        ("DEVFLOW_SHARDS", "-1"),
        ("DEVFLOW_SHARDS", "1.5"),
        ("DEVFLOW_SHARDS", ""),
        ("DEVFLOW_AGENTS_PER_USER", "1001"),
        ("DEVFLOW_RETENTION_DAYS", "0"),
        ("DEVFLOW_WEBHOOKS_PER_USER", "41"),
        ("DEVFLOW_WEBHOOK_TIMEOUT_MS", "30001"),
        ("DEVFLOW_PIN_LOGIN", "maybe"),
        ("DEVFLOW_RATE_LIMITS", ""),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        from_environment({name: value})


def test_names_of_resources_carry_the_stage() -> None:
    assert Settings(stage="dev").resource_name("tasks") == "devflow-dev-tasks"


def test_the_local_secret_never_shows_in_a_log_or_a_trace() -> None:
    assert "hush" not in repr(Settings(local_secret="hush"))


@pytest.mark.parametrize("stage", ["dev", "prod", "staging"])
def test_no_deployed_stage_takes_a_secret_from_its_environment_where_anybody_could_list_it(stage: str) -> None:
    env = {"DEVFLOW_LOCAL_SECRET": "hush"}
    assert from_environment(env).local_secret == "hush"
    assert from_environment(env | {"DEVFLOW_STAGE": stage}).local_secret is None


@pytest.mark.parametrize(
    ("stage", "url", "known"),
    [
        ("dev", "https://devflow.example.com/", "https://devflow.example.com"),
        ("dev", "https://devflow.example.com/base/", "https://devflow.example.com/base"),
        ("dev", "", None),
        ("local", "http://localhost:3000", "http://localhost:3000"),
        ("local", "http://127.0.0.1:3000/", "http://127.0.0.1:3000"),
    ],
)
def test_the_platforms_own_address_has_no_slash_at_its_end(stage: str, url: str, known: str | None) -> None:
    assert from_environment({"DEVFLOW_STAGE": stage, "DEVFLOW_URL": url}).url == known


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
def test_an_address_that_would_lead_people_elsewhere_is_refused(stage: str, name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        from_environment({"DEVFLOW_STAGE": stage, name: value})


def test_origins_stand_between_commas() -> None:
    said = from_environment({"DEVFLOW_CORS_ORIGINS": "https://app.example.com, http://localhost:5173,"})
    assert said.cors_origins == {"https://app.example.com", "http://localhost:5173"}
    assert from_environment({}).cors_origins == frozenset()


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "https://*.example.com/", "https://app.example.com/", "https://app.example.com/path", "https://",
     "http://app.example.com", "app.example.com", "https://APP.example.com", "https://me@app.example.com"],
)  # fmt: skip
def test_what_no_browser_sends_as_an_origin_or_anybody_could_be_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="DEVFLOW_CORS_ORIGINS"):
        from_environment({"DEVFLOW_CORS_ORIGINS": f"https://app.example.com,{origin}"})


def test_the_domains_of_addresses_that_may_log_in_are_named_between_commas_in_any_case() -> None:
    said = from_environment({"DEVFLOW_EMAIL_DOMAINS": "example.com, Example.ORG,,"})
    assert said.email_domains == {"example.com", "example.org"}
    assert from_environment({}).email_domains == frozenset()
