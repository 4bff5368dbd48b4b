"""The dashboard's pages and the files that they load: static, small, and from the platform only."""

import gzip
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

from chalicelib.auth import keys
from chalicelib.core import clock
from chalicelib.core.settings import settings
from chalicelib.dashboard import pages, routes
from chalicelib.http import browser
from infra.local.gateway import Gateway, Response
from tests.support.client import Client

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "chalicelib" / "dashboard" / "static"
SCRIPTS = sorted(STATIC.glob("*.js"))

PAGES = {
    "/dashboard": "overview",
    "/dashboard/": "overview",
    "/dashboard/account": "account",
    "/dashboard/agents": "agents",
    "/dashboard/agents/agent-1": "agent",
    "/dashboard/login": "login",
    "/dashboard/new": "new",
    "/dashboard/tasks": "tasks",
    "/dashboard/tasks/": "tasks",
    "/dashboard/tasks/task-1": "task",
    "/dashboard/tasks/%22%3E%3Cscript%3E": "task",
    "/dashboard/webhooks": "webhooks",
    "/dashboard/webhooks/w-1": "webhook",
    "/docs": "docs",
    "/docs/": "docs",
    "/login/link": "link",
    "/login/link/": "link",
}
UNKNOWN_PAGES = ("/dashboard/nothing", "/dashboard/overview", "/dashboard/new/1", "/dashboard/static", "/dashboard/a/b")

every_page = pytest.mark.parametrize("path", PAGES)

_IMPORT = re.compile(r'^import\b[^;"]*"([^"]+)";', re.MULTILINE)
_REFERENCE = re.compile(r'\b(?:href|src|action)="([^"]*)"')


def loaded(gateway: Gateway, path: str) -> dict[str, Response]:
    """A page and every file that a browser loads for it, by address. Asserts that all of them exist."""
    client = Client(gateway)
    found = {path: client.get(path)}
    html = found[path].body.decode()
    waiting = [urljoin(path, href) for href in re.findall(r'<(?:link|script|img)[^>]*\b(?:href|src)="([^"]*)"', html)]
    while waiting:
        address = waiting.pop()
        if address in found:
            continue
        found[address] = client.get(address)
        assert found[address].status == 200, address
        if address.endswith(".js"):
            waiting += [urljoin(address, name) for name in _IMPORT.findall(found[address].body.decode())]
    return found


@every_page
def test_page_is_public_and_contains_no_data(gateway: Gateway, user: Client, path: str) -> None:
    answer = Client(gateway).get(path)
    assert answer.status == 200
    assert answer.header("Content-Type") == "text/html; charset=utf-8"
    assert f'data-page="{PAGES[path]}"' in answer.body.decode()
    assert user.get(path).body == answer.body


@every_page
def test_policy_allows_the_platforms_own_files_only(anonymous: Client, path: str) -> None:
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in (anonymous.get(path).header("Content-Security-Policy") or "").split(";")
    )
    assert policy["default-src"] == "'none'"
    assert (policy["script-src"], policy["style-src"], policy["connect-src"]) == ("'self'", "'self'", "'self'")
    assert (policy["base-uri"], policy["frame-ancestors"]) == ("'none'", "'none'")
    assert (policy["require-trusted-types-for"], policy["trusted-types"]) == ("'script'", "'none'")
    assert "unsafe" not in str(policy)


@every_page
@pytest.mark.parametrize("stage", ["", "/dev"])
def test_addresses_in_a_page_work_behind_a_stage_name(
    gateway: Gateway, anonymous: Client, path: str, stage: str
) -> None:
    found = _REFERENCE.findall(anonymous.get(path).body.decode())
    assert found
    for reference in found:
        if reference.startswith("#"):
            continue
        assert not urlsplit(reference).scheme
        assert not reference.startswith("/")
        address = urljoin(f"https://x.example{stage}{path}", reference).removeprefix("https://x.example")
        assert address.startswith(f"{stage}/"), (reference, address)
        there = gateway.match("GET", address.removeprefix(stage)).resource
        assert there in gateway._app.routes or there.startswith("/api/auth/"), address


