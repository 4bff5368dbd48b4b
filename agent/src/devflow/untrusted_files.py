"""Reads directories that an engine has written: as data, without following links and without blocking."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from devflow.private_files import remove_tree

_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_GIT = ".git"


def read_file(root: Path, name: str, max_bytes: int) -> bytes | None:
    """Return the contents of the file `name` below `root`.

    Returns None if it does not exist, is larger, or is not a regular file, or if a part of the path is a link.
    """
    with suppress(OSError), _open_inside(root, name) as descriptor, os.fdopen(descriptor, "rb") as file:
        if os.fstat(file.fileno()).st_size <= max_bytes:
            content = file.read(max_bytes + 1)
            return content if len(content) <= max_bytes else None
    return None


def list_directory(root: Path, name: str) -> list[str]:
    """Return the names in the directory `name` below `root`. Returns none if it is not a directory, or a link."""
    try:
        descriptor = _open_directory(root, name)
    except OSError:
        return []
    try:
        return sorted(os.listdir(descriptor))  # noqa: PTH208  # a path could lead elsewhere by now
    finally:
        os.close(descriptor)


def copy_file(root: Path, name: str, target: Path, max_bytes: int) -> int:
    """Copy the file `name` below `root`. Returns its size in bytes. Raises OSError if it is not a plain file."""
    with _open_inside(root, name) as descriptor, os.fdopen(descriptor, "rb") as source, target.open("xb") as copy:
        size = os.fstat(source.fileno()).st_size
        if size > max_bytes:
            raise OSError(f"{name} is larger than {max_bytes} bytes")
        shutil.copyfileobj(source, copy)
        return size


def make_plain(root: Path) -> None:
    """Make a working tree safe for git, which opens some of its files and directories before it looks at their types.

    Removes pipes, sockets and devices, which would block git, and every `.git` below the top: git would read the
    configuration in there. The files of such a nested repository stay. Raises OSError if a path is too long.
    """
    if not stat.S_ISDIR(root.lstat().st_mode):
        raise NotADirectoryError(f"{root.name} is not a directory any more")
    pending = [root]
    while pending:
        directory = pending.pop()
        for entry in _scan(directory):
            path = Path(entry.path)
            if entry.name == _GIT:
                if directory != root:
                    remove_tree(path) if entry.is_dir(follow_symlinks=False) else path.unlink()
            elif entry.is_dir(follow_symlinks=False):
                pending.append(path)
            elif not entry.is_symlink() and not entry.is_file(follow_symlinks=False):
                path.unlink()


def _scan(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except PermissionError:
        directory.chmod(0o700)
        with os.scandir(directory) as entries:
            return list(entries)


@contextmanager
def _open_inside(root: Path, name: str) -> Iterator[int]:
    """Open a regular file. The caller closes the descriptor. Raises OSError."""
    parent, _, last = name.rpartition("/")
    directory = _open_directory(root, parent)
    try:
        descriptor = os.open(last, _OPEN_FILE, dir_fd=directory)
    finally:
        os.close(directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{name} is not a regular file")
    yield descriptor


def _open_directory(root: Path, name: str) -> int:
    """Open a directory below `root`, one part of the path after the other, so that no link is followed."""
    descriptor = os.open(root, _OPEN_DIRECTORY)
    for part in [part for part in name.split("/") if part]:
        try:
            if part == "..":
                raise OSError(f"{name} leads out of the directory")
            below = os.open(part, _OPEN_DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor
