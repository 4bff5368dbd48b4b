"""Stands in for the name service: what names lead to, answer by answer; and notes every attempt to connect."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

_real = socket.getaddrinfo

Answers = Sequence[Sequence[str] | Exception]
"""What a name leads to when it is asked for the first time, the second time, ...; the last answer stays."""


class Names:
    """The names that lead somewhere; all others, but for addresses and `localhost`, lead nowhere."""

    def __init__(self) -> None:
        self._answers: dict[str, list[Sequence[str] | Exception]] = {}
        self.asked: list[str] = []

    def set(self, name: str, *answers: Sequence[str] | Exception) -> None:
        self._answers[name] = list(answers)

    def getaddrinfo(self, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host not in self._answers:
            if host == "localhost" or host.replace(".", "").isdigit() or ":" in host:
                return _real(host, port, *args, **kwargs)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.asked.append(host)
        answers = self._answers[host]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return [entry for address in answer for entry in _real(address, port, *args, **kwargs)]


@contextmanager
def served(table: Mapping[str, Answers] | None = None) -> Iterator[Names]:
    """For the duration, this is the name service."""
    names = Names()
    for name, answers in (table or {}).items():
        names.set(name, *answers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", names.getaddrinfo)
        yield names


@contextmanager
def connections() -> Iterator[list[Any]]:
    """The addresses that this process tries to connect to within the block, in whatever thread."""
    attempts: list[Any] = []
    real: Any = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        attempts.append(address)
        real(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        yield attempts
