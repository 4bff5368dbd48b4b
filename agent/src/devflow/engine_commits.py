"""Takes over the commits that an engine has made in its clone, as data.

No git process reads a git directory that the engine can write. Its configuration, its `commondir`, its alternates and
its hooks would decide what that process does. So the agent reads HEAD itself, copies the objects into a quarantine (a
git directory that the agent makes), and fetches from there. The fetch checks every object and that none is missing.
"""

import re
from pathlib import Path

from devflow.errors import TaskFailedError
from devflow.git import Git
from devflow.private_files import make_private_directory, remove_tree
from devflow.untrusted_files import copy_file, list_directory, read_file

ENGINE_REF = "refs/devflow/engine"
_RESULT_REF = "refs/heads/result"
_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(r"refs/[^\x00-\x20\x7f~^:?*\[\\]+")
_LOOSE_DIRECTORY = re.compile(r"[0-9a-f]{2}")
_LOOSE_OBJECT = re.compile(r"[0-9a-f]{38}|[0-9a-f]{62}")
_PACK = re.compile(r"pack-[0-9a-f]{40,64}\.pack")
_MAX_REF_BYTES, _MAX_PACKED_REFS_BYTES = 4_096, 64 * 1024 * 1024
_MAX_FILES = 200_000
_MAX_BYTES = 4 * 1024**3
_MAX_SYMBOLIC_REFS = 5


def read_head(clone: Path) -> str | None:
    """Return the commit that is checked out in the clone. Returns None if its `.git` does not say."""
    ref = "HEAD"
    for _ in range(_MAX_SYMBOLIC_REFS):
        text = (read_file(clone, f".git/{ref}", _MAX_REF_BYTES) or b"").decode(errors="replace").strip()
        if not text and ref != "HEAD":
            text = _find_packed(clone, ref)
        if _OBJECT_ID.fullmatch(text):
            return text
        ref = text.removeprefix("ref:").strip()
        if not _REF.fullmatch(ref) or ".." in ref:
            return None
    return None


def import_commits(clone: Path, head: str, git: Git, quarantine: Path) -> None:
    """Bring the commit `head` of the clone, and what it builds on, into the agent's git directory.

    Raises TaskFailedError if the commits are incomplete or damaged, or have more than 4 GB of objects.
    """
    if git.succeeds("cat-file", "-e", f"{head}^{{commit}}"):
        return
    try:
        _fill_quarantine(clone, git, quarantine)
        inner = git.at(quarantine)
        inner.run("update-ref", _RESULT_REF, head)
        git.fetch_local(quarantine, f"{_RESULT_REF}:{ENGINE_REF}")
    except OSError as error:
        raise TaskFailedError("The engine's commits cannot be read", str(error)) from None
    except TaskFailedError as error:
        raise TaskFailedError("The engine's commits cannot be read", error.details) from None
    finally:
        remove_tree(quarantine)


def _fill_quarantine(clone: Path, git: Git, quarantine: Path) -> None:
    remove_tree(quarantine)
    make_private_directory(quarantine)
    inner = git.at(quarantine)
    object_format = git.run("rev-parse", "--show-object-format").strip()
    inner.run("init", "--quiet", "--bare", "--template=", f"--object-format={object_format}")
    objects, trusted = quarantine / "objects", git.git_directory
    (objects / "info").mkdir(exist_ok=True)
    (objects / "info" / "alternates").write_text(f"{trusted / 'objects'}\n", encoding="utf-8")
    if (trusted / "shallow").exists():
        (quarantine / "shallow").write_bytes((trusted / "shallow").read_bytes())
    budget, packs = _Budget(), []
    for directory in filter(_LOOSE_DIRECTORY.fullmatch, list_directory(clone, ".git/objects")):
        for name in filter(_LOOSE_OBJECT.fullmatch, list_directory(clone, f".git/objects/{directory}")):
            (objects / directory).mkdir(exist_ok=True)
            budget.copy(clone, f".git/objects/{directory}/{name}", objects / directory / name)
    (objects / "pack").mkdir(exist_ok=True)
    for name in filter(_PACK.fullmatch, list_directory(clone, ".git/objects/pack")):
        budget.copy(clone, f".git/objects/pack/{name}", objects / "pack" / name)
        packs.append(objects / "pack" / name)
    for pack in packs:  # the engine's own index could name objects that the pack does not contain
        inner.run("index-pack", str(pack))


class _Budget:
    """Limits how much is copied."""

    def __init__(self) -> None:
        self._files, self._bytes = _MAX_FILES, _MAX_BYTES

    def copy(self, clone: Path, name: str, target: Path) -> None:
        if self._files == 0:
            raise OSError(f"more than {_MAX_FILES} objects")
        self._files -= 1
        self._bytes -= copy_file(clone, name, target, self._bytes)


def _find_packed(clone: Path, ref: str) -> str:
    packed = (read_file(clone, ".git/packed-refs", _MAX_PACKED_REFS_BYTES) or b"").decode(errors="replace")
    for line in packed.splitlines():
        commit, _, name = line.partition(" ")
        if name == ref:
            return commit
    return ""
