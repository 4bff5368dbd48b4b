"""The environment of the programs that an agent starts: the user's environment without the agent's own variables."""

import os

_DEVFLOW_PREFIXES = ("DEVFLOW_", "_DEVFLOW_")
_GIT_VARIABLES = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_EXTERNAL_DIFF",
    "GIT_TEMPLATE_DIR",
)  # fmt: skip


def build_child_environment() -> dict[str, str]:
    """Return this process's environment without `DEVFLOW_*` and without variables that select a repository.

    `DEVFLOW_*` contains tokens. The git variables would point git to another repository than the task's clone.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_DEVFLOW_PREFIXES) and name not in _GIT_VARIABLES
    }
