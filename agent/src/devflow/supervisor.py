"""Supervises one program and kills it when the agent ends. devflow.program starts it as a process of its own.

    python supervisor.py FD GRACE PROGRAM ARGUMENT...

It leads a new session and process group, in which the program runs. FD is a socket to the agent.

When the program ends, the supervisor writes the exit status (or minus the signal) to the socket, and kills every
process that is left in the group. When the agent ends, even if it is killed, the socket closes. The supervisor then
sends SIGTERM to the group, and SIGKILL after GRACE seconds. So no program keeps working on a task that the platform has
given to another agent.

It imports few modules, and none of devflow, because it has to start quickly.
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
    # A handler instead of SIG_IGN, which the program would inherit. SIGTERM must end the program, but not this process.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        program = subprocess.Popen(command)
    except OSError as error:
        agent.sendall(f"{command[0]}: {error.strerror}".encode())
        return
    threading.Thread(target=_watch_agent, args=(agent, float(grace)), daemon=True).start()
    agent.sendall(f"{program.wait()}".encode())
    os.killpg(0, signal.SIGKILL)


def _watch_agent(agent: socket.socket, grace: float) -> None:
    while agent.recv(1):  # the agent never sends anything: this waits until the socket closes
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(grace)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
