"""The packages that the functions need besides our code: those of requirements.lock, as wheels for their processor.

pip compares every file with its hash in the lock. The packages are installed once, into a directory below
.cache/package/ whose name is a hash of what it holds, and later builds use that directory.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from infra.deploy.deploy_error import DeployError

LOCK = "requirements.lock"
CACHE = Path(".cache") / "package"
PLATFORMS = {
    "arm64": ("manylinux2014_aarch64", "manylinux_2_17_aarch64"),
    "x86_64": ("manylinux2014_x86_64", "manylinux_2_17_x86_64"),
}
"""The platforms whose wheels run in Lambda, by Lambda's name of the processor. No runtime has a glibc before 2.17."""

_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)(?:\[\S*\])?==.*?(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
"""A package in a lock: its name and version, then its hashes and what needs it, on indented lines."""

_NEEDED_BY = re.compile(r"^ +(?:# via|#  ) (\S+)$", re.MULTILINE)


def required(project: Path) -> str:
    """The lock of the functions: every package with its version and its hashes."""
    return (project / LOCK).read_text(encoding="utf-8")


def selected(lock: str, *names: str) -> str:
    """The part of a lock with these packages and all that they depend on. Raises ValueError if the lock lacks one."""
    entries = [(found[1], found[0], set(_NEEDED_BY.findall(found[0]))) for found in _ENTRY.finditer(lock)]
    if missing := set(names) - {name for name, _, _ in entries}:
        raise ValueError(f"The lock does not have {', '.join(sorted(missing))}.")
    wanted: set[str] = set()
    more = set(names)
    while more:
        wanted |= more
        more = {name for name, _, needed_by in entries if needed_by & wanted} - wanted
    return "".join(text for name, text, _ in entries if name in wanted)


def installed(project: Path, lock: str, architecture: str) -> Path:
    """A directory with the packages of a lock, as their wheels have them. Raises DeployError if pip fails."""
    return cached(project, f"{architecture} {lock}", lambda target: _install(lock, architecture, target))


def cached(project: Path, content: str, make: Callable[[Path], None]) -> Path:
    """The cached directory for `content`, which `make` fills if it does not exist yet. It is complete or absent."""
    key = hashlib.sha256(f"{sys.version_info[:2]} {content}".encode()).hexdigest()[:24]
    target = project / CACHE / key
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        fresh = Path(directory) / "fresh"
        make(fresh)
        try:
            fresh.rename(target)
        except OSError:  # another process was quicker
            if not target.exists():
                raise
    return target


def _install(lock: str, architecture: str, target: Path) -> None:
    requirements = target.with_name("requirements.txt")
    requirements.write_text(lock, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--target", str(target), "--require-hashes", "--requirement", str(requirements)]
    command += ["--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", f"{sys.version_info.major}.{sys.version_info.minor}"]
    for platform in PLATFORMS[architecture]:
        command += ["--platform", platform]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own pip
    if done.returncode:
        raise DeployError(f"pip cannot install the packages for {architecture}:\n{done.stderr.strip()}")
