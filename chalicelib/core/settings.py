"""Every setting of the platform: read once from the environment, here and nowhere else."""

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
    """What a deployment decides. The names of the variables stand in `from_environment`."""

    stage: str = "local"
    """`local`, `dev`, `prod` or any other name; part of every resource's name."""

    local_secret: str | None = field(default=None, repr=False)
    """Local stage only: what `chalicelib/auth/keys.py` reads from Secrets Manager on every other one."""

    url: str | None = None
    """Where people reach the platform, without a trailing slash; None: as API Gateway was called."""

    cors_origins: frozenset[str] = frozenset()
    """Origins other than our own whose pages may call the API, with a token: `https://app.example.com`."""

    dashboard: str = "/dashboard"
    """Where somebody who has signed in is sent: a path below `url`."""

    mail_from: str | None = None
    """Whose mails magic links are: an address that SES may send from. None: this stage sends no mail."""

    slack_url: str = "https://slack.com"
    """Where Slack is, and who signs its id tokens."""

    slack_team: str | None = None
    """The id of the one Slack workspace whose members may sign in; None: whoever Slack lets use our app there."""

    email_domains: frozenset[str] = frozenset()
    """Whose addresses may log in by mail or Slack: `example.com`, with nothing below it. Empty: everybody's."""

    session_hours: int = 720
    """How long somebody who has logged in stays so: the spec's 30 days, or less."""

    pin_login: bool = True
    """Whether POST /api/auth/pin/login exists. Never on prod."""

    shards: int = 4
    """Over how many partitions the sweep's indexes are spread (each carries 1,000 writes a second)."""

    agents_per_user: int = 1_000
    open_tasks_per_user: int = 10_000
    retention_days: int = 90
    """How long finished tasks, their results and their events are kept."""

    webhooks_per_user: int = 20
    webhook_timeout: int = 15 * SECOND
    """How long a receiver may take to answer, in all and in milliseconds."""

    rate_limits: bool = True
    """False lifts every limit on the number of calls; for load tests on the local stage only."""

    log_level: str = "INFO"

    handler: str | None = None
    """Which of app.py's functions this one runs, `app.sweep` for instance (Lambda's own variable `_HANDLER`,
    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html); None: this is no Lambda."""

    credentials_given: bool = False
    """Whether the environment has credentials for AWS, as Lambda gives them to every function."""

    deploying: bool = False
    """Whether one of Chalice's own commands loads the app, on the machine of whoever deploys."""

    @property
    def local(self) -> bool:
        return self.stage == "local"

    def resource_name(self, resource: str) -> str:
        """The AWS name of a table, a queue or the secret of this stage, as `infra/template.yaml` gives it."""
        return f"devflow-{self.stage}-{resource}"


def from_environment(env: Mapping[str, str]) -> Settings:
    """Settings from variables that start with `DEVFLOW_`; what is absent has its default.

    Raises ValueError, naming the variable, for a value that cannot be meant.
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
        agents_per_user=_integer(env, "DEVFLOW_AGENTS_PER_USER", default=1_000, minimum=1, maximum=1_000),
        open_tasks_per_user=_integer(env, "DEVFLOW_OPEN_TASKS_PER_USER", default=10_000, minimum=1, maximum=1_000_000),
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
    """An address without a trailing slash; https, but for the local stage's own machine."""
    text = env.get(name, "").rstrip("/")
    if not text:
        return None
    parts = urlsplit(text)
    loopback = stage == "local" and parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not (parts.hostname and (parts.scheme == "https" or loopback)) or parts.query or parts.fragment:
        raise ValueError(f"{name} must be an https address, not {text!r}")
    return text


def _names(env: Mapping[str, str], name: str) -> frozenset[str]:
    """Names with commas between them."""
    return frozenset(part.strip() for part in env.get(name, "").split(",") if part.strip())


def _origins(env: Mapping[str, str], name: str) -> frozenset[str]:
    """Origins between commas, each as a browser sends it: https, or http on one's own machine, and no path."""
    origins = _names(env, name)
    for origin in origins:
        parts = urlsplit(origin)
        secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1"))
        if not (parts.hostname and secure) or origin != f"{parts.scheme}://{parts.netloc}".lower() or "@" in origin:
            raise ValueError(f"{name} must be https origins such as https://app.example.com, not {origin!r}")
    return origins


def _path(env: Mapping[str, str], name: str, *, default: str) -> str:
    text = env.get(name) or default
    if not text.startswith("/") or text.startswith("//"):
        raise ValueError(f"{name} must be a path that begins with one slash, not {text!r}")
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
