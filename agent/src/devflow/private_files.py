"""Files that are this user's alone: the config file, tokens, results that wait."""

import os
import shutil
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

from devflow.errors import InsecureFileError, SettingsError

_GROUP_AND_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private_directory(path: Path) -> Path:
    """Make it, and what is missing above it, so that only this user may look inside."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole, mode 0600: whoever reads it sees the old text or the new, also after a power cut."""
    make_private_directory(path.parent)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    _sync_directory(path.parent)


def remove_file(path: Path) -> None:
    """Remove a file, for good; nothing where there is none."""
    path.unlink(missing_ok=True)
    _sync_directory(path.parent)


def read_private(path: Path) -> str | None:
    """Its text; None where there is no such file.

    Raises ExposedError where anybody else may read, change or replace it, SettingsError where it cannot be read.
    """
    try:
        with open(path, encoding="utf-8", opener=_open_without_blocking) as file:
            found, directory = os.fstat(file.fileno()), path.parent.stat().st_mode
            if not stat.S_ISREG(found.st_mode):
                raise SettingsError(f"{path} is no file")
            if directory & stat.S_IWOTH and not directory & stat.S_ISVTX:
                raise InsecureFileError(f"Others can replace {path}. Try: chmod o-w {path.parent}")
            if found.st_uid != os.geteuid() or found.st_mode & _GROUP_AND_OTHERS:
                raise InsecureFileError(f"{path} has secrets in it and others can read it. Try: chmod 600 {path}")
            return file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None


def _open_without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would be waited for, before it could be told from a file


def remove_tree(directory: Path) -> None:
    """Remove a directory, also where parts of it were made read-only. Links are removed, not followed."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        subprocess.run(["chmod", "-R", "u+rwX", "--", str(directory)], check=False, capture_output=True)
        shutil.rmtree(directory, ignore_errors=True)


def _sync_directory(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
