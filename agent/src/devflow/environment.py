"""The environment of what an agent starts: the user's, without what is the agent's alone."""

import os

_OURS = ("DEVFLOW_", "_DEVFLOW_")
_GITS = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_EXTERNAL_DIFF",
    "GIT_TEMPLATE_DIR",
)  # fmt: skip


def base() -> dict[str, str]:
    """Without `DEVFLOW_*` (tokens among them), and without what would point git at another repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS) and name not in _GITS}
