"""The secret of a stage: its signing keys and its Slack credentials, in one flat JSON object of strings.

    {"current": "key-1", "key-1": "<at least 32 bytes>", "slackClientId": "", "slackClientSecret": ""}

On a deployed stage, the object is one Secrets Manager secret, which `infra/template.yaml` generates. The object is flat
because CloudFormation can fill only one entry of a flat object with random text. On the local stage, the object comes
from the environment (DEVFLOW_LOCAL_SECRET).

Every entry whose name begins with `key-` is a signing key. The key that `current` names signs tokens; every key
verifies them. Two keys may exist at once, so that a key can be replaced without ending sessions.

A container reads the secret again every five minutes, and immediately when it encounters an unknown key id. An unknown
key id causes a read at most every ten seconds, so that invalid tokens do not cost a call each.
"""

from functools import cache
from typing import Any, NamedTuple

from botocore.exceptions import ClientError
from pydantic_core import from_json

from chalicelib.aws import session, tries
from chalicelib.core.errors import Unavailable
from chalicelib.core.log import logger
from chalicelib.core.settings import MINUTE, SECOND, settings

REFRESH_AFTER = 5 * MINUTE
UNKNOWN_KEY_REFRESH_AFTER = 10 * SECOND
MIN_KEY_BYTES = 32
"""RFC 7518, section 3.2: a key for HS256 has at least the size of the hash."""


KEY_PREFIX = "key-"


class SlackCredentials(NamedTuple):
    """The id and secret of this stage's Slack app (RFC 6749, section 2.3.1)."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id})"


class Keyring(NamedTuple):
    """The content of the secret, and when it was read (epoch milliseconds)."""

    current: str
    keys: dict[str, bytes]
    read_at: int
    slack: SlackCredentials | None = None
    """None where this stage has no Slack app, or lacks the setting DEVFLOW_SLACK_TEAM and requires it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.current})"

    @property
    def signing_key(self) -> bytes:
        return self.keys[self.current]


_cached: Keyring | None = None


def keyring(now: int, *, key_id: str | None = None) -> Keyring:
    """The cached keys, read again when they are old, or when `key_id` is not among them.

    Where reading them again fails, the cached keys remain in use. Raises Unavailable where they were never read.
    """
    global _cached  # noqa: PLW0603  # one keyring for each container, deliberately
    ring = _cached
    if ring is None:
        _cached = ring = load(now)
    elif _is_stale(ring, now, key_id):
        try:
            ring = load(now)
        except Unavailable:
            logger.warning("the signing keys cannot be read again; the cached keys remain in use", exc_info=True)
            ring = ring._replace(read_at=now)
        _cached = ring
    return ring


def _is_stale(ring: Keyring, now: int, key_id: str | None) -> bool:
    age = now - ring.read_at
    unknown = key_id is not None and key_id not in ring.keys
    return not 0 <= age < REFRESH_AFTER or (unknown and age >= UNKNOWN_KEY_REFRESH_AFTER)


def load(now: int) -> Keyring:
    """Read the secret of this stage. Raises Unavailable where it cannot be read or used."""
    return parse_keyring(settings.local_secret or _read_secret(), now)


def parse_keyring(secret: str, now: int) -> Keyring:
    """Parse the text of a secret. Raises Unavailable where it is not valid, or a key is too short or missing."""
    content = _parse_secret(secret)
    keys = {kid: key.encode() for kid, key in content.items() if kid.startswith(KEY_PREFIX)}
    current = content.get("current", "")
    if current not in keys or any(len(key) < MIN_KEY_BYTES for key in keys.values()):
        raise Unavailable("The signing keys of this stage are too short, or the current one is missing.")
    return Keyring(current, keys, now, _slack_credentials(content))


def _slack_credentials(content: dict[str, str]) -> SlackCredentials | None:
    """The credentials of the Slack app, if sign-in with it is configured completely."""
    slack = SlackCredentials(content.get("slackClientId", ""), content.get("slackClientSecret", ""))
    if not (slack.id and slack.secret):
        return None
    if settings.requires_slack_team and settings.slack_team is None:
        logger.error("Slack sign-in is off, because DEVFLOW_SLACK_TEAM is not set on this stage; see docs/logins.md")
        return None
    return slack


def _parse_secret(secret: str) -> dict[str, str]:
    try:
        content = from_json(secret)
    except ValueError:  # neither logged nor chained: the error contains the text of the secret
        content = None
    if not isinstance(content, dict) or not all(isinstance(each, str) for each in content.values()):
        raise Unavailable("The secret of this stage is not a JSON object of strings; see docs/keys.md.")
    return content


@cache
def _client() -> Any:
    return session.botocore_session().create_client("secretsmanager", config=session.CONFIG)


def _read_secret() -> str:
    if settings.local:
        raise Unavailable("The local stage has no signing keys, because DEVFLOW_LOCAL_SECRET is not set.")
    try:
        response = tries.send("secret", session.SECONDS, _get_secret)
    except (ClientError, Unavailable) as error:
        raise Unavailable("The signing keys of this stage cannot be read right now.") from error
    return str(response["SecretString"])


def _get_secret() -> dict[str, Any]:
    response: dict[str, Any] = _client().get_secret_value(SecretId=settings.resource_name("secret"))
    return response
