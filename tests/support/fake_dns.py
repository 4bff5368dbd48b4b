"""A fake name service with scripted results, and a recorder of connection attempts."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

_real = socket.getaddrinfo

Results = Sequence[Sequence[str] | Exception]
"""The addresses or the error of the first lookup of a name, the second lookup, ... The last one repeats."""


class FakeDns:
    """The names that can be resolved. All others fail, except addresses and `localhost`."""

    def __init__(self) -> None:
        self._results: dict[str, list[Sequence[str] | Exception]] = {}
        self.lookups: list[str] = []

    def set(self, name: str, *results: Sequence[str] | Exception) -> None:
        self._results[name] = list(results)

    def getaddrinfo(self, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host not in self._results:
            if host == "localhost" or host.replace(".", "").isdigit() or ":" in host:
                return _real(host, port, *args, **kwargs)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.lookups.append(host)
        results = self._results[host]
        result = results.pop(0) if len(results) > 1 else results[0]
        if isinstance(result, Exception):
            raise result
        return [entry for address in result for entry in _real(address, port, *args, **kwargs)]


@contextmanager
def resolving(table: Mapping[str, Results] | None = None) -> Iterator[FakeDns]:
    """Replace the name service of this process during the block."""
    names = FakeDns()
    for name, results in (table or {}).items():
        names.set(name, *results)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", names.getaddrinfo)
        yield names


@contextmanager
def connection_attempts() -> Iterator[list[Any]]:
    """Record the addresses that any thread of this process tries to connect to during the block."""
    attempts: list[Any] = []
    real: Any = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        attempts.append(address)
        real(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        yield attempts
