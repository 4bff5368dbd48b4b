"""chalicelib/core/models.py: `model_construct` creates the same model as pydantic's own method."""

from typing import Any

import pytest
from pydantic import BaseModel

from chalicelib.agents.entities import Agent, Claim
from chalicelib.core.models import DevFlowModel
from chalicelib.tasks.entities import Task
from chalicelib.tasks.requests import StoredResult, TaskBody
from chalicelib.tasks.responses import PollResponse, ProgressResponse

EXAMPLES: list[tuple[type[DevFlowModel], dict[str, Any]]] = [
    (Claim, {"attempt": 1, "timeout": 7_200_000, "claimed_at": 5}),
    (Task, {"owner": "user", "id": "task", "status": "queued"}),
    (Task, {"owner": "user", "id": "task", "status": "queued", "progress": None, "due": 9, "final_log_appended": True}),
    (StoredResult, {}),
    (TaskBody, {"description": "Fix it", "context": None}),
    (ProgressResponse, {"task_id": "task", "cancel_requested": False}),
    (PollResponse, {"commands": [], "next_poll_interval": 5_000}),
]


@pytest.mark.parametrize(("model", "values"), EXAMPLES)
def test_constructed_model_equals_that_of_pydantic(model: type[DevFlowModel], values: dict[str, Any]) -> None:
    constructed = model.model_construct(**values)
    expected: Any = BaseModel.model_construct.__func__(model, **values)  # type: ignore[attr-defined]
    assert constructed == expected
    assert constructed.model_fields_set == expected.model_fields_set
    assert constructed.model_dump_json() == expected.model_dump_json()  # compares the order, too
    assert constructed.model_copy(update={}) == expected


@pytest.mark.parametrize(
    ("model", "values"),
    [(Claim, {"attempt": 1}), (ProgressResponse, {}), (StoredResult, {"other": 1}), (Claim, {"claimedAt": 1})],
)
def test_missing_or_unknown_value_raises_type_error(model: type[DevFlowModel], values: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=model.__name__):
        model.model_construct(**values)


def test_mutable_default_is_created_for_each_model() -> None:
    values: dict[str, Any] = {name: None for name, field in Agent.model_fields.items() if field.is_required()}
    one, other = Agent.model_construct(**values), Agent.model_construct(**values)
    one.claims["task"] = Claim(attempt=1, timeout=1, claimed_at=1)
    assert other.claims == {}
