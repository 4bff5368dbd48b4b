"""Where settings come from: flags, then `DEVFLOW_*`, then the config file, then defaults.

The config file is TOML, flat, mode 0600: `url`, `token`, and the options of `devflow agent start` by their names.
"""

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

from devflow.errors import SettingsError
from devflow.private_files import read_private, write_private

DEFAULT_URL = "http://localhost:3000"
"""Where `make run` serves."""


def config_path() -> Path:
    """`DEVFLOW_CONFIG`, or `devflow/config.toml` where this user's configuration is."""
    given = os.environ.get("DEVFLOW_CONFIG")
    return Path(given) if given else _base_directory("XDG_CONFIG_HOME", ".config") / "config.toml"


def state_path() -> Path:
    """`DEVFLOW_STATE`, or `devflow` where this user's programs keep their state: registrations, results, workspaces."""
    given = os.environ.get("DEVFLOW_STATE")
    return Path(given) if given else _base_directory("XDG_STATE_HOME", ".local/state")


def load_config(path: Path) -> dict[str, Any]:
    """What the config file says; empty where there is none. Raises SettingsError, ExposedError."""
    text = read_private(path)
    try:
        return tomllib.loads(text or "")
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no valid TOML: {error}") from None


def update_config(path: Path, **values: str | None) -> None:
    """Set values at the top of the config file, or take them out (None); every other line stays as it is.

    Raises SettingsError where the file is one that `load` would not accept, before or after.
    """
    load_config(path)
    lines = (read_private(path) or "").splitlines()
    kept = [line for line in lines if not _assigns(line, values)]
    new = [f"{name} = {_quote(value)}" for name, value in values.items() if value is not None]
    text = "\n".join([*new, *kept]) + "\n"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise SettingsError(f"{path} cannot be changed automatically; edit it, or move it away") from None
    write_private(path, text)


def _base_directory(variable: str, default: str) -> Path:
    given = os.environ.get(variable)
    return (Path(given) if given and Path(given).is_absolute() else Path.home() / default) / "devflow"


def _assigns(line: str, names: dict[str, str | None]) -> bool:
    found = re.match(r"""\s*["']?([A-Za-z0-9_-]+)["']?\s*=""", line)
    return found is not None and found[1] in names


def _quote(value: str) -> str:
    # A basic string of TOML is one of JSON, but for DEL, which no JSON encoder escapes.
    return json.dumps(value).replace("\x7f", "\\u007F")
