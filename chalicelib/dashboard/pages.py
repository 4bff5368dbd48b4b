"""The pages, and the files that they load: what a browser gets, made of `static/`, read when first asked for.

A page is `static/layout.html` around a fragment of `static/pages/`. It has no data in it, so a browser may keep it; its
scripts get everything from the API, as the user who is logged in.

Every address in a page is relative to the page's own, so that pages work behind the stage's name that API Gateway puts
in front (`/dev/dashboard`) as they do under a domain of their own.
"""

import hashlib
from functools import cache
from pathlib import Path
from string import Template
from typing import NamedTuple

STATIC = Path(__file__).parent / "static"

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is served. All of it is text: API Gateway compresses text by itself (`minimum_compression_size` of the stage),
and hands out anything else only to who asks for its type."""

TITLES = {
    "account": "Account",
    "agent": "Agent",
    "agents": "Agents",
    "docs": "API",
    "login": "Log in",
    "missing": "Not found",
    "new": "New task",
    "overview": "Overview",
    "task": "Task",
    "tasks": "Tasks",
    "webhook": "Webhook",
    "webhooks": "Webhooks",
}
"""Every page, by the name of its fragment and of its script."""

OF_ONE = {"agents": "agent", "tasks": "task", "webhooks": "webhook"}
"""`/dashboard/agents/{id}` is the page of one agent; likewise the others."""


class File(NamedTuple):
    text: str
    type: str

    @property
    def etag(self) -> str:
        """A strong validator (RFC 9110, section 8.8.3): it changes with any byte."""
        return f'"{_digest(self.text)}"'


@cache
def version() -> str:
    """Names the whole of `static/`: with any of its files it changes. Part of the address of each, so that a browser
    may keep them for good, and never mixes two versions."""
    files = sorted(path for path in STATIC.iterdir() if path.suffix in TYPES)
    return _digest(*(f"{path.name}\n{path.read_text(encoding='utf-8')}" for path in files))


@cache
def asset(name: str) -> File | None:
    """A script, style or picture; None where there is none of that name."""
    path = STATIC / Path(name).name
    if path.suffix not in TYPES or path.name != name or not path.is_file():
        return None
    return File(path.read_text(encoding="utf-8"), TYPES[path.suffix])


@cache
def page(name: str, up: int, *, session: bool, logins: str) -> File:
    """A page, whose own address is `up` levels below the root of the platform.

    `session`: whether the browser sent one along, good or not; a page that knows of none leads to the login without
    asking the API in vain. `logins`: the ways to log in that the page is to offer or to name, of "slack
    mail pin".
    """
    root = "../" * up
    assets = f"{root}dashboard/static/{version()}"
    frame = Template((STATIC / "layout.html").read_text(encoding="utf-8"))
    fragment = Template((STATIC / "pages" / f"{name}.html").read_text(encoding="utf-8"))
    main = fragment.substitute(root=root)
    html = frame.substitute(
        root=root,
        assets=assets,
        name=name,
        title=TITLES[name],
        logins=logins,
        session="maybe" if session else "none",
        main=main,
    )
    return File(html, "text/html; charset=utf-8")


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:20]
