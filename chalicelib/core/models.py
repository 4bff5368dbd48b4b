"""Base models for the requests, responses and entities of all features.

pydantic builds a model when it is first used (`defer_build`). Building all of them took a third of a cold start, and a
request uses only one or two.
"""

import re
from functools import cache
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

ID_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,128}")
Id = Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN.pattern}$")]
"""1 to 128 characters of `A-Z a-z 0-9 . _ : -`. An id is safe in a path, in a key and in the name of a branch."""


NonBlankText = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
"""A text that is neither empty nor blank."""

Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A time in a response: ISO 8601 in UTC, to the second."""


Capability = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
"""An intent that an agent accepts."""
Capabilities = Annotated[list[Capability], Field(max_length=32)]


class DevFlowModel(BaseModel):
    """The base of all models."""

    @classmethod
    def model_construct(cls, _fields_set: set[str] | None = None, **values: Any) -> Self:
        """Create a model from values that are known to be valid, by the names of the fields.

        The values are not validated. Raises TypeError if one is missing or unknown. The result is the same as that of
        pydantic's own method, which also looks for aliases and takes three times as long.
        """
        defaults, factories, required = _defaults(cls)
        content = defaults | values
        if len(content) > len(defaults) or not required <= values.keys():
            raise TypeError(f"{cls.__name__} cannot be created from {sorted(values)}")
        for name in factories.keys() - values.keys() if factories else ():
            content[name] = factories[name].get_default(call_default_factory=True)
        model = cls.__new__(cls)
        set_attribute = object.__setattr__  # that of a frozen model raises
        set_attribute(model, "__dict__", content)
        set_attribute(model, "__pydantic_fields_set__", set(values) if _fields_set is None else _fields_set)
        set_attribute(model, "__pydantic_extra__", None)
        set_attribute(model, "__pydantic_private__", None)
        return model


@cache
def _defaults(model: type[BaseModel]) -> tuple[dict[str, Any], dict[str, FieldInfo], frozenset[str]]:
    """All fields in their order with their defaults; the fields that need a new default for each model; and the names
    of the required fields.

    Only immutable defaults are shared between models.
    """
    fields = model.model_fields
    immutable = (str, int, float, bool, type(None))
    factories = {
        name: field
        for name, field in fields.items()
        if not field.is_required() and (field.default_factory is not None or not isinstance(field.default, immutable))
    }
    required = frozenset(name for name, field in fields.items() if field.is_required())
    return {name: field.default for name, field in fields.items()}, factories, required


class Entity(DevFlowModel):
    """An object with rules. It is frozen, so a change creates a new one."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class InputModel(DevFlowModel):
    """What a client sends, with camelCase keys. Unknown keys are ignored, because other agent versions send more."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="ignore", defer_build=True)


class OutputModel(DevFlowModel):
    """What a client receives, with camelCase keys."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, defer_build=True)
