"""Fixtures with real processes: `python -m infra.local`, which tests call only over HTTP."""

import fcntl
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import ClassVar

import pytest

from infra.local.gateway import Response
from tests.support import environment
from tests.support.client import Client, Http

ROOT = Path(__file__).parents[2]
START_SECONDS = 60
_URL = re.compile(r"DevFlow runs at (http://\S+)")


class Platform:
    """One local stage on a free port, without rate limits.

    Rate limits would make tests depend on the speed of the machine. `DEVFLOW_RATE_LIMITS="1"` enables them, as for
    users.
    """

    program: ClassVar = ["-m", "infra.local"]

    def __init__(self, log: Path, **env: str) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *self.program],
                cwd=ROOT,
                env=environment.outside() | {"PORT": "0", "DEVFLOW_RATE_LIMITS": "0"} | env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.url = self._ready()
        """The URL of the stage, without a trailing slash."""
        self._http = Http(self.url)
        self.client = Client(self._http)
        """A client without a token. `platform.client.login()` returns a client of the predefined user."""

    @property
    def output(self) -> str:
        """The output of the process so far: banner and log."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def advance(self, seconds: float) -> Response:
        """Move the clock of the stage. Everything that is due by then has happened when this returns."""
        with closing(Http(self.url, timeout=300)) as http:
            response = Client(http).post("/local/clock", {"advanceSeconds": seconds})
        assert response.status == 200, response
        return response

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """End the process if it still runs, and wait for it. Returns its exit status."""
        if hasattr(self, "_http"):
            self._http.close_all()
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def _ready(self) -> str:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            if found := _URL.search(self.output):
                with closing(Http(found[1])) as http:
                    if Client(http).get("/health").status == 200:
                        return found[1]
            time.sleep(0.05)
        status = self.process.poll()
        self.stop(signal.SIGKILL)
        raise AssertionError(f"the local stage did not get ready (status {status}):\n{self.output}")


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A local stage that all tests of the session share. Tests must use unique ids, and may move its clock forward."""
    started = Platform(tmp_path_factory.mktemp("platform") / "log")
    yield started
    started.stop()


@pytest.fixture
def fresh_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Platform]]:
    """A function that starts a local stage for one test: `fresh_platform(DEVFLOW_RATE_LIMITS="1")`."""
    with ExitStack() as stack:

        def start(**env: str) -> Platform:
            started = Platform(tmp_path_factory.mktemp("platform") / "log", **env)
            stack.callback(started.stop)
            return started

        yield start


SOURCES = Path(__file__).parent / "js"
INSTALL_SECONDS = 40
NO_NETWORK = (
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ENETUNREACH",
    "ENOTFOUND",
    "ETIMEDOUT",
    "ENOTCACHED",
    "network",
)


@pytest.fixture(scope="session")
def node_home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory from which Node can import the packages of js/package.json.

    The pinned versions are installed once, into pytest's cache.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    has_cache = request.config.pluginmanager.hasplugin("cacheprovider")
    home = request.config.cache.mkdir("devflow-node") if has_cache else tmp_path_factory.mktemp("node")
    with (home / "lock").open("w") as lock:  # several processes may run tests at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(home)
    return Path(home)


def _install(home: Path) -> None:
    lock, installed = SOURCES / "package-lock.json", home / "package-lock.json"
    if (home / "node_modules").is_dir() and installed.is_file() and installed.read_bytes() == lock.read_bytes():
        return
    shutil.copy(SOURCES / "package.json", home)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=15000"]
    shutil.copy(lock, home)
    try:
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        installed.unlink()
        pytest.skip(f"npm could not install the packages within {INSTALL_SECONDS} s")
    if done.returncode != 0:
        installed.unlink()
        if any(text in done.stderr for text in NO_NETWORK):
            pytest.skip(f"npm cannot install the packages, probably because there is no network: {done.stderr[-300:]}")
        pytest.fail(f"npm ci failed:\n{done.stderr}")
