"""The PynamoDB models against the tables that come out of infra/template.yaml, in both directions.

The template is deployed into moto, and what DynamoDB then says of each table is held against the models that live in
it: a model of a table or an index that is not there fails, and so does a table or an index that no model knows.
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

TABLES = ["users", "logins", "agents", "tasks", "webhooks"]

pytestmark = pytest.mark.usefixtures("stack")
every_table = pytest.mark.parametrize("name", TABLES)


def models() -> list[type[Model]]:
    """Every model of the product, whatever module it is in."""
    for module in pkgutil.walk_packages(chalicelib.__path__, "chalicelib."):
        importlib.import_module(module.name)
    return [model for model in Model.__subclasses__() if model.__module__.startswith("chalicelib.")]


def models_of(name: str) -> list[type[Model]]:
    return [model for model in models() if model.Meta.table_name == settings.resource_name(name)]


def deployed(name: str) -> dict[str, Any]:
    """What DynamoDB says of a table, by its short name."""
    table: dict[str, Any] = boto3.client("dynamodb").describe_table(TableName=settings.resource_name(name))["Table"]
    return table


def keys(schema: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """A key schema as (attribute, HASH or RANGE), the hash key first."""
    return sorted(((key["AttributeName"], key["KeyType"]) for key in schema), key=lambda key: key[1])


def types(definitions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {definition["AttributeName"]: definition["AttributeType"] for definition in definitions}


def projection(said: Mapping[str, Any]) -> tuple[str, list[str]]:
    return said["ProjectionType"], sorted(said.get("NonKeyAttributes") or [])


def indexes_of(model: type[Model]) -> dict[str, tuple[list[tuple[str, str]], tuple[str, list[str]]]]:
    """A model's indexes by name: their keys, and their projection."""
    schemas = [index._get_schema() for index in model._indexes.values()]
    return {
        str(schema["index_name"]): (keys(schema["key_schema"]), projection(schema["projection"])) for schema in schemas
    }


def attributes_of(model: type[Model]) -> dict[str, str]:
    """A model's attributes as they are stored: name and type."""
    return {attribute.attr_name: attribute.attr_type for attribute in model.get_attributes().values()}


def test_every_table_has_models_and_every_model_has_a_table() -> None:
    standing = boto3.client("dynamodb").list_tables()["TableNames"]
    assert sorted(standing) == sorted({model.Meta.table_name for model in models()})
    assert sorted(standing) == sorted(settings.resource_name(name) for name in TABLES)


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
def test_the_models_of_a_table_know_its_indexes_and_no_others(name: str) -> None:
    standing = {
        index["IndexName"]: (keys(index["KeySchema"]), projection(index["Projection"]))
        for index in deployed(name).get("GlobalSecondaryIndexes") or []
    }
    known: dict[str, Any] = {}
    for model in models_of(name):
        for index, described in indexes_of(model).items():
            assert known.setdefault(index, described) == described, f"{index} is described twice, differently"
    assert known == standing


@every_table
def test_the_keys_of_a_table_and_its_indexes_have_the_types_that_the_models_write(name: str) -> None:
    defined = types(deployed(name)["AttributeDefinitions"])
    told: dict[str, str] = {}
    for model in models_of(name):
        told |= types(model._get_schema()["attribute_definitions"])
        for index in model._indexes.values():
            told |= types(index._get_schema()["attribute_definitions"])
    assert told == defined


@every_table
def test_an_index_is_made_of_attributes_that_its_model_stores(name: str) -> None:
    """Under the very same names: an index on an attribute that nobody writes is always empty."""
    for model in models_of(name):
        stored = attributes_of(model)
        for index in model._indexes.values():
            schema = index._get_schema()
            key_types = types(schema["attribute_definitions"])
            assert {key: stored.get(key) for key in key_types} == key_types, schema["index_name"]
            _, others = projection(schema["projection"])
            assert [other for other in others if other not in stored] == [], schema["index_name"]


@every_table
def test_models_that_share_a_table_agree_on_the_type_of_an_attribute(name: str) -> None:
    agreed: dict[str, str] = {}
    for model in models_of(name):
        for attribute, kind in attributes_of(model).items():
            assert agreed.setdefault(attribute, kind) == kind, f"{model.__name__}.{attribute}"


def test_the_one_client_knows_every_table_with_all_its_indexes() -> None:
    """It must not have to ask DynamoDB (DescribeTable) at run time; and GET /health asks each table that it knows."""
    models()
    from chalicelib.dynamodb.client import connection  # noqa: PLC0415  # the client must not be built before moto stands in

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
