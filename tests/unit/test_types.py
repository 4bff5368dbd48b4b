"""chalicelib/core/models.py: shapes of values that are known to be good are what pydantic would make of them."""

from typing import Any

import pytest
from pydantic import BaseModel

from chalicelib.agents.entities import Agent, Claim
from chalicelib.core.models import DevFlowModel
from chalicelib.tasks.entities import Task
from chalicelib.tasks.requests import StoredResult, TaskBody
from chalicelib.tasks.responses import PollResponse, ProgressResponse

KNOWN: list[tuple[type[DevFlowModel], dict[str, Any]]] = [
    (Claim, {"attempt": 1, "timeout": 7_200_000, "claimed_at": 5}),
    (Task, {"owner": "user", "id": "task", "status": "queued"}),
    (Task, {"owner": "user", "id": "task", "status": "queued", "progress": None, "due": 9, "final_log_appended": True}),
    (StoredResult, {}),
    (TaskBody, {"description": "Fix it", "context": None}),
    (ProgressResponse, {"task_id": "task", "cancel_requested": False}),
    (PollResponse, {"commands": [], "next_poll_interval": 5_000}),
]


@pytest.mark.parametrize(("shape", "values"), KNOWN)
def test_it_is_what_pydantic_makes_of_these_values(shape: type[DevFlowModel], values: dict[str, Any]) -> None:
    made = shape.model_construct(**values)
    plain: Any = BaseModel.model_construct.__func__(shape, **values)  # type: ignore[attr-defined]
    assert made == plain
    assert made.model_fields_set == plain.model_fields_set
    assert made.model_dump_json() == plain.model_dump_json()  # in the same order, too
    assert made.model_copy(update={}) == plain


@pytest.mark.parametrize(
    ("shape", "values"),
    [(Claim, {"attempt": 1}), (ProgressResponse, {}), (StoredResult, {"other": 1}), (Claim, {"claimedAt": 1})],
)
def test_a_value_that_is_missing_or_unknown_is_a_bug(shape: type[DevFlowModel], values: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=shape.__name__):
        shape.model_construct(**values)


def test_what_may_change_is_made_anew_each_time() -> None:
    values: dict[str, Any] = {name: None for name, field in Agent.model_fields.items() if field.is_required()}
    one, other = Agent.model_construct(**values), Agent.model_construct(**values)
    one.claims["task"] = Claim(attempt=1, timeout=1, claimed_at=1)
    assert other.claims == {}
