"""Secrets that this process has seen, and texts without them.

A secret that somebody prints (a program that dumps its environment, an error that quotes an address) must not get into
a log, a report or a message. Whoever comes to know one says so with `hide`; whatever leaves goes through `redacted`.
"""

import os
import re
import threading

REPLACEMENT = "***"
_MIN_LENGTH = 8
"""Characters. What is shorter would be found in ordinary words."""
_SECRET_VARIABLE = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|PRIVATE_KEY|CREDENTIAL", re.IGNORECASE)
_URL_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]*:[^\s/@]+(?=@)")

_lock = threading.Lock()
_secrets: set[str] = set()


def add_secret(secret: str | None) -> None:
    """From now on this text is a secret. Each line of it, too: what is printed is looked at line by line."""
    with _lock:
        for part in (secret or "").splitlines():
            if len(part.strip()) >= _MIN_LENGTH:
                _secrets.add(part.strip())


def add_environment_secrets() -> None:
    """Take what the environment has under a name like `GITHUB_TOKEN` for secrets."""
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name):
            add_secret(value)


def redact(text: str) -> str:
    """The text with `***` for each secret, and for a user and password in an address."""
    with _lock:
        secrets = sorted(_secrets, key=len, reverse=True)
    for secret in secrets:
        text = text.replace(secret, REPLACEMENT)
    return _URL_CREDENTIALS.sub(REPLACEMENT, text)
