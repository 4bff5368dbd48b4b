"""The layout of the packages: which files a feature may have, and that a name means one thing.

docs/architecture.md describes the layout. import-linter checks the direction of the imports.
"""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

STANDARD = {"entities", "requests", "responses", "routes", "rules", "schemas", "service", "store", "tables"}
"""The modules that any feature may have. They have the same names, and the same purpose, in each."""

USE_CASES = {
    "agents": {"claims", "fleet", "liveness", "registration", "status_events"},
    "auth": {
        "credential_store",
        "guard",
        "id_token",
        "keys",
        "login_store",
        "magic_links",
        "personal_tokens",
        "pin_login",
        "registration_tokens",
        "sessions",
        "slack_accounts",
        "slack_api",
        "slack_login",
        "tokens",
    },
    "dashboard": {"pages"},
    "openapi": {"document", "json_schema"},
    "orchestration": {
        "agent_lifecycle",
        "agent_routes",
        "due_work",
        "event_publisher",
        "gauges",
        "stats",
        "stats_routes",
        "sweep",
        "sweep_backlog",
        "workflow_queue",
    },
    "tasks": {
        "history_store",
        "lifecycle",
        "list_store",
        "log_rules",
        "logs",
        "merging",
        "outbox",
        "partitions",
        "pinning",
        "polling",
        "queue_store",
        "quota_rules",
        "quota_store",
        "quotas",
        "reports",
        "restricted_search",
        "waiting",
        "waiting_rules",
    },
    "webhooks": {"concurrency", "delivery", "fanout", "http_client", "targets"},
}
"""The modules that a feature has besides, each named after one use case or one part of the outside world."""

SHARED = {
    "aws": {"ses", "session", "sqs", "sqs_batch", "tries"},
    "core": {
        "clock",
        "deadline",
        "errors",
        "log",
        "metrics",
        "models",
        "outage",
        "overload",
        "repo_patterns",
        "settings",
        "text",
        "threads",
        "timestamps",
    },
    "dynamodb": {"clauses", "client", "expressions", "marshalling", "operations", "retries"},
    "http": {
        "app",
        "browser",
        "cors",
        "pagination",
        "rate_limits",
        "requests",
        "responses",
        "route_spec",
        "routing",
    },
}
"""The packages below the features."""

TREES = ["chalicelib", "agent/src/devflow", "bench", "infra"]


def modules(directory: Path) -> set[str]:
    return {path.stem for path in directory.glob("*.py")} - {"__init__"}


def test_every_package_of_the_platform_is_a_feature_or_shared() -> None:
    packages = {path.parent.name for path in (ROOT / "chalicelib").glob("*/__init__.py")}
    assert packages == {*USE_CASES, *SHARED}
    assert modules(ROOT / "chalicelib") == {"health"}


@pytest.mark.parametrize("feature", sorted(USE_CASES))
def test_feature_has_only_standard_modules_and_its_use_cases(feature: str) -> None:
    assert modules(ROOT / "chalicelib" / feature) - STANDARD == USE_CASES[feature]


@pytest.mark.parametrize("package", sorted(SHARED))
def test_shared_package_has_the_listed_modules(package: str) -> None:
    assert modules(ROOT / "chalicelib" / package) == SHARED[package]


@pytest.mark.parametrize("tree", TREES)
def test_no_two_modules_of_a_tree_share_a_name(tree: str) -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / tree).rglob("*.py")):
        if path.stem not in {"__init__", "__main__", *STANDARD}:
            found[path.stem].append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("tree", TREES)
def test_no_two_public_types_of_a_tree_share_a_name(tree: str) -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / tree).rglob("*.py")):
        for name in public_types(path):
            found[name].append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def public_types(path: Path) -> list[str]:
    """The public classes and type aliases that a module defines: `class Task` and `Access = Literal[...]`."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    classes = [node.name for node in body if isinstance(node, ast.ClassDef)]
    aliases = [
        target.id
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and len(target.id) > 1 and target.id[0].isupper() and not target.id.isupper()
    ]
    return [name for name in (*classes, *aliases) if not name.startswith("_")]
