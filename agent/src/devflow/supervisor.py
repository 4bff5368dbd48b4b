"""Runs one program and outlives neither it nor the agent: started by devflow.program, as a process of its own.

    python guard.py FD GRACE PROGRAM ARGUMENT...

It leads a session and process group of its own, in which the program runs. FD is a socket to the agent. When the
program has ended, its exit status (or minus the signal) is written there, and whatever it left running in the group is
killed. When the agent goes away, however suddenly, the socket ends: then the group is asked to end (TERM), and GRACE
seconds later killed. So nothing works on in a repository whose task was given to somebody else.

Imports little and nothing of devflow: it has to start quickly.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time


def main() -> None:
    number, grace, *command = sys.argv[1:]
    agent = socket.socket(fileno=int(number))
    # A handler and not SIG_IGN, which the program would inherit: TERM is for the program, and KILL for all.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        program = subprocess.Popen(command)
    except OSError as error:
        agent.sendall(f"{command[0]}: {error.strerror}".encode())
        return
    threading.Thread(target=_watch, args=(agent, float(grace)), daemon=True).start()
    agent.sendall(f"{program.wait()}".encode())
    os.killpg(0, signal.SIGKILL)


def _watch(agent: socket.socket, grace: float) -> None:
    while agent.recv(1):  # nothing is ever sent: this waits for the end
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(grace)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
