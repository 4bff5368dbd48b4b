"""JSON schemas of the models that routes declare, as clients see them: by alias, and with the comments on the fields.

pydantic makes schemas; what it leaves out is which fields an answer always has, and what stands below a field.
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
    """The schemas of all models, by the name under which components have them."""

    def __init__(self, routes: Iterable[RouteSpec]) -> None:
        wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {}
        for route in routes:
            for model in (route.query, route.body):
                if model is not None:
                    wanted[model, "validation"] = None
            if route.response is not None:
                wanted[route.response, "serialization"] = None
        refs, together = models_json_schema(
            list(wanted), by_alias=True, ref_template=_REF + "{model}", schema_generator=_DescribedJsonSchema
        )
        self._refs = {model: ref for (model, _), ref in refs.items()}
        queries = {self._name(route.query) for route in routes if route.query is not None}
        self._all: dict[str, Json] = together.get("$defs", {})
        self.all = {name: schema for name, schema in self._all.items() if name not in queries}

    def reference(self, model: type[BaseModel]) -> Json:
        """A reference to a model's schema."""
        return self._refs[model]

    def parameters(self, model: type[BaseModel]) -> list[Json]:
        """A model of a query string as its parameters; leaving one out is how to say null."""
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
    """pydantic's schemas, without titles that repeat the names, and with what stands below the fields."""

    def str_schema(self, schema: Any) -> Json:
        made: Json = super().str_schema(schema)
        if schema.get("strip_whitespace") and schema.get("min_length") and "pattern" not in made:
            made["pattern"] = r"[^\s\x85]"  # a blank text is none; in ECMA's patterns \s lacks one of Unicode's blanks
        return made

    def model_schema(self, schema: Any) -> Json:
        model: type[BaseModel] = schema["cls"]
        made: Json = super().model_schema(schema)
        made.pop("title", None)
        texts = {_alias(model, name): text for name, text in field_docstrings(model).items()}
        for name, shown in made.get("properties", {}).items():
            shown.pop("title", None)
            if name in texts:
                shown["description"] = texts[name]
        if self.mode == "serialization" and "properties" in made:
            sometimes = {_alias(model, name) for name, info in model.model_fields.items() if info.exclude_if}
            made["required"] = [name for name in made["properties"] if name not in sometimes]
        return made


def _alias(model: type[BaseModel], name: str) -> str:
    if name in model.model_computed_fields:
        return model.model_computed_fields[name].alias or name
    field = model.model_fields.get(name)
    return name if field is None else field.serialization_alias or field.alias or name


def field_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings of a model's fields, by name: its own and those that it inherits. {} where there is no source."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if not issubclass(kind, BaseModel) or kind is BaseModel or "[" in kind.__name__:
            continue
        try:
            source = textwrap.dedent(inspect.getsource(kind))
        except (OSError, TypeError):
            continue
        body = ast.parse(source).body[0].body  # type: ignore[attr-defined]  # a class, by what was asked for
        for statement, below in pairwise(body):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[statement.target.id] = " ".join(str(below.value.value).split())
    return found
