"""Finds the files that a program consists of, so that a sandbox can show them: links, interpreters and libraries."""

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SYSTEM_DIRECTORIES = tuple(
    Path(name) for name in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store")
)
"""Where the system has programs and libraries. Every user may read them."""
_ENV = "/usr/bin/env"
_MAX_FILES = 50


@dataclass
class ProgramPaths:
    """What a program needs besides the system's directories."""

    paths: list[Path] = field(default_factory=list)
    """Files and directories."""
    links: dict[Path, str] = field(default_factory=dict)
    """Links, and what is written in them."""


def find_program_paths(argv: Sequence[str], programs: Iterable[Path], keep_out: Sequence[Path]) -> ProgramPaths:
    """Find what the command line `argv` and more `programs` need.

    A program in PREFIX/bin needs PREFIX if that has libraries, like a virtual environment. A program in node_modules
    needs this directory. A link needs its target, and a script its interpreter. Absolute paths of files among the
    arguments are needed too: the operator has named them. No directory is returned that contains one of `keep_out`.
    """
    found, pending = ProgramPaths(), list(programs)
    if program := shutil.which(argv[0]):
        pending.append(Path(program))
    for word in argv[1:]:
        if word.startswith("/") and Path(word).is_file() and not _is_of_system(Path(word)):
            found.paths.append(Path(word))
    seen: set[Path] = set()
    while pending and len(seen) < _MAX_FILES:
        path = Path(os.path.abspath(pending.pop()))  # noqa: PTH100  # it removes `..` and keeps links
        if path in seen or _is_of_system(path):
            continue
        seen.add(path)
        root = _find_root(path, keep_out)
        if path.is_symlink():
            target = os.readlink(path)  # noqa: PTH115  # as it is written
            pending.append(path.parent / target)
            if root == path:
                found.links[path] = target
                continue
        elif interpreter := _find_interpreter(path):
            pending.append(interpreter)
        if root not in found.paths:
            found.paths.append(root)
    return found


def _find_root(path: Path, keep_out: Sequence[Path]) -> Path:
    """Return the directory that the program at `path` belongs to, or the path itself."""
    candidate = path
    if "node_modules" in path.parts:
        candidate = Path(*path.parts[: path.parts.index("node_modules") + 1])
    elif path.is_dir():
        return path
    elif path.parent.name == "bin" and any((path.parent.parent / name).exists() for name in ("lib", "pyvenv.cfg")):
        candidate = path.parent.parent
    return path if any(kept.is_relative_to(candidate) for kept in keep_out) else candidate


def _find_interpreter(path: Path) -> Path | None:
    try:
        with path.open("rb") as file:
            first = file.readline(256)
    except OSError:
        return None
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    if not words:
        return None
    if words[0] == _ENV:
        name = next((word for word in words[1:] if not word.startswith("-")), "")
        found = shutil.which(name)
        return Path(found) if found else None
    return Path(words[0])


def _is_of_system(path: Path) -> bool:
    return any(path.is_relative_to(directory) for directory in SYSTEM_DIRECTORIES)
