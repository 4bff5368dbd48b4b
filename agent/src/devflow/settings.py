"""Where settings come from: flags first, then `DEVFLOW_*` variables, then the config file, then defaults.

The config file is flat TOML with mode 0600. It contains `url`, `token`, and options of commands by their names.
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
"""The URL that `make run` serves."""


def config_path() -> Path:
    """Return `DEVFLOW_CONFIG`, or `devflow/config.toml` in this user's configuration directory."""
    path = os.environ.get("DEVFLOW_CONFIG")
    return Path(path) if path else _base_directory("XDG_CONFIG_HOME", ".config") / "config.toml"


def state_path() -> Path:
    """Return `DEVFLOW_STATE`, or `devflow` in this user's state directory.

    Agents keep their registrations, results and workspaces there.
    """
    path = os.environ.get("DEVFLOW_STATE")
    return Path(path) if path else _base_directory("XDG_STATE_HOME", ".local/state")


def load_config(path: Path) -> dict[str, Any]:
    """Read the config file. Returns an empty dict if there is none. Raises SettingsError and InsecureFileError."""
    text = read_private(path)
    try:
        return tomllib.loads(text or "")
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None


def update_config(path: Path, **values: str | None) -> None:
    """Set values at the top of the config file, or remove them (None). Every other line stays as it is.

    Raises SettingsError if `load_config` would reject the file before or after the change.
    """
    load_config(path)
    lines = (read_private(path) or "").splitlines()
    kept = [line for line in lines if not _assigns(line, values)]
    new = [f"{name} = {_quote(value)}" for name, value in values.items() if value is not None]
    text = "\n".join([*new, *kept]) + "\n"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise SettingsError(f"{path} cannot be changed automatically. Edit it, or move it to another place") from None
    write_private(path, text)


def _base_directory(variable: str, default: str) -> Path:
    path = os.environ.get(variable)
    return (Path(path) if path and Path(path).is_absolute() else Path.home() / default) / "devflow"


def _assigns(line: str, names: dict[str, str | None]) -> bool:
    match = re.match(r"""\s*["']?([A-Za-z0-9_-]+)["']?\s*=""", line)
    return match is not None and match[1] in names


def _quote(value: str) -> str:
    # A basic string of TOML is a JSON string, except for DEL: TOML requires an escape, and no JSON encoder writes one.
    return json.dumps(value).replace("\x7f", "\\u007F")