@every_page
def test_first_load_of_a_page_is_less_than_60_kb_compressed(gateway: Gateway, path: str) -> None:
    weights = {address: len(gzip.compress(answer.body)) for address, answer in loaded(gateway, path).items()}
    assert sum(weights.values()) < 60_000, weights


def test_stored_page_is_answered_with_304(anonymous: Client) -> None:
    first = anonymous.get("/dashboard/tasks")
    etag = first.header("ETag") or ""
    assert re.fullmatch(r'"[0-9a-f]{20}"', etag)
    assert first.header("Cache-Control") == "private, no-cache"
    for known in (etag, f'"other", {etag}', f"W/{etag}"):
        again = anonymous.get("/dashboard/tasks", If_None_Match=known)
        assert (again.status, again.body, again.header("ETag")) == (304, b"", etag)
        assert again.header("Content-Security-Policy") == first.header("Content-Security-Policy")
    assert anonymous.get("/dashboard/tasks", If_None_Match='"other"').status == 200
    assert anonymous.get("/dashboard/agents", If_None_Match=etag).status == 200


def test_page_states_whether_a_session_cookie_was_sent(anonymous: Client) -> None:
    without = anonymous.get("/dashboard")
    token = anonymous.get("/dashboard", Cookie=browser.cookie_header("devflow-session", "x.y.z", 9).partition(";")[0])
    assert b'data-session="none"' in without.body
    assert token.body == without.body.replace(b'data-session="none"', b'data-session="maybe"')
    assert token.header("Vary") == "Cookie"
    assert token.header("ETag") != without.header("ETag")


def test_files_are_immutable_under_their_versioned_address(anonymous: Client) -> None:
    version = pages.version()
    current = anonymous.get(f"/dashboard/static/{version}/style.css")
    old = anonymous.get("/dashboard/static/0123456789/style.css")
    assert current.header("Cache-Control") == "public, max-age=31536000, immutable"
    assert (old.status, old.body, old.header("Cache-Control")) == (200, current.body, "no-cache")
    again = anonymous.get(f"/dashboard/static/{version}/style.css", If_None_Match=current.header("ETag") or "")
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("style.css", "text/css; charset=utf-8"),
        ("overview.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_file_has_its_content_type(anonymous: Client, name: str, kind: str) -> None:
    assert anonymous.get(f"/dashboard/static/x/{name}").header("Content-Type") == kind


@pytest.mark.parametrize(
    "name",
    ["nothing.js", "layout.html", "pages", "..", ".", "..%2Fpages.py", "pages%2Flogin.html", "..%2F..%2F..%2Fapp.py",
     "%2Fetc%2Fpasswd", "style.css%00", "STYLE.CSS"],
)  # fmt: skip
def test_other_files_are_not_served(anonymous: Client, name: str) -> None:
    answer = anonymous.get(f"/dashboard/static/x/{name}")
    assert (answer.status, answer.json()["error"]) == (404, "Not found")


@pytest.mark.parametrize("path", UNKNOWN_PAGES)
def test_unknown_page_is_a_404_in_html_or_json(anonymous: Client, path: str) -> None:
    program, person = anonymous.get(path), anonymous.get(path, Accept="text/html,application/xhtml+xml")
    assert (program.status, program.json()["error"]) == (404, "Not found")
    assert (person.status, person.header("Content-Type")) == (404, "text/html; charset=utf-8")
    assert "This page does not exist" in person.body.decode()
    assert person.header("Content-Security-Policy") == anonymous.get("/dashboard").header("Content-Security-Policy")


def test_login_page_offers_the_stages_login_methods(anonymous: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def offered() -> str:
        found = re.search(r'data-logins="([^"]*)"', anonymous.get("/dashboard/login").body.decode())
        assert found
        return found[1]

    assert offered() == "mail pin"
    without = replace(settings, mail_from=None, pin_login=False)
    monkeypatch.setattr(routes, "settings", without)
    assert offered() == ""
    ring = keys.keyring(clock.now())._replace(slack=keys.SlackCredentials("id", "secret"))
    monkeypatch.setattr(keys, "_cached", ring)
    assert offered() == "slack"


@pytest.mark.parametrize(
    "html", [STATIC / "layout.html", *sorted(STATIC.glob("pages/*.html"))], ids=lambda path: path.name
)
def test_no_page_has_inline_scripts_or_styles(html: Path) -> None:
    text = html.read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\bsrc=)", text, re.IGNORECASE)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_makes_html_of_a_string_or_loads_other_hosts(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    for forbidden in (
        "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "createContextualFragment", "DOMParser",
        "eval(", "new Function", "srcdoc", "import(", "localStorage",
    ):  # fmt: skip
        assert forbidden not in text
    assert all(re.fullmatch(r"\./[\w-]+\.js", name) for name in _IMPORT.findall(text))
    addresses = set(re.findall(r"https?://[\w.-]+", text))
    assert addresses <= {"https://github.com", "https://example.com"}, "examples, which are never requested"


