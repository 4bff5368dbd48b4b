"""Removes secrets from text.

A program may print its environment, and an error may quote a URL. Such secrets must not get into a log, a report or a
message. Code that reads a secret registers it with `add_secret`. Text that leaves the process passes through `redact`.

A secret is found as it is, in base64 (also as a part of what was encoded, such as `user:secret`), URL-encoded, in hex
and in JSON. The time that this takes grows linearly with the text. A program that wants to hide a secret can always
encode it in another way: redaction prevents accidents, and the sandbox keeps secrets away from programs.
"""

import base64
import json
import os
import re
import threading
from urllib.parse import quote, quote_plus

REPLACEMENT = "***"
_MIN_LENGTH = 8
"""Characters. A shorter secret would also match ordinary words."""
_SECRET_VARIABLE = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|PRIVATE_KEY|CREDENTIAL", re.IGNORECASE)
_URL_CREDENTIALS = re.compile(r"([A-Za-z0-9+.-]{0,12})://([^\s/]*)@")
_PLAIN_USER = re.compile(r"[A-Za-z0-9._-]*")

_lock = threading.Lock()
_secrets: set[str] = set()
"""All forms of all secrets."""


def add_secret(secret: str | None) -> None:
    """Register a secret. Each line of it becomes a secret, because output is checked line by line."""
    forms = {
        form
        for line in (secret or "").splitlines()
        if len(line.strip()) >= _MIN_LENGTH
        for form in _forms(line.strip())
    }
    with _lock:
        _secrets.update(forms)


def is_secret_name(name: str) -> bool:
    """Whether an environment variable of this name contains a secret, like `GITHUB_TOKEN`."""
    return _SECRET_VARIABLE.search(name) is not None


def add_environment_secrets() -> None:
    """Register the value of each environment variable with a name like `GITHUB_TOKEN`."""
    for name, value in os.environ.items():
        if is_secret_name(name):
            add_secret(value)


def longest_secret() -> int:
    """Return the length of the longest form of a secret: how much of a text must be seen at once to find it."""
    with _lock:
        return max(map(len, _secrets), default=0)


def redact(text: str) -> str:
    """Replace each registered secret, and the user and password in each URL, with `***`."""
    with _lock:
        secrets = sorted(_secrets, key=len, reverse=True)
    for secret in secrets:
        text = text.replace(secret, REPLACEMENT)
    return _URL_CREDENTIALS.sub(_hide_credentials, text) if "://" in text else text


def _hide_credentials(match: re.Match[str]) -> str:
    """Hide what is before the `@` of a URL: a token of http may be the user. Other schemes have users like `git`."""
    scheme, user = match.groups()
    if not scheme.lower().startswith("http") and _PLAIN_USER.fullmatch(user):
        return match[0]
    return f"{scheme}://{REPLACEMENT}@" if user else match[0]


def _forms(secret: str) -> set[str]:
    content = secret.encode("utf-8", "surrogateescape")
    encoded = {quote(content, safe=""), quote(content), quote_plus(content)}
    forms = {secret, json.dumps(secret)[1:-1], content.hex(), content.hex().upper(), *encoded}
    forms |= {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in encoded}
    for offset in range(3):
        # A character of base64 has six bits. Those that are made of the secret's bits alone are the same wherever the
        # secret is in the encoded text, apart from the offset.
        text = base64.b64encode(b"\0" * offset + content).decode().rstrip("=")
        first = -(-offset * 8 // 6)
        last = (offset + len(content)) * 8 // 6
        forms |= {text[first:last], text[first:last].replace("+", "-").replace("/", "_")}
    return forms
