"""Removes secrets from text.

A program may print its environment, and an error may quote a URL. Such secrets must not get into a log, a report or a
message. Code that reads a secret registers it with `add_secret`. Text that leaves the process passes through `redact`.
"""

import os
import re
import threading

REPLACEMENT = "***"
_MIN_LENGTH = 8
"""Characters. A shorter secret would also match ordinary words."""
_SECRET_VARIABLE = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|PRIVATE_KEY|CREDENTIAL", re.IGNORECASE)
_URL_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]*:[^\s/@]+(?=@)")

_lock = threading.Lock()
_secrets: set[str] = set()


def add_secret(secret: str | None) -> None:
    """Register a secret. Each line of it becomes a secret, because output is checked line by line."""
    with _lock:
        for part in (secret or "").splitlines():
            if len(part.strip()) >= _MIN_LENGTH:
                _secrets.add(part.strip())


def is_secret_name(name: str) -> bool:
    """Whether an environment variable of this name contains a secret, like `GITHUB_TOKEN`."""
    return _SECRET_VARIABLE.search(name) is not None


def add_environment_secrets() -> None:
    """Register the value of each environment variable with a name like `GITHUB_TOKEN`."""
    for name, value in os.environ.items():
        if is_secret_name(name):
            add_secret(value)


def redact(text: str) -> str:
    """Replace each registered secret, and the user and password in each URL, with `***`."""
    with _lock:
        secrets = sorted(_secrets, key=len, reverse=True)
    for secret in secrets:
        text = text.replace(secret, REPLACEMENT)
    return _URL_CREDENTIALS.sub(REPLACEMENT, text)
