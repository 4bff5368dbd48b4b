"""infra/deploy/trim.py: the package has exactly the parts of botocore that the functions use."""

import ast
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.loaders import Loader
from botocore.session import Session
from pydantic_core import core_schema as whole_core_schema

from infra.deploy import trim
from infra.deploy.deploy_error import DeployError
from infra.deploy.package import named_services
from infra.deploy.stage import PROJECT
from tests.support.iam import CHALICE

DATA = Path(botocore.__file__).parent / "data"
WHOLE_CORE_SCHEMA = Path(whole_core_schema.__file__)
PREFIXES = {"dynamodb": "dynamodb", "secretsmanager": "secretsmanager", "ses": "sesv2", "sqs": "sqs"}
"""The names of services in botocore, by their names in IAM actions."""

BY_TRANSACTION = {"PutItem", "DeleteItem", "ConditionCheckItem"}
"""The IAM actions for the parts of a TransactWriteItems, which has no action of its own."""

BY_LAMBDA = {"ReceiveMessage", "DeleteMessage", "GetQueueAttributes"}
"""The actions that Lambda itself takes with a function's role, before and after it invokes the function."""


def test_kept_operations_are_those_of_the_policies() -> None:
    allowed: dict[str, set[str]] = {}
    for policy in CHALICE.glob("policy-*.json"):
        for statement in json.loads(policy.read_text(encoding="utf-8"))["Statement"]:
            for action in statement["Action"]:
                prefix, _, name = action.partition(":")
                if prefix != "logs" and name not in BY_TRANSACTION | BY_LAMBDA:
                    allowed.setdefault(PREFIXES[prefix], set()).add(name)
    allowed["dynamodb"].add("TransactWriteItems")
    assert allowed == trim.OPERATIONS
    assert trim.OPERATIONS.keys() == named_services(PROJECT)


@pytest.fixture
def whole() -> dict[str, Any]:
    """botocore's complete model of DynamoDB."""
    found: dict[str, Any] = Loader([str(DATA)]).load_service_model("dynamodb", "service-2")
    return found


def test_operation_keeps_all_shapes_that_it_uses(whole: dict[str, Any], tmp_path: Path) -> None:
    trimmed = trim._keep_operations(whole, {"TransactWriteItems"})
    assert list(trimmed["operations"]) == ["TransactWriteItems"]
    assert len(trimmed["shapes"]) < len(whole["shapes"]) / 2
    assert {"AttributeValue", "TransactionCanceledException", "CancellationReason"} <= trimmed["shapes"].keys()
    assert all(trimmed["shapes"][name] == whole["shapes"][name] for name in trimmed["shapes"])
    path = tmp_path / "dynamodb" / "2012-08-10" / "service-2.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(trimmed), encoding="utf-8")
    session = Session()
    session.get_component("data_loader").search_paths.insert(0, str(tmp_path))
    read = session.get_service_model("dynamodb").operation_model("TransactWriteItems")
    assert {error.name for error in read.error_shapes} >= {"TransactionCanceledException"}
    assert read.input_shape is not None
    assert "TransactItems" in read.input_shape.members


def test_unknown_operation_is_an_error(whole: dict[str, Any]) -> None:
    with pytest.raises(DeployError, match="PutEverything"):
        trim._keep_operations(whole, {"PutEverything"})


def test_service_without_listed_operations_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="polly"):
        trim.trim(tmp_path, {"polly"})


@pytest.fixture
def core_schema(tmp_path: Path) -> Path:
    """A trimmed copy of pydantic_core's module."""
    copy = tmp_path / "pydantic_core" / "core_schema.py"
    copy.parent.mkdir()
    shutil.copy(WHOLE_CORE_SCHEMA, copy)
    trim.trim(tmp_path, set())
    return copy


def test_trimming_removes_only_typed_dict_keys_and_keeps_line_numbers(core_schema: Path) -> None:
    whole, trimmed = (ast.parse(path.read_text(encoding="utf-8")) for path in (WHOLE_CORE_SCHEMA, core_schema))
    removed = 0
    for before, after in zip(whole.body, trimmed.body, strict=True):
        if ast.dump(before, include_attributes=True) == ast.dump(after, include_attributes=True):
            continue
        assert isinstance(before, ast.ClassDef)
        assert isinstance(after, ast.ClassDef)
        keys = [part for part in before.body if isinstance(part, ast.AnnAssign)]
        removed += len(keys)
        assert all(isinstance(part, ast.Expr) for part in before.body[: -len(keys)]), "a TypedDict with code"
        after.body = [*(part for part in after.body if not isinstance(part, ast.Pass)), *keys]
        after.end_lineno, after.end_col_offset = before.end_lineno, before.end_col_offset  # of its last key
        assert ast.dump(before, include_attributes=True) == ast.dump(after, include_attributes=True)
    assert removed > 500


def test_trimmed_module_creates_the_same_schemas(core_schema: Path) -> None:
    spec = importlib.util.spec_from_file_location("trimmed_core_schema", core_schema)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = {name for name in vars(whole_core_schema) if not name.startswith("__")}
    assert names == {name for name in vars(module) if not name.startswith("__")}
    schemas = [
        source.model_schema(dict, source.model_fields_schema({"a": source.model_field(source.int_schema(ge=1))}))
        for source in (whole_core_schema, module)
    ]
    assert schemas[0] == schemas[1]
