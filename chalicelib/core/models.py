"""Shapes that every feature's requests and answers are made of.

A model is built (`defer_build`) when it is first used: building all of them took a third of a cold start, and an answer
uses one or two.
"""

import re
from functools import cache
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

ID_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,128}")
Id = Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN.pattern}$")]
"""1 to 128 of `A-Z a-z 0-9 . _ : -`: safe in a path, in a key and in a branch's name."""


NonBlankText = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
"""A text that says something: not empty, not blank."""

Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A time in an answer: ISO 8601 in UTC, to the second."""


class DevFlowModel(BaseModel):
    """What all shapes have in common."""

    @classmethod
    def model_construct(cls, _fields_set: set[str] | None = None, **values: Any) -> Self:
        """Of values that are known to be good, by the fields' names; they are not checked. Raises TypeError where one
        is missing or unknown.

        The same as pydantic's own, which also looks for aliases, and takes three times as long about it.
        """
        plain, fresh, required = _defaults(cls)
        content = plain | values
        if len(content) > len(plain) or not required <= values.keys():
            raise TypeError(f"{cls.__name__} of {sorted(values)}")
        for name in fresh.keys() - values.keys() if fresh else ():
            content[name] = fresh[name].get_default(call_default_factory=True)
        made = cls.__new__(cls)
        settled = object.__setattr__  # what is frozen would refuse
        settled(made, "__dict__", content)
        settled(made, "__pydantic_fields_set__", set(values) if _fields_set is None else _fields_set)
        settled(made, "__pydantic_extra__", None)
        settled(made, "__pydantic_private__", None)
        return made


@cache
def _defaults(shape: type[BaseModel]) -> tuple[dict[str, Any], dict[str, FieldInfo], frozenset[str]]:
    """The fields in their order, with the defaults that may be shared; those that have one of their own each time; and
    those that have none."""
    fields = shape.model_fields
    shared = (str, int, float, bool, type(None))
    fresh = {
        name: field
        for name, field in fields.items()
        if not field.is_required() and (field.default_factory is not None or not isinstance(field.default, shared))
    }
    required = frozenset(name for name, field in fields.items() if field.is_required())
    return {name: field.default for name, field in fields.items()}, fresh, required


class Entity(DevFlowModel):
    """A thing with rules: frozen, so a change gives a new one."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class InputModel(DevFlowModel):
    """What a client sends: camelCase keys; unknown ones are ignored, since older and newer agents send more."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="ignore", defer_build=True)


class OutputModel(DevFlowModel):
    """What a client gets: camelCase keys."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, defer_build=True)
