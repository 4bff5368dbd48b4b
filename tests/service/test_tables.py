"""Compares the PynamoDB models with the tables of infra/template.yaml, in both directions.

The template is deployed into moto. DynamoDB's description of each table is compared with the models of the table. A
model without a table or index fails, and so does a table or index without a model.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import boto3
import pytest
from pynamodb.models import Model

import chalicelib
from chalicelib.core.settings import settings

TABLES = ["users", "credentials", "logins", "agents", "tasks", "webhooks"]

pytestmark = pytest.mark.usefixtures("stack")
every_table = pytest.mark.parametrize("name", TABLES)


def models() -> list[type[Model]]:
    """All models of the product, from all modules."""
    for module in pkgutil.walk_packages(chalicelib.__path__, "chalicelib."):
        importlib.import_module(module.name)
    return [model for model in Model.__subclasses__() if model.__module__.startswith("chalicelib.")]


def models_of(name: str) -> list[type[Model]]:
    return [model for model in models() if model.Meta.table_name == settings.resource_name(name)]


def deployed(name: str) -> dict[str, Any]:
    """DynamoDB's description of a table, given by its short name."""
    table: dict[str, Any] = boto3.client("dynamodb").describe_table(TableName=settings.resource_name(name))["Table"]
    return table


def keys(schema: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """A key schema as (attribute, HASH or RANGE), the hash key first."""
    return sorted(((key["AttributeName"], key["KeyType"]) for key in schema), key=lambda key: key[1])


def types(definitions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {definition["AttributeName"]: definition["AttributeType"] for definition in definitions}


def projection(description: Mapping[str, Any]) -> tuple[str, list[str]]:
    return description["ProjectionType"], sorted(description.get("NonKeyAttributes") or [])


def indexes_of(model: type[Model]) -> dict[str, tuple[list[tuple[str, str]], tuple[str, list[str]]]]:
    """A model's indexes by name: their keys, and their projection."""
    schemas = [index._get_schema() for index in model._indexes.values()]
    return {
        str(schema["index_name"]): (keys(schema["key_schema"]), projection(schema["projection"])) for schema in schemas
    }


def attributes_of(model: type[Model]) -> dict[str, str]:
    """The names and types of a model's stored attributes."""
    return {attribute.attr_name: attribute.attr_type for attribute in model.get_attributes().values()}


def test_every_table_has_models_and_every_model_has_a_table() -> None:
    existing = boto3.client("dynamodb").list_tables()["TableNames"]
    assert sorted(existing) == sorted({model.Meta.table_name for model in models()})
    assert sorted(existing) == sorted(settings.resource_name(name) for name in TABLES)


@every_table
def test_every_model_has_the_keys_of_its_table(name: str) -> None:
    table = deployed(name)
    defined = types(table["AttributeDefinitions"])
    for model in models_of(name):
        schema = model._get_schema()
        assert keys(schema["key_schema"]) == keys(table["KeySchema"]), model
        key_types = types(schema["attribute_definitions"])
        assert all(key_types[key] == defined[key] for key, _ in keys(table["KeySchema"])), model


@every_table
def test_models_of_a_table_declare_exactly_its_indexes(name: str) -> None:
    existing = {
        index["IndexName"]: (keys(index["KeySchema"]), projection(index["Projection"]))
        for index in deployed(name).get("GlobalSecondaryIndexes") or []
    }
    known: dict[str, Any] = {}
    for model in models_of(name):
        for index, described in indexes_of(model).items():
            assert known.setdefault(index, described) == described, f"{index} is described twice, differently"
    assert known == existing


@every_table
def test_keys_of_tables_and_indexes_have_the_types_of_the_models(name: str) -> None:
    defined = types(deployed(name)["AttributeDefinitions"])
    declared: dict[str, str] = {}
    for model in models_of(name):
        declared |= types(model._get_schema()["attribute_definitions"])
        for index in model._indexes.values():
            declared |= types(index._get_schema()["attribute_definitions"])
    assert declared == defined


@every_table
def test_every_index_uses_attributes_that_its_model_stores(name: str) -> None:
    """The names must be equal: an index on an attribute that is never written is always empty."""
    for model in models_of(name):
        stored = attributes_of(model)
        for index in model._indexes.values():
            schema = index._get_schema()
            key_types = types(schema["attribute_definitions"])
            assert {key: stored.get(key) for key in key_types} == key_types, schema["index_name"]
            _, others = projection(schema["projection"])
            assert [other for other in others if other not in stored] == [], schema["index_name"]


@every_table
def test_models_of_a_table_agree_on_attribute_types(name: str) -> None:
    agreed: dict[str, str] = {}
    for model in models_of(name):
        for attribute, kind in attributes_of(model).items():
            assert agreed.setdefault(attribute, kind) == kind, f"{model.__name__}.{attribute}"


def test_dynamodb_client_knows_every_table_with_its_indexes() -> None:
    """The client must not need DescribeTable at run time. GET /health checks each table that the client knows."""
    models()
    from chalicelib.dynamodb.client import connection  # noqa: PLC0415  # moto must be active before the client is built

    known = {
        name: {index["IndexName"] for index in table.data.get("GlobalSecondaryIndexes") or []}
        for name, table in connection._tables.items()
    }
    assert known == {
        settings.resource_name(name): {
            index["IndexName"] for index in deployed(name).get("GlobalSecondaryIndexes") or []
        }
        for name in TABLES
    }