def test_every_page_has_a_script_and_every_script_is_used() -> None:
    names = {script.stem for script in SCRIPTS}
    assert set(pages.TITLES) <= names
    assert set(pages.TITLES) == {html.stem for html in STATIC.glob("pages/*.html")}
    imported = {Path(name).stem for script in SCRIPTS for name in _IMPORT.findall(script.read_text(encoding="utf-8"))}
    assert names - set(pages.TITLES) == imported, "a module that nothing imports, or an import that does not exist"


AFTER_A_HEARTBEAT = """
import json, os, sys
opened = []
sys.addaudithook(lambda name, given: opened.append(str(given[0])) if name == "open" else None)
from tests.support import environment
environment.prepare()
if {without}:
    import types
    from chalice.app import Blueprint
    empty = types.ModuleType("chalicelib.dashboard.routes")
    empty.blueprint = Blueprint("empty")
    sys.modules["chalicelib.dashboard.routes"] = empty
from app import app
from infra.local.gateway import Gateway
assert Gateway(app).call("POST", "/api/agents/a/heartbeat").status == 401
print(json.dumps({{"modules": sorted(sys.modules), "opened": opened}}))
"""


def _after_a_heartbeat(*, without: bool) -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", AFTER_A_HEARTBEAT.format(without=without)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return loaded


def test_agent_request_loads_only_the_dashboards_routes() -> None:
    usual, without = _after_a_heartbeat(without=False), _after_a_heartbeat(without=True)
    more = set(usual["modules"]) - set(without["modules"])
    assert more == {"chalicelib.dashboard", "chalicelib.dashboard.pages"}
    assert not [path for path in usual["opened"] if "static" in path]


@every_page
def test_page_preloads_exactly_the_modules_that_it_imports(gateway: Gateway, path: str) -> None:
    files = loaded(gateway, path)
    html = files[path].body.decode()
    preloaded = [urljoin(path, href) for href in re.findall('<link rel="modulepreload" href="([^"]*)"', html)]
    (script,) = [urljoin(path, source) for source in re.findall('<script[^>]* src="([^"]*)"', html)]
    assert sorted([*preloaded, script]) == sorted(address for address in files if address.endswith(".js"))


def test_form_submitted_before_its_script_loads_does_nothing() -> None:
    """`method="dialog"` does nothing outside of a dialog (HTML, "form submission algorithm")."""
    forms = [form for page in (STATIC / "pages").glob("*.html") for form in re.findall("<form[^>]*>", page.read_text())]
    assert forms
    assert [form for form in forms if 'method="dialog"' not in form] == []
