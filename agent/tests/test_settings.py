"""The config file and private files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from devflow import settings
from devflow.errors import InsecureFileError, SettingsError
from devflow.private_files import read_private, remove_tree, write_private


def test_config_file_is_in_the_users_configuration_directory(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.config_path() == machine / ".config" / "devflow" / "config.toml"
    assert settings.state_path() == machine / ".local" / "state" / "devflow"

    monkeypatch.setenv("XDG_CONFIG_HOME", "/elsewhere")
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    assert settings.config_path() == Path("/elsewhere/devflow/config.toml")
    assert settings.state_path() == machine / ".local" / "state" / "devflow", (
        "the XDG specification requires an absolute path"
    )

    monkeypatch.setenv("DEVFLOW_CONFIG", "/given.toml")
    monkeypatch.setenv("DEVFLOW_STATE", "/state")
    assert (settings.config_path(), settings.state_path()) == (Path("/given.toml"), Path("/state"))


def test_missing_config_file_is_empty(tmp_path: Path) -> None:
    assert settings.load_config(tmp_path / "none.toml") == {}


def test_written_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config.toml"
    settings.update_config(path, url="https://a.example", token='with "quotes" and \\ and \x7f')

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert settings.load_config(path) == {"url": "https://a.example", "token": 'with "quotes" and \\ and \x7f'}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_file_that_others_can_read_or_change_is_rejected(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "config.toml"
    settings.update_config(path, token="secret-token")
    path.chmod(mode)

    with pytest.raises(InsecureFileError, match="chmod 600"):
        settings.load_config(path)
    with pytest.raises(InsecureFileError):
        settings.update_config(path, token=None)


def test_file_that_others_can_replace_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "config.toml"
    settings.update_config(path, token="secret-token")
    path.parent.chmod(0o777)
    with pytest.raises(InsecureFileError, match="chmod o-w"):
        settings.load_config(path)
    path.parent.chmod(0o1777)  # like /tmp: only its owner can replace a file there
    assert settings.load_config(path) == {"token": "secret-token"}


def test_named_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.toml", 0o600)
    with pytest.raises(SettingsError, match="not a regular file"):
        settings.load_config(tmp_path / "config.toml")


def test_update_keeps_every_other_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    write_private(path, '# mine\nengine = "command"  # this one\ntoken = "old"\nallow_repos = [\n  "a",\n]\n')

    settings.update_config(path, url="https://a.example", token="new")
    settings.update_config(path, token=None)

    text = path.read_text(encoding="utf-8")
    assert text == 'url = "https://a.example"\n# mine\nengine = "command"  # this one\nallow_repos = [\n  "a",\n]\n'


@pytest.mark.parametrize("text", ["no toml", 'token = """\nold"""\n'])
def test_invalid_config_file_is_not_changed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    write_private(path, text)

    with pytest.raises(SettingsError):
        settings.update_config(path, token="new")
    assert path.read_text(encoding="utf-8") == text


def test_binary_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff")
    path.chmod(0o600)

    with pytest.raises(SettingsError):
        read_private(path)


def test_failed_write_keeps_the_old_file_only(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    write_private(path, "old")

    with pytest.raises(UnicodeEncodeError):
        write_private(path, "new \ud800")

    assert [(found.name, found.read_text(encoding="utf-8")) for found in tmp_path.glob("*config*")] == [
        ("config.toml", "old")
    ]


def test_read_only_tree_is_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir()
    (outside / "kept").touch()
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "link").symlink_to(outside)
    (tree / "deep").chmod(0o500)

    remove_tree(tree)

    assert not tree.exists()
    assert (outside / "kept").exists()
    remove_tree(tree)
    assert os.listdir(tmp_path)  # noqa: PTH208  # the rest still exists
