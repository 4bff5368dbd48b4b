"""The deployment package: the one zip that every function runs, built to start fast.

    dependencies.py   what it needs besides our code
    trim.py           what of that goes to Lambda
    here              our code, and of Chalice what runs in a function (as Chalice's own packager has it); all of it
                      compiled with unchecked hashes, since Lambda's file system is read-only, and a zip loses the times
                      that Python's usual check compares: without this every cold start compiles everything anew

The result stands where `chalice deploy` looks for the package of this very code before it builds one, so Chalice
uploads it as it is. The same code gives the same bytes: deploying it again changes nothing.
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
    """The package of the code in `project`, built unless it exists. Raises DeployError if dependencies are missing."""
    _forget_bytecode(project)
    package = _expected_by_chalice(project, architecture)
    recipe = f"devflow {_recipe(project, architecture)}".encode()
    if package.exists() and _comment(package) == recipe:
        return package
    package.parent.mkdir(parents=True, exist_ok=True)
    for old in package.parent.glob(f"*{package.name[32:]}"):  # those of earlier code, for the same processor
        old.unlink()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        add_application(project, root)
        compile_all(root)
        write_zip([prepared(project, architecture), root], package, recipe)
    return package


def prepared(project: Path, architecture: str) -> Path:
    """The dependencies, trimmed and compiled."""
    laid_down = dependencies.installed(project, dependencies.required(project), architecture)

    def make(target: Path) -> None:
        shutil.copytree(laid_down, target)
        trim.trim(target, named_services(project))
        compile_all(target, sources=False)

    return dependencies.kept(project, f"prepared {_recipe(project, architecture)}", make)


def named_services(project: Path) -> set[str]:
    """The services that the code makes clients for, by botocore's names (DynamoDB's is made by PynamoDB)."""
    sources = [project / "app.py", *sorted((project / "chalicelib").rglob("*.py"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    return set(re.findall(r"""client\(\s*["']([a-z0-9-]+)["']""", text)) | {"dynamodb"}


def _recipe(project: Path, architecture: str) -> str:
    """Of what a package is made besides our code, and how."""
    here = Path(__file__).parent
    how = b"".join((here / name).read_bytes() for name in ("dependencies.py", "package.py", "trim.py"))
    what = repr(
        (dependencies.required(project), dependencies.versions(), sorted(named_services(project)), architecture)
    )
    return hashlib.sha256(how + what.encode()).hexdigest()


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
    return Path(packager.deployment_package_filename(str(project), f"python3.{sys.version_info.minor}"))


def _comment(package: Path) -> bytes:
    """What its builder noted in it; Chalice notes nothing."""
    try:
        with zipfile.ZipFile(package) as opened:
            return opened.comment
    except zipfile.BadZipFile:  # it was cut short
        return b""


def add_application(project: Path, root: Path) -> None:
    """app.py and chalicelib, and of Chalice what runs in a function."""
    shutil.copy(project / "app.py", root / "app.py")
    shutil.copytree(project / "chalicelib", root / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    runtime = root / "chalice"
    runtime.mkdir()
    for name in ("__init__.py", "app.py"):
        shutil.copy(Path(chalice.__file__).parent / name, runtime / name)


def compile_all(root: Path, *, sources: bool = True) -> None:
    """Compile every module; tracebacks will name the files as they lie in a function. Raises DeployError for bad code.

    Without `sources` the bytecode stands in their place: a quarter less to unpack, and a look less for each import. Of
    a library's line a traceback then tells the number alone; our own lines it shows.
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
    """Write directories into one zip, whose bytes depend on nothing but the files."""
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
