"""Whom the platform speaks to: AWS, and those named here. Whoever adds one says how its addresses are checked."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SPEAK = {"aiohttp", "ftplib", "http", "httpx", "requests", "slack_sdk", "smtplib", "socket", "ssl", "subprocess",
         "telnetlib", "urllib.request", "urllib3", "websocket", "xmlrpc"}  # fmt: skip
"""Libraries that speak to others than AWS, which boto3 and PynamoDB do."""

ALLOWED = {
    "chalicelib/auth/slack_api.py": "Slack, at the address in a setting",
    "chalicelib/webhooks/http_client.py": "users' webhooks, where chalicelib/webhooks/targets.py allows it",
}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def speaks(module: str) -> bool:
    steps = module.split(".")
    return bool(SPEAK & {".".join(steps[:many]) for many in range(1, len(steps) + 1)})


def test_the_platform_speaks_to_nobody_but_aws_and_those_that_are_named_here() -> None:
    files = [ROOT / "app.py", *sorted((ROOT / "chalicelib").rglob("*.py"))]
    found = {str(path.relative_to(ROOT)) for path in files if any(speaks(module) for module in imports(path))}
    assert found == set(ALLOWED)


def test_a_library_that_speaks_is_known_by_its_parts_too() -> None:
    assert speaks("urllib.request.urlopen")
    assert speaks("slack_sdk.web.WebClient")
    assert not speaks("urllib.parse.urlsplit")
    assert not speaks("chalicelib.http.Call")
