"""The deployment package: one zip, which every function runs, built for a fast start.

    dependencies.py   the packages besides our code, from requirements.lock
    trim.py           the part of those packages that goes to Lambda
    package.py        our code and the runtime modules of Chalice (the same ones that Chalice's own packager adds)

All code is compiled with unchecked hashes. Lambda's file system is read-only, and a zip does not keep the times that
Python's usual check compares. Without unchecked hashes every cold start would compile everything.

The package is written to the path where `chalice deploy` looks for an existing package of this code before it builds
one, so Chalice uploads it unchanged. The same code gives the same bytes: a second deployment changes nothing.
"""

import compileall
import hashlib
import py_compile
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import chalice
from chalice.deploy.packager import DependencyBuilder, LambdaDeploymentPackager
from chalice.utils import UI, OSUtils

from infra.deploy import dependencies, trim
from infra.deploy.deploy_error import DeployError

_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(project: Path, architecture: str) -> Path:
    """The package of the code in `project`, built unless it exists. Raises DeployError if pip fails."""
    _forget_bytecode(project)
    package = _expected_by_chalice(project, architecture)
    recipe = f"devflow {_recipe(project, architecture)}".encode()
    if package.exists() and _comment(package) == recipe:
        return package
    package.parent.mkdir(parents=True, exist_ok=True)
    for old in package.parent.glob(f"*{package.name[32:]}"):  # packages of earlier code, for the same processor
        old.unlink()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        add_application(project, root)
        compile_all(root)
        write_zip([prepared(project, architecture), root], package, recipe)
    return package


def prepared(project: Path, architecture: str) -> Path:
    """The dependencies, trimmed and compiled."""
    installed = dependencies.installed(project, dependencies.required(project), architecture)

    def make(target: Path) -> None:
        shutil.copytree(installed, target)
        trim.trim(target, named_services(project))
        compile_all(target, sources=False)

    return dependencies.cached(project, f"prepared {_recipe(project, architecture)}", make)


def named_services(project: Path) -> set[str]:
    """The services that the code creates clients of, by botocore's names (PynamoDB creates the client of DynamoDB)."""
    sources = [project / "app.py", *sorted((project / "chalicelib").rglob("*.py"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    return set(re.findall(r"""client\(\s*["']([a-z0-9-]+)["']""", text)) | {"dynamodb"}


def _recipe(project: Path, architecture: str) -> str:
    """A hash of everything besides our code that a package depends on."""
    here = Path(__file__).parent
    builder = b"".join((here / name).read_bytes() for name in ("dependencies.py", "package.py", "trim.py"))
    lock, services = dependencies.required(project), sorted(named_services(project))
    return hashlib.sha256(builder + repr((lock, chalice.__version__, services, architecture)).encode()).hexdigest()


def _forget_bytecode(project: Path) -> None:
    """Chalice derives a package's name from every file in chalicelib, so cached bytecode would change it."""
    sys.dont_write_bytecode = True
    for cache in (project / "chalicelib").rglob("__pycache__"):
        shutil.rmtree(cache, ignore_errors=True)


def _expected_by_chalice(project: Path, architecture: str) -> Path:
    """The path where Chalice looks for an existing package before it builds one."""
    utilities = OSUtils()
    builder = DependencyBuilder(utilities, architecture=architecture)
    packager = LambdaDeploymentPackager(utilities, builder, UI(), architecture)
    return Path(packager.deployment_package_filename(str(project), f"python3.{sys.version_info.minor}"))


def _comment(package: Path) -> bytes:
    """The comment that its builder stored in it; Chalice stores none."""
    try:
        with zipfile.ZipFile(package) as opened:
            return opened.comment
    except zipfile.BadZipFile:  # it was cut short
        return b""


def add_application(project: Path, root: Path) -> None:
    """Add app.py, chalicelib, and the runtime modules of Chalice."""
    shutil.copy(project / "app.py", root / "app.py")
    shutil.copytree(project / "chalicelib", root / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    runtime = root / "chalice"
    runtime.mkdir()
    for name in ("__init__.py", "app.py"):
        shutil.copy(Path(chalice.__file__).parent / name, runtime / name)


def compile_all(root: Path, *, sources: bool = True) -> None:
    """Compile every module; tracebacks name files by their paths in a function. Raises DeployError for invalid code.

    Without `sources` the bytecode replaces the source files: there is a quarter less to unpack, and each import looks
    for one file less. A traceback then has only the line number of a library's code, without the line itself.
    """
    complaints = StringIO()
    with redirect_stdout(complaints):
        fine = compileall.compile_dir(
            root,
            quiet=1,
            stripdir=str(root),
            prependdir="/var/task",
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            legacy=not sources,
        )
    if not fine:
        raise DeployError(f"The code cannot be compiled:\n{complaints.getvalue()}")
    for source in [] if sources else list(root.rglob("*.py")):
        source.unlink()


def write_zip(roots: list[Path], package: Path, comment: bytes = b"") -> None:
    """Write directories into one zip, whose bytes depend only on the files."""
    unfinished = package.with_suffix(".unfinished")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as opened:
        opened.comment = comment
        for name, path in sorted(entry for root in roots for entry in _files(root)):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            opened.writestr(entry, path.read_bytes())
    unfinished.replace(package)


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    return ((path.relative_to(root).as_posix(), path) for path in root.rglob("*") if path.is_file())
