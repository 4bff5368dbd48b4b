"""What counts as memory and disk, also if an engine hides it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devflow.process_table import find_descendants
from devflow.resource_meter import Meter, TooDeepError, measure_directory, measure_unnamed_files

MEGABYTE = 1024**2
MUCH = 10**12


def test_small_files_count_as_much_as_a_block(tmp_path: Path) -> None:
    directory = tmp_path / "files"
    directory.mkdir()
    for number in range(100):
        (directory / str(number)).touch()
    assert measure_directory(str(directory), MUCH) == 100 * 4_096
    assert measure_directory(str(directory), 50_000) < 60_000, "it stops when there is too much"
    assert measure_directory(str(directory / "missing"), MUCH) == 0


def test_links_are_not_followed_and_sparse_files_count_what_they_use(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "big").write_bytes(b"x" * MEGABYTE)
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    with (tmp_path / "inside" / "sparse").open("wb") as file:
        file.truncate(MUCH)
    assert measure_directory(str(tmp_path / "inside"), MUCH) <= 4 * 4_096


def test_unreadable_directory_is_measured(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "big").write_bytes(b"x" * MEGABYTE)
    hidden.chmod(0)
    try:
        assert measure_directory(str(tmp_path), MUCH) >= MEGABYTE
    finally:
        hidden.chmod(0o700)


def test_directories_that_are_too_deep_cannot_be_measured(tmp_path: Path) -> None:
    code = "import os\nfor _ in range(450):\n    os.mkdir('directory'); os.chdir('directory')\n"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    with pytest.raises(TooDeepError):
        measure_directory(str(tmp_path), MUCH)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads Linux's /proc")
def test_open_files_without_a_name_count(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "memory = os.memfd_create('x'); os.write(memory, b'x' * 2**20); again = os.dup(memory)\n"
        "file = open('deleted', 'wb'); os.unlink('deleted'); file.write(b'x' * 2**21); file.flush(); os.fsync(file)\n"
        "print('ready', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        own = [entry for entry in find_descendants() if entry.pid == process.pid]
        in_memory, on_disk = measure_unnamed_files(own)
        assert process.stdin is not None
        process.stdin.close()
    assert (in_memory, on_disk) == (MEGABYTE, 2 * MEGABYTE)


def test_disk_is_measured_at_once_if_the_file_system_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Usually, measuring again waits for twenty times as long as measuring took."""
    free = [100 * MEGABYTE]
    monkeypatch.setattr("devflow.resource_meter.find_free_space", lambda _: tuple(free))
    meter = Meter({"disk": 10 * MEGABYTE}, [str(tmp_path)])

    def measure() -> str:
        meter.next_at = 0.0
        return meter.find_exceeded_limit()

    assert measure() == ""
    meter._disk_at = float("inf")
    (tmp_path / "big").write_bytes(os.urandom(11 * MEGABYTE))
    assert measure() == ""
    free[0] -= 11 * MEGABYTE
    assert "for disk was exceeded" in measure()
