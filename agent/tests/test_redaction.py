"""Redaction of secrets, and removal of terminal sequences."""

from __future__ import annotations

import pytest

from devflow.redaction import add_environment_secrets, add_secret, redact
from devflow.terminal import strip_controls, to_one_line


def test_secret_is_replaced_everywhere() -> None:
    add_secret("secret-token-1")
    add_secret("secret-token-1-and-more")

    assert redact("a secret-token-1-and-more, secret-token-1!") == "a ***, ***!"


def test_each_line_is_a_secret_and_short_lines_are_not() -> None:
    add_secret("-----BEGIN-----\nfirst-line-of-it\n}\n")
    add_secret(None)
    add_secret("short")

    assert redact("first-line-of-it } short") == "*** } short"


def test_tokens_in_the_environment_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_0123456789")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")
    monkeypatch.setenv("EDITOR", "an-editor-of-mine")
    add_environment_secrets()

    assert redact("ghp_0123456789 sk-ant-0123456789 an-editor-of-mine") == "*** *** an-editor-of-mine"


def test_password_in_a_url_is_replaced_without_registration() -> None:
    assert redact("https://user:pass@github.com/o/r and https://github.com/o/r") == (
        "https://***@github.com/o/r and https://github.com/o/r"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link", "link"),
        ("a\rb\x08c\x9b1Ad", "abc1Ad"),
        ("line\r\nnext\ttab", "line\nnext\ttab"),
        ("\u202egnp.exe", "gnp.exe"),
    ],
)
def test_terminal_sequences_and_control_characters_are_removed(text: str, expected: str) -> None:
    assert strip_controls(text) == expected


def test_text_is_joined_and_shortened_to_one_line() -> None:
    assert to_one_line("a\n b\t c", 80) == "a b c"
    assert to_one_line("abcdef", 4) == "abc…"
