"""The deployment package: the one zip that every function runs, built to start fast.

    dependencies   exactly the versions that the tests ran with, for the functions' processor; no `chalice` beyond what
                   runs in a function (as Chalice's own packager does it)
    trimmed        see trim.py
    compiled       with unchecked hashes, since Lambda's file system is read-only and zip loses the times that
                   Python's usual check compares: without this every cold start compiles everything anew

The result stands where `chalice deploy` looks for the package of this very code before it builds one, so Chalice
uploads it as it is. The same code gives the same bytes: deploying it again changes nothing.
"""

import compileall
import hashlib
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import metadata
from io import StringIO
from pathlib import Path

import chalice
from chalice.deploy.packager import DependencyBuilder, LambdaDeploymentPackager
from chalice.utils import UI, OSUtils

from infra.deploy import trim
from infra.deploy.problems import Problem

CACHE = Path(".cache") / "package"
PLATFORMS = {
    "arm64": ("manylinux2014_aarch64", "manylinux_2_17_aarch64"),
    "x86_64": ("manylinux2014_x86_64", "manylinux_2_17_x86_64"),
}
"""Of which wheels run in Lambda, by what Lambda calls its processors. glibc 2.17 is the oldest that any runtime has."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_RECIPE = "devflow package 1"
"""In the comment of every zip built here; one that Chalice built has none."""


def build(project: Path, architecture: str) -> Path:
    """The package of the code in `project`, built unless it is there. Raises Problem where dependencies are missing."""
    _forget_bytecode(project)
    package = _expected_by_chalice(project, architecture)
    recipe = _recipe()
    if package.exists() and _comment(package) == recipe:
        return package
    package.parent.mkdir(parents=True, exist_ok=True)
    for old in package.parent.glob(f"*{package.name[32:]}"):  # those of earlier code, for the same processor
        old.unlink()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "package"
        shutil.copytree(dependencies(project, architecture), root)
        trim.trim(root, named_services(project))
        _add_application(project, root)
        compile_all(root)
        write_zip(root, package, recipe)
    return package


def dependencies(project: Path, architecture: str) -> Path:
    """A directory with what requirements.txt names (but for chalice) and all that it needs, as the wheels have it."""
    wanted = [line for line in _requirements(project) if not line.startswith("chalice==")]
    return installed(project, wanted, architecture)


def installed(project: Path, wanted: list[str], architecture: str) -> Path:
    """A directory with these requirements, for this version of Python and a processor; kept for the next time."""
    pins = _installed_versions()
    key = hashlib.sha256(repr((wanted, pins, sys.version_info[:2], architecture)).encode()).hexdigest()[:16]
    target = project / CACHE / f"{architecture}-{key}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        fresh = Path(directory) / "dependencies"
        _pip_install(wanted, pins, architecture, fresh)
        try:
            fresh.rename(target)
        except OSError:  # another process was quicker
            if not target.exists():
                raise
    return target


def _pip_install(wanted: list[str], pins: list[str], architecture: str, target: Path) -> None:
    constraints = target.with_suffix(".constraints")
    constraints.write_text("\n".join(pins), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--target", str(target), "--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", f"{sys.version_info.major}.{sys.version_info.minor}"]
    for platform in PLATFORMS[architecture]:
        command += ["--platform", platform]
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [*command, "--constraint", str(constraints), *wanted], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Problem(f"The dependencies cannot be installed for {architecture}:\n{done.stderr.strip()}")


def _requirements(project: Path) -> list[str]:
    lines = (project / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in (line.partition("#")[0].strip() for line in lines) if line]


def _installed_versions() -> list[str]:
    """What is installed here, as constraints: the package gets the versions that the tests ran with."""
    return sorted(f"{found.metadata['Name']}=={found.version}" for found in metadata.distributions())


def _forget_bytecode(project: Path) -> None:
    """Chalice's name for a package depends on every file in chalicelib, so on caches of bytecode as well."""
    sys.dont_write_bytecode = True
    for cache in (project / "chalicelib").rglob("__pycache__"):
        shutil.rmtree(cache, ignore_errors=True)


def _expected_by_chalice(project: Path, architecture: str) -> Path:
    """Where Chalice looks for a package that is built already, before it builds one."""
    utilities = OSUtils()
    builder = DependencyBuilder(utilities, architecture=architecture)
    packager = LambdaDeploymentPackager(utilities, builder, UI(), architecture)
    with redirect_stdout(StringIO()):
        name = packager.deployment_package_filename(str(project), f"python3.{sys.version_info.minor}")
    return Path(name)


def _recipe() -> bytes:
    """What a package depends on beyond what Chalice's name for it says: how it is built, and the versions."""
    here = Path(__file__).parent
    content = b"".join((here / name).read_bytes() for name in ("package.py", "trim.py"))
    versions = "\n".join(_installed_versions()) + sys.version
    return f"{_RECIPE} {hashlib.sha256(content + versions.encode()).hexdigest()[:16]}".encode()


def _comment(package: Path) -> bytes:
    try:
        with zipfile.ZipFile(package) as opened:
            return opened.comment
    except zipfile.BadZipFile:  # it was cut short
        return b""


def _add_application(project: Path, root: Path) -> None:
    """app.py and chalicelib, and of Chalice what runs in a function."""
    shutil.copy(project / "app.py", root / "app.py")
    shutil.copytree(project / "chalicelib", root / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    runtime = root / "chalice"
    runtime.mkdir()
    for name in ("__init__.py", "app.py"):
        shutil.copy(Path(chalice.__file__).parent / name, runtime / name)


def compile_all(root: Path) -> None:
    """Compile every module; tracebacks will name the files as they lie in a function. Raises Problem for bad code."""
    complaints = StringIO()
    with redirect_stdout(complaints):
        fine = compileall.compile_dir(
            root,
            quiet=1,
            stripdir=str(root),
            prependdir="/var/task",
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    if not fine:
        raise Problem(f"The code cannot be compiled:\n{complaints.getvalue()}")


def write_zip(root: Path, package: Path, comment: bytes = b"") -> None:
    """Write a directory as a zip whose bytes depend on nothing but its files."""
    unfinished = package.with_suffix(".unfinished")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as opened:
        opened.comment = comment
        for path in sorted(_files(root)):
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            opened.writestr(entry, path.read_bytes())
    unfinished.replace(package)


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())


def named_services(project: Path) -> set[str]:
    """The services that the code makes clients for, by botocore's names."""
    sources = [project / "app.py", *(project / "chalicelib").rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    return set(re.findall(r"""client\(\s*["']([a-z0-9-]+)["']""", text)) | {"dynamodb"}
