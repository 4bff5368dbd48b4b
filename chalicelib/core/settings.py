"""Every setting of the platform. The environment is read once, and only in this module."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

VERSION = "0.1.0"

KB = 1024
SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True)
class Settings:
    """The settings of a deployment. `from_environment` has the names of the variables."""

    stage: str = "local"
    """`local`, `dev`, `prod` or any other name. It is part of the name of every AWS resource."""

    local_secret: str | None = field(default=None, repr=False)
    """The secret with the signing keys, on the local stage only.

    On the other stages `chalicelib/auth/keys.py` reads it from Secrets Manager.
    """

    url: str | None = None
    """The public URL of the platform, without a trailing slash. None: the address at which API Gateway was called."""

    cors_origins: frozenset[str] = frozenset()
    """Other origins whose pages may call the API with a token, for example `https://app.example.com`."""

    dashboard: str = "/dashboard"
    """The path below `url` to which a user is redirected after login."""

    mail_from: str | None = None
    """The sender of mails with magic links. SES must be allowed to send from it. None: this stage sends no mail."""

    slack_url: str = "https://slack.com"
    """The URL of Slack, which is also the issuer of its id tokens."""

    slack_team: str | None = None
    """The id of the only Slack workspace whose members may log in. None: every user of the Slack app may log in."""

    email_domains: frozenset[str] = frozenset()
    """Domains of email addresses that may log in by mail or Slack: `example.com`, without subdomains. Empty: all."""

    session_hours: int = 720
    """The lifetime of a session, in hours: 30 days as in the specification, or less."""

    pin_login: bool = True
    """Whether users can log in with POST /api/auth/pin/login. Always False on prod."""

    shards: int = 4
    """The number of partitions of the indexes that the sweep reads. Each partition accepts 1,000 writes per second."""

    team_partitions: int = 1
    """The number of partition keys over which the open tasks of one owner are spread. A partition is enough for about
    400 tasks per second. Each poll reads all of them."""

    agents_per_user: int = 2_000
    open_tasks_per_user: int = 10_000
    tasks_per_day: int = 100_000
    """How many tasks a user may submit in a day (UTC)."""

    bytes_per_day: int = 20_000_000_000
    """How many bytes of descriptions, results and logs a user may store in a day (UTC)."""

    retention_days: int = 90
    """The number of days for which finished tasks, their results and their events are stored."""

    webhooks_per_user: int = 20
    webhook_timeout: int = 15 * SECOND
    """The time for one request to a webhook endpoint, in milliseconds. It includes the whole response."""

    rate_limits: bool = True
    """False disables all rate limits. This is for load tests, on the local stage only."""

    log_level: str = "INFO"

    handler: str | None = None
    """The function of app.py that this process runs, for example `app.sweep`. None: this is not a Lambda function.

    Lambda sets it as `_HANDLER` (https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html).
    """

    credentials_given: bool = False
    """Whether the environment has AWS credentials. Lambda sets them for every function."""

    deploying: bool = False
    """Whether a command of Chalice loads the app, on the machine that deploys."""

    @property
    def local(self) -> bool:
        return self.stage == "local"

    @property
    def requires_slack_team(self) -> bool:
        """Whether Slack sign-in needs `slack_team`. Without it, the administrators of any workspace could create users
        with addresses of other people."""
        return self.stage == "prod"

    def resource_name(self, resource: str) -> str:
        """The AWS name of a table, a queue or the secret of this stage, as `infra/template.yaml` defines it."""
        return f"devflow-{self.stage}-{resource}"


def from_environment(env: Mapping[str, str]) -> Settings:
    """Settings from the variables that start with `DEVFLOW_`. A variable that is not set has its default.

    Raises ValueError with the name of the variable if its value is not valid.
    """
    stage = env.get("DEVFLOW_STAGE", "local")
    return Settings(
        stage=stage,
        local_secret=env.get("DEVFLOW_LOCAL_SECRET") if stage == "local" else None,
        url=_url(env, "DEVFLOW_URL", stage),
        cors_origins=_origins(env, "DEVFLOW_CORS_ORIGINS"),
        dashboard=_path(env, "DEVFLOW_DASHBOARD", default="/dashboard"),
        mail_from=env.get("DEVFLOW_MAIL_FROM") or None,
        slack_url=_url(env, "DEVFLOW_SLACK_URL", stage) or "https://slack.com",
        slack_team=env.get("DEVFLOW_SLACK_TEAM") or None,
        email_domains=frozenset(name.lower() for name in _names(env, "DEVFLOW_EMAIL_DOMAINS")),
        session_hours=_integer(env, "DEVFLOW_SESSION_HOURS", default=720, minimum=1, maximum=720),
        pin_login=stage != "prod" and _flag(env, "DEVFLOW_PIN_LOGIN", default=stage in ("local", "dev")),
        shards=_integer(env, "DEVFLOW_SHARDS", default=4, minimum=1, maximum=64),
        team_partitions=_integer(env, "DEVFLOW_TEAM_PARTITIONS", default=1, minimum=1, maximum=8),
        agents_per_user=_integer(env, "DEVFLOW_AGENTS_PER_USER", default=2_000, minimum=1, maximum=10_000),
        open_tasks_per_user=_integer(env, "DEVFLOW_OPEN_TASKS_PER_USER", default=10_000, minimum=1, maximum=1_000_000),
        tasks_per_day=_integer(env, "DEVFLOW_TASKS_PER_DAY", default=100_000, minimum=1, maximum=100_000_000),
        bytes_per_day=_integer(
            env, "DEVFLOW_BYTES_PER_DAY", default=20_000_000_000, minimum=1_000_000, maximum=100_000_000_000_000
        ),
        retention_days=_integer(env, "DEVFLOW_RETENTION_DAYS", default=90, minimum=1, maximum=3_650),
        webhooks_per_user=_integer(env, "DEVFLOW_WEBHOOKS_PER_USER", default=20, minimum=1, maximum=40),
        webhook_timeout=_integer(env, "DEVFLOW_WEBHOOK_TIMEOUT_MS", default=15_000, minimum=100, maximum=30_000),
        rate_limits=_flag(env, "DEVFLOW_RATE_LIMITS", default=True) or stage != "local",
        log_level=env.get("DEVFLOW_LOG_LEVEL", "INFO"),
        handler=env.get("_HANDLER"),
        credentials_given=bool(env.get("AWS_ACCESS_KEY_ID")),
        deploying="AWS_CHALICE_CLI_MODE" in env,
    )


def _url(env: Mapping[str, str], name: str, stage: str) -> str | None:
    """A URL without a trailing slash. It must be https; the local stage also accepts http on this machine."""
    text = env.get(name, "").rstrip("/")
    if not text:
        return None
    parts = urlsplit(text)
    loopback = stage == "local" and parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not (parts.hostname and (parts.scheme == "https" or loopback)) or parts.query or parts.fragment:
        raise ValueError(f"{name} must be an https URL, not {text!r}")
    return text


def _names(env: Mapping[str, str], name: str) -> frozenset[str]:
    """Names that are separated by commas."""
    return frozenset(part.strip() for part in env.get(name, "").split(",") if part.strip())


def _origins(env: Mapping[str, str], name: str) -> frozenset[str]:
    """Origins, separated by commas, as a browser sends them: https, or http on this machine, and no path."""
    origins = _names(env, name)
    for origin in origins:
        parts = urlsplit(origin)
        secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1"))
        if not (parts.hostname and secure) or origin != f"{parts.scheme}://{parts.netloc}".lower() or "@" in origin:
            raise ValueError(f"{name} must be a list of https origins such as https://app.example.com, not {origin!r}")
    return origins


def _path(env: Mapping[str, str], name: str, *, default: str) -> str:
    text = env.get(name) or default
    if not text.startswith("/") or text.startswith("//"):
        raise ValueError(f"{name} must be a path that starts with one slash, not {text!r}")
    return text


def _integer(env: Mapping[str, str], name: str, *, default: int, minimum: int, maximum: int) -> int:
    text = env.get(name, str(default))
    if not text.isdecimal() or not minimum <= int(text) <= maximum:
        raise ValueError(f"{name} must be a whole number from {minimum} to {maximum}, not {text!r}")
    return int(text)


def _flag(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = env.get(name, "1" if default else "0").lower()
    if text not in ("0", "1", "true", "false"):
        raise ValueError(f"{name} must be 1 or 0, not {text!r}")
    return text in ("1", "true")


settings = from_environment(os.environ)
