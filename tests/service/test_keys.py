"""chalicelib/auth/keys.py: reading the keyring, reading it again, and rejecting keys that cannot be used."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import boto3
import pytest

from chalicelib.auth import keys
from chalicelib.core.errors import Unavailable
from chalicelib.core.settings import MINUTE, SECOND, settings
from tests.service import faults
from tests.support import aws_requests

NOW = 1_763_938_000_000
SECRET = "devflow-dev-secret"


def content(current: str, *kids: str, size: int = 32) -> str:
    """A secret as it is stored. Each key consists of its id, repeated."""
    generated = {f"key-{kid}": (kid * size)[:size] for kid in kids or (current,)}
    return json.dumps({"current": f"key-{current}", "slackClientId": "", "slackClientSecret": ""} | generated)


@pytest.fixture(autouse=True)
def _no_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that has not read the keys yet. Afterwards the session's keys are restored."""
    monkeypatch.setattr(keys, "_cached", None)


@pytest.fixture
def set_local_keys(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that sets the keys in this container's environment."""

    def set_keys(text: str) -> None:
        monkeypatch.setattr(keys, "settings", replace(settings, local_secret=text))

    return set_keys


@pytest.fixture
def store_keys(monkeypatch: pytest.MonkeyPatch, aws: None) -> Iterator[Callable[[str], None]]:
    """A function that stores the keys in Secrets Manager, as on a deployed stage."""
    monkeypatch.setattr(keys, "settings", replace(settings, stage="dev", local_secret=None))
    client = boto3.client("secretsmanager")
    client.create_secret(Name=SECRET, SecretString="{}")

    def store(text: str) -> None:
        client.put_secret_value(SecretId=SECRET, SecretString=text)

    yield store
    client.delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)


def test_current_key_signs_and_all_keys_verify(set_local_keys: Callable[[str], None]) -> None:
    set_local_keys(content("new", "old", "new"))
    ring = keys.keyring(NOW)
    assert ring.signing_key == (b"new" * 32)[:32]
    assert set(ring.keys) == {"key-old", "key-new"}


def test_secret_is_read_once_and_cached(store_keys: Callable[[str], None]) -> None:
    store_keys(content("one"))
    with aws_requests.recorded() as sent:
        for later in range(0, 5 * MINUTE, MINUTE):
            assert keys.keyring(NOW + later).current == "key-one"
    assert sent.operations == ["GetSecretValue"]


def test_keys_are_read_again_every_five_minutes(store_keys: Callable[[str], None]) -> None:
    store_keys(content("one"))
    keys.keyring(NOW)
    store_keys(content("two"))
    assert keys.keyring(NOW + 5 * MINUTE - 1).current == "key-one"
    assert keys.keyring(NOW + 5 * MINUTE).current == "key-two"


def test_unknown_key_id_makes_a_warm_container_read_the_keys_again(
    store_keys: Callable[[str], None],
) -> None:
    store_keys(content("old"))
    keys.keyring(NOW)
    store_keys(content("new", "old", "new"))
    assert "key-new" in keys.keyring(NOW + 10 * SECOND, key_id="key-new").keys


def test_invented_key_ids_do_not_cause_a_read_each(store_keys: Callable[[str], None]) -> None:
    store_keys(content("one"))
    with aws_requests.recorded() as sent:
        for attempt in range(100):
            keys.keyring(NOW + attempt, key_id=f"made-up-{attempt}")
    assert len(sent) == 1


def test_known_key_id_causes_no_read(store_keys: Callable[[str], None]) -> None:
    store_keys(content("one"))
    keys.keyring(NOW)
    with aws_requests.recorded() as sent:
        keys.keyring(NOW + MINUTE, key_id="key-one")
    assert sent == []


def test_clock_that_was_set_back_causes_a_read(store_keys: Callable[[str], None]) -> None:
    store_keys(content("one"))
    keys.keyring(NOW)
    store_keys(content("two"))
    assert keys.keyring(NOW - 1).current == "key-two"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "{}",
        "null",
        '{"current": "key-1"}',
        '{"key-1": "AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH"}',
        '{"current": "key-1", "key-1": 1}',
        '{"current": "key-1", "key-1": null}',
        '{"current": "key-1", "key-1": {"a": "AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH"}}',
        '{"current": "slackClientSecret", "slackClientSecret": "AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH"}',
        '{"current": ["key-1"], "key-1": "AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH"}',
        '{"current": "key-1", "key-1": "AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH", "slackClientId": {}}',
        content("k", size=31),
        content("missing", "k"),
        json.dumps({"current": "key-1", "key-1": "A" * 44, "key-short": "AAAA"}),
    ],
)
def test_unusable_keys_are_unavailable_and_not_disclosed(set_local_keys: Callable[[str], None], text: str) -> None:
    set_local_keys(text)
    with pytest.raises(Unavailable) as raised:
        keys.keyring(NOW)
    assert "AAAA" not in raised.value.message


def test_missing_keys_are_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "settings", replace(settings, local_secret=None))
    with pytest.raises(Unavailable):
        keys.keyring(NOW)


def test_first_read_is_unavailable_if_secrets_manager_fails(store_keys: Callable[[str], None]) -> None:
    store_keys(content("one"))
    with (
        faults.refused("GetSecretValue", "InternalServiceError", status=500, times=10),
        pytest.raises(Unavailable),
    ):
        keys.keyring(NOW)


def test_cached_keys_stay_in_use_if_secrets_manager_fails(store_keys: Callable[[str], None]) -> None:
    store_keys(content("one"))
    keys.keyring(NOW)
    with faults.refused("GetSecretValue", "InternalServiceError", status=500, times=10):
        assert keys.keyring(NOW + 5 * MINUTE).current == "key-one"


def test_slack_credentials_are_read_if_they_are_complete(set_local_keys: Callable[[str], None]) -> None:
    set_local_keys(content("one"))
    assert keys.keyring(NOW).slack is None
    for stored, expected in (
        ({"slackClientId": "1.2", "slackClientSecret": "hush"}, keys.SlackCredentials("1.2", "hush")),
        ({"slackClientId": "1.2"}, None),
        ({"slackClientSecret": "hush"}, None),
    ):
        set_local_keys(json.dumps(json.loads(content("one")) | stored))
        assert keys.load(NOW).slack == expected


def test_printed_keyring_contains_no_secret(set_local_keys: Callable[[str], None]) -> None:
    set_local_keys(
        json.dumps({"current": "key-1", "key-1": "hush" * 8, "slackClientId": "1.2", "slackClientSecret": "hush"})
    )
    assert "hush" not in repr(keys.keyring(NOW))
