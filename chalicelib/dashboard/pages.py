"""The pages of the dashboard, and the files that they load, made of `static/`.

A page is `static/layout.html` around a fragment of `static/pages/`. It contains no data, so a browser may store it; its
scripts read all data from the API, as the user who is logged in.

Every address in a page is relative to the page's own. So pages work behind the name of a stage, which API Gateway puts
in front (`/dev/dashboard`), and under a custom domain.

Files are read when they are first requested.
"""

import hashlib
import re
from functools import cache
from pathlib import Path
from string import Template
from typing import NamedTuple

STATIC = Path(__file__).parent / "static"

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The files that are served, by suffix. All are text: API Gateway compresses text (`minimum_compression_size` of the
stage), and returns other types only to clients that name them in `Accept`."""

TITLES = {
    "account": "Account",
    "agent": "Agent",
    "agents": "Agents",
    "docs": "API",
    "link": "Log in",
    "login": "Log in",
    "missing": "Not found",
    "new": "New task",
    "overview": "Overview",
    "task": "Task",
    "tasks": "Tasks",
    "webhook": "Webhook",
    "webhooks": "Webhooks",
}
"""The title of every page, by the name of its fragment and of its script."""

ITEM_PAGES = {"agents": "agent", "tasks": "task", "webhooks": "webhook"}
"""`/dashboard/agents/{id}` is the page of one agent; likewise for tasks and webhooks."""

_IMPORT = re.compile(r'^import\b[^;"]*"\./([^"]+)";', re.MULTILINE)


class File(NamedTuple):
    text: str
    type: str

    @property
    def etag(self) -> str:
        """A strong validator (RFC 9110, section 8.8.3): it changes with every byte."""
        return f'"{_digest(self.text)}"'


@cache
def version() -> str:
    """The version of all files of `static/`: it changes when one of them does. It is part of their addresses, so that a
    browser can store them forever and never combines two versions."""
    files = sorted(path for path in STATIC.iterdir() if path.suffix in CONTENT_TYPES)
    return _digest(*(f"{path.name}\n{path.read_text(encoding='utf-8')}" for path in files))


@cache
def asset(name: str) -> File | None:
    """A script, stylesheet or picture; None if there is no such file."""
    path = STATIC / Path(name).name
    if path.suffix not in CONTENT_TYPES or path.name != name or not path.is_file():
        return None
    return File(path.read_text(encoding="utf-8"), CONTENT_TYPES[path.suffix])


@cache
def page(name: str, up: int, *, session: bool, logins: str) -> File:
    """A page, whose own address is `up` levels below the root of the platform.

    `session`: whether the browser sent a session cookie, valid or not. Without one, a page leads to the login page
    before it calls the API. `logins`: the login methods that the page offers or names, of "slack mail pin".
    """
    root = "../" * up
    assets = f"{root}dashboard/static/{version()}"
    layout = Template((STATIC / "layout.html").read_text(encoding="utf-8"))
    fragment = Template((STATIC / "pages" / f"{name}.html").read_text(encoding="utf-8"))
    html = layout.substitute(
        root=root,
        assets=assets,
        preloads="\n".join(f'<link rel="modulepreload" href="{assets}/{module}">' for module in imported_by(name)),
        name=name,
        title=TITLES[name],
        logins=logins,
        session="maybe" if session else "none",
        main=fragment.substitute(root=root),
    )
    return File(html, "text/html; charset=utf-8")


@cache
def imported_by(name: str) -> tuple[str, ...]:
    """The modules that a page's script imports, directly or not. A page names them all, so that a browser requests them
    at once instead of one level of imports after the other."""
    found: set[str] = set()
    unread = [f"{name}.js"]
    while unread:
        imports = set(_IMPORT.findall((STATIC / unread.pop()).read_text(encoding="utf-8")))
        unread += imports - found
        found |= imports
    return tuple(sorted(found))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:20]
