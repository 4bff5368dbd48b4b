"""chalicelib/types.py: shapes of values that are known to be good are what pydantic would make of them."""

from typing import Any

import pytest
from pydantic import BaseModel

from chalicelib.agents.agent import Agent, Held
from chalicelib.tasks.shapes import Body, Outcome
from chalicelib.tasks.task import Task
from chalicelib.tasks.views import Commands, Progressed
from chalicelib.types import Shape

KNOWN: list[tuple[type[Shape], dict[str, Any]]] = [
    (Held, {"attempt": 1, "timeout": 7_200_000, "claimed_at": 5}),
    (Task, {"owner": "user", "id": "task", "status": "queued"}),
    (Task, {"owner": "user", "id": "task", "status": "queued", "progress": None, "due": 9, "last_log": True}),
    (Outcome, {}),
    (Body, {"description": "Fix it", "context": None}),
    (Progressed, {"task_id": "task", "cancel_requested": False}),
    (Commands, {"commands": [], "next_poll_interval": 5_000}),
]


@pytest.mark.parametrize(("shape", "values"), KNOWN)
def test_it_is_what_pydantic_makes_of_these_values(shape: type[Shape], values: dict[str, Any]) -> None:
    made = shape.model_construct(**values)
    plain: Any = BaseModel.model_construct.__func__(shape, **values)  # type: ignore[attr-defined]
    assert made == plain
    assert made.model_fields_set == plain.model_fields_set
    assert made.model_dump_json() == plain.model_dump_json()  # in the same order, too
    assert made.model_copy(update={}) == plain


@pytest.mark.parametrize(
    ("shape", "values"), [(Held, {"attempt": 1}), (Progressed, {}), (Outcome, {"other": 1}), (Held, {"claimedAt": 1})]
)
def test_a_value_that_is_missing_or_unknown_is_a_bug(shape: type[Shape], values: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=shape.__name__):
        shape.model_construct(**values)


def test_what_may_change_is_made_anew_each_time() -> None:
    values: dict[str, Any] = {name: None for name, field in Agent.model_fields.items() if field.is_required()}
    one, other = Agent.model_construct(**values), Agent.model_construct(**values)
    one.held["task"] = Held(attempt=1, timeout=1, claimed_at=1)
    assert other.held == {}
