"""infra/reference/compare.py: what counts as a change of the API."""

import copy
from typing import Any

from infra.reference.compare import differences

DOCUMENT: dict[str, Any] = {
    "paths": {
        "/api/tasks": {
            "get": {
                "summary": "List tasks",
                "responses": {"200": {"content": {"schema": {"$ref": "#/components/schemas/Task"}}}},
            }
        }
    },
    "components": {
        "schemas": {
            "Task": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "description": "The task."},
                    "description": {"type": "string"},
                    "retryOf": {"$ref": "#/components/schemas/Task"},
                },
            }
        }
    },
}
OPERATION = "paths//api/tasks/get"
PROPERTIES = f"{OPERATION}/responses/200/content/schema/properties"


def changed() -> tuple[dict[str, Any], dict[str, Any]]:
    """A copy of the document, and the properties of its task."""
    after = copy.deepcopy(DOCUMENT)
    return after, after["components"]["schemas"]["Task"]["properties"]


def test_same_document_has_no_differences() -> None:
    assert differences(DOCUMENT, copy.deepcopy(DOCUMENT)) == []


def test_descriptions_and_names_of_schemas_are_not_compared() -> None:
    after, properties = changed()
    properties["id"]["description"] = "The id of the task."
    after["paths"]["/api/tasks"]["get"]["summary"] = "List all tasks"
    after["components"]["schemas"]["Job"] = after["components"]["schemas"].pop("Task")
    properties["retryOf"]["$ref"] = "#/components/schemas/Job"
    after["paths"]["/api/tasks"]["get"]["responses"]["200"]["content"]["schema"]["$ref"] = "#/components/schemas/Job"
    assert differences(DOCUMENT, after) == []


def test_removed_field_is_reported_even_if_it_is_called_description() -> None:
    after, properties = changed()
    del properties["description"]
    assert differences(DOCUMENT, after) == [f"removed: {PROPERTIES}/description"]


def test_added_field_and_changed_type_are_reported() -> None:
    after, properties = changed()
    properties["title"] = {"type": "string"}
    properties["id"]["type"] = "integer"
    assert differences(DOCUMENT, after) == [
        f"changed: {PROPERTIES}/id/type: 'string' to 'integer'",
        f"added: {PROPERTIES}/title",
    ]


def test_removed_path_is_reported() -> None:
    after, _ = changed()
    del after["paths"]["/api/tasks"]
    assert differences(DOCUMENT, after) == ["removed: paths//api/tasks"]
