"""JSON schemas of the models that routes declare, with the names that clients use and the docstrings of the fields.

pydantic generates the schemas. This module adds which fields a response always has, and the docstring below each field.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from chalicelib.http import RouteSpec

Json = dict[str, Any]
_REF = "#/components/schemas/"


class JsonSchemas:
    """The schemas of all models, by their names in the components of the document."""

    def __init__(self, routes: Iterable[RouteSpec]) -> None:
        models: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {}
        for route in routes:
            for model in (route.query, route.body):
                if model is not None:
                    models[model, "validation"] = None
            if route.response is not None:
                models[route.response, "serialization"] = None
        refs, document = models_json_schema(
            list(models), by_alias=True, ref_template=_REF + "{model}", schema_generator=_DescribedJsonSchema
        )
        self._refs = {model: ref for (model, _), ref in refs.items()}
        queries = {self._name(route.query) for route in routes if route.query is not None}
        self._all: dict[str, Json] = document.get("$defs", {})
        self.all = {name: schema for name, schema in self._all.items() if name not in queries}

    def reference(self, model: type[BaseModel]) -> Json:
        """A reference to the schema of a model."""
        return self._refs[model]

    def parameters(self, model: type[BaseModel]) -> list[Json]:
        """The fields of a query model as parameters. They are not nullable; a client omits a parameter instead."""
        schema = self._all[self._name(model)]
        required = schema.get("required", [])
        return [
            {"name": name, "in": "query", "required": name in required, "schema": _without_null(each)}
            for name, each in schema["properties"].items()
        ]

    def _name(self, model: type[BaseModel]) -> str:
        return str(self._refs[model]["$ref"]).removeprefix(_REF)


def _without_null(schema: Json) -> Json:
    rest = {name: value for name, value in schema.items() if name not in ("title", "anyOf")}
    if rest.get("default", ...) is None:
        del rest["default"]
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    return rest | (options[0] if len(options) == 1 else {"anyOf": options} if options else {})


class _DescribedJsonSchema(GenerateJsonSchema):
    """pydantic's schemas, without titles, because they repeat the names, and with the docstrings of the fields."""

    def str_schema(self, schema: Any) -> Json:
        result: Json = super().str_schema(schema)
        if schema.get("strip_whitespace") and schema.get("min_length") and "pattern" not in result:
            result["pattern"] = r"[^\s\x85]"  # not blank; \s of ECMAScript does not include the blank U+0085
        return result

    def model_schema(self, schema: Any) -> Json:
        model: type[BaseModel] = schema["cls"]
        result: Json = super().model_schema(schema)
        result.pop("title", None)
        docstrings = {_alias(model, name): text for name, text in field_docstrings(model).items()}
        for name, property_schema in result.get("properties", {}).items():
            property_schema.pop("title", None)
            if name in docstrings:
                property_schema["description"] = docstrings[name]
        if self.mode == "serialization" and "properties" in result:
            optional = {_alias(model, name) for name, info in model.model_fields.items() if info.exclude_if}
            result["required"] = [name for name in result["properties"] if name not in optional]
        return result


def _alias(model: type[BaseModel], name: str) -> str:
    if name in model.model_computed_fields:
        return model.model_computed_fields[name].alias or name
    field = model.model_fields.get(name)
    return name if field is None else field.serialization_alias or field.alias or name


def field_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings of a model's fields by name, including inherited fields. {} if the source is not available."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel or "[" in base.__name__:
            continue
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):
            continue
        body = ast.parse(source).body[0].body  # type: ignore[attr-defined]  # the source of a class
        for statement, next_statement in pairwise(body):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(next_statement, ast.Expr)
                and isinstance(next_statement.value, ast.Constant)
            ):
                found[statement.target.id] = " ".join(str(next_statement.value.value).split())
    return found
