"""Removes the parts of the dependencies that no function uses, so that a cold start reads and unpacks less.

botocore describes 449 services in 28 MB. The functions use four of them, and only a few operations of each. Only data
and descriptions are removed, never code that could be imported or called.
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

from infra.deploy.deploy_error import DeployError

_DATA = Path("botocore") / "data"
_CORE_SCHEMA = Path("pydantic_core") / "core_schema.py"
_SERVICE_FILES = ("service-2.json", "endpoint-rule-set-1.json", "paginators-1.json", "waiters-2.json")
_MODEL = "service-2.json.gz"
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_TRUSTED_AUTHORITIES = {
    "Amazon Root CA 1",
    "Amazon Root CA 2",
    "Amazon Root CA 3",
    "Amazon Root CA 4",
    "Starfield Services Root Certificate Authority - G2",
}
"""The certificate authorities of AWS's endpoints: https://www.amazontrust.com/repository/."""


OPERATIONS = {
    "dynamodb": {"BatchGetItem", "GetItem", "Query", "TransactWriteItems", "UpdateItem"},
    "secretsmanager": {"GetSecretValue"},
    "sesv2": {"SendEmail"},
    "sqs": {"GetQueueUrl", "SendMessage"},
}
"""The operations that the functions call, by botocore's names of services. tests/unit/test_trim.py compares them with
the functions' policies."""


def trim(root: Path, services: set[str]) -> None:
    """Remove what functions that use these services do not need from a directory of installed packages.

    Raises DeployError for a service that botocore does not know or that OPERATIONS does not list.
    """
    if unlisted := services - OPERATIONS.keys():
        raise DeployError(
            f"infra/deploy/trim.py does not list the operations of {', '.join(sorted(unlisted))}. Add to OPERATIONS "
            "those that the functions call."
        )
    for pattern in ("*.dist-info", "bin", "boto3/data", "boto3/examples"):
        for path in root.glob(pattern):
            shutil.rmtree(path)
    for pattern in (
        "*.pyi",
        "py.typed",
        "*.c",
        "*.h",
        "dateutil-zoneinfo.tar.gz",
    ):  # the last one has time zones, which Lambda's system has too
        for path in root.rglob(pattern):
            path.unlink()
    if (root / _CORE_SCHEMA).exists():
        _remove_typed_dict_keys(root / _CORE_SCHEMA)
    if (root / _DATA).exists():
        _keep_services(root / _DATA, services)
        _keep_endpoints(root / _DATA / "endpoints.json", services)
        _keep_authorities(root / "botocore" / "cacert.pem")


def _remove_typed_dict_keys(path: Path) -> None:
    """Remove the keys of each TypedDict in a module and keep the class. Every other line keeps its number.

    The keys are for type checkers (PEP 589). But Python compiles their 603 annotations at run time, which takes 47 of
    the 1,147 million instructions of a cold start.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    typed_dicts = {"TypedDict"}
    for node in ast.parse(text).body:
        if not isinstance(node, ast.ClassDef):
            continue
        if typed_dicts & {base.id for base in node.bases if isinstance(base, ast.Name)}:
            typed_dicts.add(node.name)
            for key in [statement for statement in node.body if isinstance(statement, ast.AnnAssign)]:
                first, end = key.lineno - 1, key.end_lineno or key.lineno
                lines[first:end] = [" " * key.col_offset + "pass", *[""] * (end - first - 1)]
    path.write_text("\n".join(lines), encoding="utf-8")


def _keep_services(data: Path, services: set[str]) -> None:
    missing = services - {path.name for path in data.iterdir()}
    if missing:
        raise DeployError(f"botocore has no service {', '.join(sorted(missing))}.")
    for service in [path for path in data.iterdir() if path.is_dir()]:
        versions = sorted(service.iterdir())
        unused = versions[:-1] if service.name in services else [service]  # a client uses the newest version
        for path in unused:
            shutil.rmtree(path)
    for path in [path for path in data.rglob("*") if path.is_file() and path.parent != data]:
        if path.name.removesuffix(".gz") not in _SERVICE_FILES:
            path.unlink()
        elif path.suffix == ".gz":  # the package is compressed anyway; a second compression only costs time
            content = _without_documentation(json.loads(gzip.decompress(path.read_bytes())))
            if path.name == _MODEL:
                content = _keep_operations(content, OPERATIONS[path.relative_to(data).parts[0]])
            path.with_suffix("").write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
            path.unlink()


def _keep_operations(model: Mapping[str, Any], operations: set[str]) -> dict[str, Any]:
    """A service's model, reduced to these operations and the shapes that they use. Raises DeployError for an unknown
    operation."""
    if missing := operations - model["operations"].keys():
        raise DeployError(f"botocore has no operation {', '.join(sorted(missing))}.")
    kept = {name: operation for name, operation in model["operations"].items() if name in operations}
    used: set[str] = set()
    pending = set(_shape_names(kept))
    while pending:
        used |= pending
        pending = {name for shape in pending for name in _shape_names(model["shapes"][shape])} - used
    shapes = {name: shape for name, shape in model["shapes"].items() if name in used}  # in a fixed order
    return {**model, "operations": kept, "shapes": shapes}


def _shape_names(part: Any) -> Iterator[str]:
    """The names of the shapes to which a part of a model refers."""
    if isinstance(part, list):
        for item in part:
            yield from _shape_names(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "shape" and isinstance(value, str):
                yield value
            else:
                yield from _shape_names(value)


def _keep_endpoints(path: Path, services: set[str]) -> None:
    """Keep every region of every partition, but only the endpoints of these services."""
    endpoints: dict[str, Any] = json.loads(path.read_bytes())
    for partition in endpoints["partitions"]:
        partition["services"] = {name: service for name, service in partition["services"].items() if name in services}
    path.write_text(json.dumps(endpoints, separators=(",", ":")), encoding="utf-8")


def _without_documentation(value: Any) -> Any:
    """A service's description without its documentation."""
    if isinstance(value, dict):
        return {
            name: _without_documentation(part)
            for name, part in value.items()
            if not (name == "documentation" and isinstance(part, str))
        }
    return [_without_documentation(part) for part in value] if isinstance(value, list) else value


def _keep_authorities(path: Path) -> None:
    """Reduce botocore's list of 130 certificate authorities to those of AWS, because each client reads the list.

    Only botocore uses this file. Connections to other hosts use the system's list.
    """
    kept = [
        certificate
        for certificate in _CERTIFICATE.findall(path.read_text(encoding="utf-8"))
        if _is_trusted(certificate)
    ]
    if len(kept) != len(_TRUSTED_AUTHORITIES):
        raise DeployError(
            f"botocore's list has {len(kept)} of the {len(_TRUSTED_AUTHORITIES)} certificate authorities of AWS. "
            "Compare it with _TRUSTED_AUTHORITIES in infra/deploy/trim.py."
        )
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")


def _is_trusted(certificate: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certificate)
    description: Any = context.get_ca_certs()[0]
    names = {name: value for part in description["subject"] for name, value in part}
    return names.get("commonName") in _TRUSTED_AUTHORITIES
