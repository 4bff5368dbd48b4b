"""The environment of the programs that an agent starts.

git and gh get the user's environment without the agent's own variables. Engines get only what they need.
"""

import os
from collections.abc import Collection

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
        for name, value in _read_environment().items()
        if not name.startswith(_DEVFLOW_PREFIXES) and name not in _GIT_VARIABLES
    }


_ENGINE_VARIABLES = (
    "COLORTERM", "HOME", "LANG", "LANGUAGE", "LOGNAME", "NO_COLOR", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
)  # fmt: skip
_CERTIFICATE_VARIABLES = (
    "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE",
)  # fmt: skip
_PROXY_VARIABLES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def build_engine_environment(names: Collection[str] = ()) -> dict[str, str]:
    """Return what an engine needs of this process's environment, and the variables in `names`.

    Everything else may be a secret: tokens of GitHub, clouds and package registries. A proxy is left out if its URL
    contains a password. `DEVFLOW_*` is always left out.
    """
    wanted = {*_ENGINE_VARIABLES, *_CERTIFICATE_VARIABLES, *names}
    return {
        name: value
        for name, value in _read_environment().items()
        if not name.startswith(_DEVFLOW_PREFIXES)
        and (name in wanted or name.startswith("LC_") or (name.upper() in _PROXY_VARIABLES and "@" not in value))
    }


def find_certificate_paths() -> list[str]:
    """Return the files and directories of additional certificates that the environment names."""
    return [os.environ[name] for name in _CERTIFICATE_VARIABLES if os.environ.get(name)]


def _read_environment() -> dict[str, str]:
    """Return this process's environment without relative directories in PATH.

    Programs start in a clone. With `.` in PATH, a file of the repository would run in place of a program.
    """
    env = dict(os.environ)
    if "PATH" in env:
        env["PATH"] = os.pathsep.join(entry for entry in env["PATH"].split(os.pathsep) if entry.startswith(os.sep))
    return env
