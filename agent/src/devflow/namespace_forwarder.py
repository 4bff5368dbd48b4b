"""Runs an engine in a network namespace, with the agent's proxy on its loopback. It runs inside the sandbox.

    python namespace_forwarder.py SOCKET PORT PROGRAM ARGUMENT...

Connections to 127.0.0.1:PORT are passed on to the Unix socket SOCKET, which devflow.egress_proxy serves. The exit
status is that of the program. It imports few modules, and none of devflow, because it has to start quickly.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress

_CHUNK = 65_536


def main() -> None:
    path, port, *command = sys.argv[1:]
    # A handler instead of SIG_IGN, which the program would inherit. SIGTERM must end the program only.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server = socket.create_server(("127.0.0.1", int(port)), backlog=128)
    threading.Thread(target=_accept, args=(server, path), daemon=True).start()
    try:
        status = subprocess.Popen(command).wait()
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201  # part of its output
        os._exit(1)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -status)
    os._exit(status)


def _accept(server: socket.socket, path: str) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:  # too many open files
            continue
        upstream = socket.socket(socket.AF_UNIX)
        try:
            upstream.connect(path)
        except OSError:
            client.close()
            upstream.close()
            continue
        for source, target in ((client, upstream), (upstream, client)):
            threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(_CHUNK):
            target.sendall(content)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
