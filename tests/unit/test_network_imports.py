"""The platform connects only to AWS and to the hosts below.

A new entry must state how the addresses are checked.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
NETWORK_LIBRARIES = {
    "aiohttp", "ftplib", "http", "httpx", "requests", "slack_sdk", "smtplib", "socket", "ssl", "subprocess",
    "telnetlib", "urllib.request", "urllib3", "websocket", "xmlrpc",
}  # fmt: skip
"""Libraries that connect to hosts other than AWS. boto3 and PynamoDB connect to AWS."""

ALLOWED = {
    "chalicelib/auth/slack_api.py": "Slack, at the URL in a setting",
    "chalicelib/webhooks/http_client.py": "webhook endpoints that chalicelib/webhooks/targets.py allows",
}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at any place."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def uses_network(module: str) -> bool:
    """Whether a module is one of the libraries, or a part of one."""
    parts = module.split(".")
    return bool(NETWORK_LIBRARIES & {".".join(parts[:length]) for length in range(1, len(parts) + 1)})


def test_only_allowed_modules_import_network_libraries() -> None:
    files = [ROOT / "app.py", *sorted((ROOT / "chalicelib").rglob("*.py"))]
    found = {str(path.relative_to(ROOT)) for path in files if any(uses_network(module) for module in imports(path))}
    assert found == set(ALLOWED)


def test_parts_of_network_libraries_are_recognized() -> None:
    assert uses_network("urllib.request.urlopen")
    assert uses_network("slack_sdk.web.WebClient")
    assert not uses_network("urllib.parse.urlsplit")
    assert not uses_network("chalicelib.http.Request")
