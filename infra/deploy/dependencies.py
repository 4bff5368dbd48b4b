"""What the functions need besides our code: exactly the versions that the tests ran with, for the functions' processor.

Installed once into a directory below .cache/package/, whose name says what is in it, and kept for the next time.
"""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from infra.deploy.deploy_error import DeployError

CACHE = Path(".cache") / "package"
PLATFORMS = {
    "arm64": ("manylinux2014_aarch64", "manylinux_2_17_aarch64"),
    "x86_64": ("manylinux2014_x86_64", "manylinux_2_17_x86_64"),
}
"""Of which wheels run in Lambda, by what Lambda calls its processors. glibc 2.17 is the oldest that any runtime has."""


def required(project: Path) -> list[str]:
    """What requirements.txt names, but for Chalice, of which package.py takes what runs in a function."""
    lines = (project / "requirements.txt").read_text(encoding="utf-8").splitlines()
    named = [line for line in (line.partition("#")[0].strip() for line in lines) if line]
    return [requirement for requirement in named if not requirement.startswith("chalice==")]


def versions() -> list[str]:
    """What is installed here, as constraints for pip."""
    return sorted(f"{found.metadata['Name']}=={found.version}" for found in metadata.distributions())


def installed(project: Path, wanted: list[str], architecture: str) -> Path:
    """A directory with these requirements and all that they need, as their wheels have it."""
    pins = versions()
    return kept(project, f"{architecture} {wanted} {pins}", lambda target: _install(wanted, pins, architecture, target))


def kept(project: Path, content: str, make: Callable[[Path], None]) -> Path:
    """A directory in the cache that is known by `content`, made if it is not there; whole, or not there at all."""
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


def _install(wanted: list[str], pins: list[str], architecture: str, target: Path) -> None:
    constraints = target.with_name("constraints.txt")
    constraints.write_text("\n".join(pins), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--target", str(target), "--constraint", str(constraints)]
    command += ["--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", f"{sys.version_info.major}.{sys.version_info.minor}"]
    for platform in PLATFORMS[architecture]:
        command += ["--platform", platform]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)  # noqa: S603  # our own pip
    if done.returncode:
        raise DeployError(f"The dependencies cannot be installed for {architecture}:\n{done.stderr.strip()}")
