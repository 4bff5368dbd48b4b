"""app.py is part of the deployed package, so it must not import the code that deploys it.

import-linter checks chalicelib. It cannot check app.py, because it reads packages and not single files.
"""

import ast
from collections.abc import Iterator

from infra.deploy.stage import PROJECT

NOT_DEPLOYED = {"agent", "bench", "devflow", "examples", "infra", "tests"}


def imported_modules(source: str) -> Iterator[str]:
    """Every module that an import statement names, anywhere in the source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_app_imports_only_what_is_deployed() -> None:
    source = (PROJECT / "app.py").read_text(encoding="utf-8")
    assert {module.partition(".")[0] for module in imported_modules(source)} & NOT_DEPLOYED == set()
