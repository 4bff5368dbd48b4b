"""chalicelib/auth/keys.py: the keyring, when it is read again, and what it refuses to sign with."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import boto3
import pytest

from chalicelib.auth import keys
from chalicelib.core.errors import Unavailable
from chalicelib.core.settings import MINUTE, SECOND, settings
from tests.service import faults
from tests.support import wire

NOW = 1_763_938_000_000
SECRET = "devflow-dev-secret"


def content(current: str, *kids: str, size: int = 32) -> str:
    """A secret as it is stored; a key is made of its id."""
    made = {f"key-{kid}": (kid * size)[:size] for kid in kids or (current,)}
    return json.dumps({"current": f"key-{current}", "slackClientId": "", "slackClientSecret": ""} | made)


@pytest.fixture(autouse=True)
def _no_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that has read nothing yet; what the session has read is put back."""
    monkeypatch.setattr(keys, "_cached", None)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give this container's environment other keys."""

    def say(text: str) -> None:
        monkeypatch.setattr(keys, "settings", replace(settings, local_secret=text))

    return say


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, aws: None) -> Iterator[Callable[[str], None]]:
    """Keep the keys where a deployed stage does: in Secrets Manager."""
    monkeypatch.setattr(keys, "settings", replace(settings, stage="dev", local_secret=None))
    client = boto3.client("secretsmanager")
    client.create_secret(Name=SECRET, SecretString="{}")

    def store(text: str) -> None:
        client.put_secret_value(SecretId=SECRET, SecretString=text)

    yield store
    client.delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)


def test_the_current_key_signs_and_every_key_is_there_to_verify(said: Callable[[str], None]) -> None:
    said(content("new", "old", "new"))
    ring = keys.keyring(NOW)
    assert ring.signing_key == (b"new" * 32)[:32]
    assert set(ring.keys) == {"key-old", "key-new"}


def test_a_deployed_stage_reads_its_secret_once_and_then_from_memory(stored: Callable[[str], None]) -> None:
    stored(content("one"))
    with wire.recorded() as sent:
        for later in range(0, 5 * MINUTE, MINUTE):
            assert keys.keyring(NOW + later).current == "key-one"
    assert sent.operations == ["GetSecretValue"]


def test_every_five_minutes_the_keys_are_read_again(stored: Callable[[str], None]) -> None:
    stored(content("one"))
    keys.keyring(NOW)
    stored(content("two"))
    assert keys.keyring(NOW + 5 * MINUTE - 1).current == "key-one"
    assert keys.keyring(NOW + 5 * MINUTE).current == "key-two"


def test_a_warm_container_with_yesterdays_keys_reads_them_when_it_meets_a_new_one(
    stored: Callable[[str], None],
) -> None:
    stored(content("old"))
    keys.keyring(NOW)
    stored(content("new", "old", "new"))
    assert "key-new" in keys.keyring(NOW + 10 * SECOND, key_id="key-new").keys


def test_key_ids_made_up_do_not_cost_a_read_each(stored: Callable[[str], None]) -> None:
    stored(content("one"))
    with wire.recorded() as sent:
        for attempt in range(100):
            keys.keyring(NOW + attempt, key_id=f"made-up-{attempt}")
    assert len(sent) == 1


def test_a_known_key_id_costs_nothing(stored: Callable[[str], None]) -> None:
    stored(content("one"))
    keys.keyring(NOW)
    with wire.recorded() as sent:
        keys.keyring(NOW + MINUTE, key_id="key-one")
    assert sent == []


def test_a_clock_that_was_set_back_makes_it_read_again(stored: Callable[[str], None]) -> None:
    stored(content("one"))
    keys.keyring(NOW)
    stored(content("two"))
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
def test_keys_that_cannot_be_used_are_unavailable_and_are_not_shown(said: Callable[[str], None], text: str) -> None:
    said(text)
    with pytest.raises(Unavailable) as refused:
        keys.keyring(NOW)
    assert "AAAA" not in refused.value.message


def test_without_any_keys_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "settings", replace(settings, local_secret=None))
    with pytest.raises(Unavailable):
        keys.keyring(NOW)


def test_while_secrets_manager_is_out_of_reach_a_first_call_is_unavailable(stored: Callable[[str], None]) -> None:
    stored(content("one"))
    with (
        faults.refused("GetSecretValue", "InternalServiceError", status=500, times=10),
        pytest.raises(Unavailable),
    ):
        keys.keyring(NOW)


def test_while_secrets_manager_is_out_of_reach_the_keys_at_hand_go_on_serving(stored: Callable[[str], None]) -> None:
    stored(content("one"))
    keys.keyring(NOW)
    with faults.refused("GetSecretValue", "InternalServiceError", status=500, times=10):
        assert keys.keyring(NOW + 5 * MINUTE).current == "key-one"


def test_what_this_stage_is_to_slack_comes_along_where_it_is_known(said: Callable[[str], None]) -> None:
    said(content("one"))
    assert keys.keyring(NOW).slack is None
    for given, known in (
        ({"slackClientId": "1.2", "slackClientSecret": "hush"}, keys.SlackCredentials("1.2", "hush")),
        ({"slackClientId": "1.2"}, None),
        ({"slackClientSecret": "hush"}, None),
    ):
        said(json.dumps(json.loads(content("one")) | given))
        assert keys.load(NOW).slack == known


def test_nothing_secret_shows_when_a_keyring_is_printed(said: Callable[[str], None]) -> None:
    said(json.dumps({"current": "key-1", "key-1": "hush" * 8, "slackClientId": "1.2", "slackClientSecret": "hush"}))
    assert "hush" not in repr(keys.keyring(NOW))
