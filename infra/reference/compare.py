"""Compares the API of a Git revision with that of the working tree: `python -m infra.reference.compare REVISION`.

Prints every path, parameter, field, status and error that was added, removed or changed. Descriptions and the names of
schemas are not compared, since no request or response contains them. The exit status is 1 if anything differs.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.reference.types import Json

ROOT = Path(__file__).parents[2]

_READ_DOCUMENT = """
import json, sys
from app import app
context = {"resourcePath": "/api/openapi.json", "httpMethod": "GET"}
event = {"requestContext": context, "path": "/api/openapi.json", "headers": {}, "multiValueHeaders": {}, "body": None,
         "queryStringParameters": None, "multiValueQueryStringParameters": None, "pathParameters": {},
         "stageVariables": None, "isBase64Encoded": False}
response = app(event, None)
with open(sys.argv[1], "w", encoding="utf-8") as file:
    file.write(response["body"])
"""

_ENVIRONMENT = {
    "DEVFLOW_STAGE": "local",
    "DEVFLOW_LOCAL_SECRET": json.dumps({"current": "key-1", "key-1": "0" * 32}),
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
}
"""Enough for the app to start. It makes no request to AWS."""

_NOT_COMPARED = {"description", "summary", "title"}


def read_document(directory: Path) -> Json:
    """The OpenAPI document of the app in a directory."""
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "openapi.json"
        environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": str(directory)}
        command = [sys.executable, "-c", _READ_DOCUMENT, str(target)]
        subprocess.run(command, cwd=directory, env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        document: Json = json.loads(target.read_text(encoding="utf-8"))
    return document


def read_document_of(revision: str) -> Json:
    """The OpenAPI document of a Git revision, from a temporary worktree."""
    with tempfile.TemporaryDirectory() as temporary:
        worktree = Path(temporary) / "worktree"
        _git("worktree", "add", "--quiet", "--detach", str(worktree), revision)
        try:
            return read_document(worktree)
        finally:
            _git("worktree", "remove", "--force", str(worktree))


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=ROOT, check=True)  # noqa: S603, S607


def differences(before: Json, after: Json) -> list[str]:
    """A line for each difference between the paths of two documents."""
    return list(_differences(_resolved(before, before["paths"]), _resolved(after, after["paths"]), "paths"))


def _resolved(document: Json, value: Any, parents: tuple[str, ...] = ()) -> Any:
    """A value with its references replaced by what they refer to, without the keys that are not compared."""
    if isinstance(value, list):
        return [_resolved(document, each, parents) for each in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if reference is not None and reference in parents:
        return {"recursive": True}
    if reference is not None:
        target: Any = document
        for part in reference.split("/")[1:]:
            target = target[part]
        value = {**target, **{key: each for key, each in value.items() if key != "$ref"}}
        parents = (*parents, reference)
    return {
        key: _resolved(document, each, parents)
        for key, each in value.items()
        # A field may have such a name; then its value is a schema.
        if key not in _NOT_COMPARED or not isinstance(each, str)
    }


def _differences(before: Any, after: Any, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            if key not in before:
                yield f"added: {path}/{key}"
            elif key not in after:
                yield f"removed: {path}/{key}"
            else:
                yield from _differences(before[key], after[key], f"{path}/{key}")
    elif before != after:
        yield f"changed: {path}: {before!r} to {after!r}"


def main(revision: str) -> int:
    """Print the differences; 1 if there are any, else 0."""
    found = differences(read_document_of(revision), read_document(ROOT))
    print("\n".join(found) or f"The API is the same as in {revision}.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "HEAD"))
