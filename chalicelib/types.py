"""Shapes that every feature's requests and answers are made of.

A model is built (`defer_build`) when it is first used: building all of them took a third of a cold start, and an answer
uses one or two.
"""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
Id = Annotated[str, StringConstraints(pattern=f"^{ID.pattern}$")]
"""1 to 128 of `A-Z a-z 0-9 . _ : -`: safe in a path, in a key and in a branch's name."""


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
"""A text that says something: not empty, not blank."""

Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A time in an answer: ISO 8601 in UTC, to the second."""


class Entity(BaseModel):
    """A thing with rules: frozen, so a change gives a new one."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class Request(BaseModel):
    """What a client sends: camelCase keys; unknown ones are ignored, since older and newer agents send more."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="ignore", defer_build=True)


class Reply(BaseModel):
    """What a client gets: camelCase keys."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, defer_build=True)
