"""Files that only this user may read: the config file, tokens and unsent results."""

import os
import shutil
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

from devflow.errors import InsecureFileError, SettingsError

_GROUP_AND_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private_directory(path: Path) -> Path:
    """Create a directory and its missing parents, which only this user can read. Returns the path."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically, with mode 0600. A reader sees the old text or the new text, even after a power cut."""
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
    """Remove a file, if it exists, and sync its directory so that the removal survives a power cut."""
    path.unlink(missing_ok=True)
    _sync_directory(path.parent)


def read_private(path: Path) -> str | None:
    """Return the text of a file, or None if the file does not exist.

    Raises InsecureFileError if another user can read, change or replace it, and SettingsError if it cannot be read.
    """
    try:
        with open(path, encoding="utf-8", opener=_open_without_blocking) as file:
            status, directory_mode = os.fstat(file.fileno()), path.parent.stat().st_mode
            if not stat.S_ISREG(status.st_mode):
                raise SettingsError(f"{path} is not a regular file")
            if directory_mode & stat.S_IWOTH and not directory_mode & stat.S_ISVTX:
                raise InsecureFileError(f"Other users can replace {path}. Try: chmod o-w {path.parent}")
            if status.st_uid != os.geteuid() or status.st_mode & _GROUP_AND_OTHERS:
                raise InsecureFileError(f"{path} contains secrets, and other users can read it. Try: chmod 600 {path}")
            return file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None


def _open_without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # opening a named pipe would block before its type can be checked


def remove_tree(directory: Path) -> None:
    """Remove a directory, even if parts of it are read-only or very deep. Links are removed and not followed."""
    with suppress(RecursionError):
        shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):  # unlike Python, they have no limit for the depth
            subprocess.run([*command, "--", str(directory)], check=False, capture_output=True)


def _sync_directory(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
