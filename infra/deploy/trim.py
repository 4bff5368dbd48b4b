"""What of the dependencies goes to Lambda: less to unpack, and less to read at each start.

botocore knows 449 services in 28 MB; a function that talks to four of them reads and unpacks four, and of each what it
asks for. What goes is data and descriptions, never code that something might import or call.
"""

import ast
import gzip
import json
import re
import shutil
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.deploy.problems import Problem

_DATA = Path("botocore") / "data"
_SCHEMAS = Path("pydantic_core") / "core_schema.py"
_SERVICE_FILES = ("service-2.json", "endpoint-rule-set-1.json", "paginators-1.json", "waiters-2.json")
_MODEL = "service-2.json.gz"
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_TRUSTED = {
    "Amazon Root CA 1",
    "Amazon Root CA 2",
    "Amazon Root CA 3",
    "Amazon Root CA 4",
    "Starfield Services Root Certificate Authority - G2",
}
"""Whom every endpoint of AWS is vouched for by, https://www.amazontrust.com/repository/."""


OPERATIONS = {
    "dynamodb": {"BatchGetItem", "GetItem", "Query", "TransactWriteItems", "UpdateItem"},
    "secretsmanager": {"GetSecretValue"},
    "sesv2": {"SendEmail"},
    "sqs": {"GetQueueUrl", "SendMessage"},
}
"""What functions ask for, by botocore's names; `tests/unit/test_trim.py` compares it with what they may ask for."""


def trim(root: Path, services: set[str]) -> None:
    """Remove from a directory of installed packages what functions that use these services do not need.

    Raises Problem for a service that botocore does not know, or of which OPERATIONS says nothing.
    """
    if unsaid := services - OPERATIONS.keys():
        raise Problem(f"infra/deploy/trim.py does not say what is asked of {', '.join(sorted(unsaid))}.")
    for pattern in ("*.dist-info", "bin", "boto3/data", "boto3/examples"):
        for path in root.glob(pattern):
            shutil.rmtree(path)
    for pattern in (
        "*.pyi",
        "py.typed",
        "*.c",
        "*.h",
        "dateutil-zoneinfo.tar.gz",
    ):  # the time zones: the system has them
        for path in root.rglob(pattern):
            path.unlink()
    if (root / _SCHEMAS).exists():
        _keep_names(root / _SCHEMAS)
    if (root / _DATA).exists():
        _keep_services(root / _DATA, services)
        _keep_endpoints(root / _DATA / "endpoints.json", services)
        _keep_authorities(root / "botocore" / "cacert.pem")


def _keep_names(path: Path) -> None:
    """Of each TypedDict in a module its name alone: what its keys hold is for type checkers to read (PEP 589). Python
    reads it as well, and compiles 603 texts, which is 47 of the 1,147 million instructions of a cold start. Every line
    stays where it is."""
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    typed = {"TypedDict"}
    for part in ast.parse(text).body:
        if isinstance(part, ast.ClassDef) and typed & {base.id for base in part.bases if isinstance(base, ast.Name)}:
            typed.add(part.name)
            for key in [key for key in part.body if isinstance(key, ast.AnnAssign)]:
                first, end = key.lineno - 1, key.end_lineno or key.lineno
                lines[first:end] = [" " * key.col_offset + "pass", *[""] * (end - first - 1)]
    path.write_text("\n".join(lines), encoding="utf-8")


def _keep_services(data: Path, services: set[str]) -> None:
    missing = services - {path.name for path in data.iterdir()}
    if missing:
        raise Problem(f"botocore knows no service {', '.join(sorted(missing))}.")
    for service in [path for path in data.iterdir() if path.is_dir()]:
        versions = sorted(service.iterdir())
        unused = versions[:-1] if service.name in services else [service]  # the newest is what a client gets
        for path in unused:
            shutil.rmtree(path)
    for path in [path for path in data.rglob("*") if path.is_file() and path.parent != data]:
        if path.name.removesuffix(".gz") not in _SERVICE_FILES:
            path.unlink()
        elif path.suffix == ".gz":  # once more within the zip it would only cost time
            said = _undocumented(json.loads(gzip.decompress(path.read_bytes())))
            if path.name == _MODEL:
                said = _asked_for(said, OPERATIONS[path.relative_to(data).parts[0]])
            path.with_suffix("").write_text(json.dumps(said, separators=(",", ":")), encoding="utf-8")
            path.unlink()


def _asked_for(model: Mapping[str, Any], operations: set[str]) -> dict[str, Any]:
    """Of a service's model these operations, and the shapes that they lead to. Raises Problem for one it has not."""
    if missing := operations - model["operations"].keys():
        raise Problem(f"botocore knows no {', '.join(sorted(missing))}.")
    kept = {name: each for name, each in model["operations"].items() if name in operations}
    reached: set[str] = set()
    wanted = set(_named(kept))
    while wanted:
        reached |= wanted
        wanted = {name for each in wanted for name in _named(model["shapes"][each])} - reached
    shapes = {name: shape for name, shape in model["shapes"].items() if name in reached}  # in their order, always
    return {**model, "operations": kept, "shapes": shapes}


def _named(part: Any) -> Iterator[str]:
    """The shapes that a part of a model names."""
    if isinstance(part, list):
        for each in part:
            yield from _named(each)
    elif isinstance(part, dict):
        for name, each in part.items():
            if name == "shape" and isinstance(each, str):
                yield each
            else:
                yield from _named(each)


def _keep_endpoints(path: Path, services: set[str]) -> None:
    """Every region of every partition, with the endpoints of these services."""
    known: dict[str, Any] = json.loads(path.read_bytes())
    for partition in known["partitions"]:
        partition["services"] = {name: service for name, service in partition["services"].items() if name in services}
    path.write_text(json.dumps(known, separators=(",", ":")), encoding="utf-8")


def _undocumented(value: Any) -> Any:
    """A service's description without what is for people to read."""
    if isinstance(value, dict):
        return {
            name: _undocumented(part)
            for name, part in value.items()
            if not (name == "documentation" and isinstance(part, str))
        }
    return [_undocumented(part) for part in value] if isinstance(value, list) else value


def _keep_authorities(path: Path) -> None:
    """Of botocore's own list of authorities those that AWS's endpoints have: reading all 130 takes its time with each
    client. Only botocore reads this file; whoever connects elsewhere has the system's list."""
    kept = [
        certificate
        for certificate in _CERTIFICATE.findall(path.read_text(encoding="utf-8"))
        if _is_trusted(certificate)
    ]
    if len(kept) != len(_TRUSTED):
        raise Problem(f"botocore's list of authorities has {len(kept)} of the {len(_TRUSTED)} that AWS uses.")
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")


def _is_trusted(certificate: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certificate)
    described: Any = context.get_ca_certs()[0]
    names = {name: value for part in described["subject"] for name, value in part}
    return names.get("commonName") in _TRUSTED
