"""The environment of what an agent starts: the user's, without what is the agent's alone."""

import os

_DEVFLOW_PREFIXES = ("DEVFLOW_", "_DEVFLOW_")
_GIT_VARIABLES = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_EXTERNAL_DIFF",
    "GIT_TEMPLATE_DIR",
)  # fmt: skip


def build_child_environment() -> dict[str, str]:
    """Without `DEVFLOW_*` (tokens among them), and without what would point git at another repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_DEVFLOW_PREFIXES) and name not in _GIT_VARIABLES}
