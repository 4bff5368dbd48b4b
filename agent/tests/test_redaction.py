"""Redaction of secrets, and removal of terminal sequences."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote, quote_plus, unquote_plus

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


SECRET = "s3cret/word+of=mine"


@pytest.mark.parametrize("before", ["", "x", "me:", "some:user:"])
@pytest.mark.parametrize("after", ["", "y", "yz", "\n"])
def test_secret_in_base64_is_replaced_whatever_surrounds_it(before: str, after: str) -> None:
    add_secret(SECRET)
    plain = f"{before}{SECRET}{after}".encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(plain).decode()
        redacted = redact(f"Authorization: Basic {encoded} end")
        assert "***" in redacted
        assert redacted.startswith("Authorization: Basic ")
        assert redacted.endswith(" end")
        # What is left of the encoded text is too little to tell any character of the secret for certain.
        left = redacted.removeprefix("Authorization: Basic ").removesuffix(" end").partition("***")
        assert len(left[0]) <= len(base64.b64encode(before.encode()).rstrip(b"=")) + 2
        assert len(left[2].rstrip("=")) <= len(base64.b64encode(after.encode()).rstrip(b"=")) + 4


@pytest.mark.parametrize(
    "encoded",
    [
        quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET), quote(SECRET, safe="").lower(),
        json.dumps({"token": SECRET}), SECRET.encode().hex(), SECRET.encode().hex().upper(),
    ],
)  # fmt: skip
def test_encoded_secret_is_replaced(encoded: str) -> None:
    add_secret(SECRET)
    redacted = redact(f"a {encoded} b")
    assert "***" in redacted
    assert SECRET not in unquote_plus(redacted)
    assert len(redacted) < len(SECRET) + 4


def test_secret_with_quotes_is_replaced_in_json() -> None:
    add_secret('pass"word\\and more')
    assert redact(json.dumps(['pass"word\\and more'])) == '["***"]'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ghp_0123@github.com/o/r", "https://***@github.com/o/r"),
        ("http://me:pass@host", "http://***@host"),
        ("https://me:p@ss@host/x", "https://***@host/x"),
        ("ssh://git@github.com/o/r", "ssh://git@github.com/o/r"),
        ("ssh://git:pass@github.com/o/r", "ssh://***@github.com/o/r"),
        ("https://host/a@b and mail@example.com", "https://host/a@b and mail@example.com"),
    ],
)
def test_credentials_in_a_url_are_replaced(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    ("begin", "unit"),
    [("://", ":"), ("://", "a:"), ("", "://"), ("", "://:"), ("", "@"), ("://", "@"), ("", "s3cret/"), ("", "%2F")],
)
def test_redaction_takes_linear_time(begin: str, unit: str) -> None:
    add_secret(SECRET)
    text = begin + unit * (64_000 // len(unit))
    begun = time.process_time()
    redact(text)
    assert time.process_time() - begun < 1, "a regular expression that backtracks takes half a minute"


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
