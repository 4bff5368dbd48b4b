"""The reference agent, whose task waits at gates: files that a test creates when the agent may continue.

It is a separate process that calls the platform as examples/agent.py does. Only its work between reports is replaced.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))
from examples import agent  # found by the line above

GATES = Path(os.environ["GATES"])
POLL = 0.1


class Gated(agent.Agent):
    def poll(self, limit: int) -> float:
        return min(super().poll(limit), POLL)

    def walk_through(self, command: agent.Json) -> tuple[str, agent.Json]:
        written = 0
        for step, done, gate in (
            ("Reading the code", 0.2, "started"),
            ("Running tests", 0.65, "half"),
            ("Pushing", 0.9, "done"),
        ):
            line = f"\x1b[32m{step}\x1b[0m <b>now</b>\n"
            self.request(
                "POST",
                f"/api/tasks/{command['task_id']}/logs",
                {"data": line, "offset": written, "attempt": command["attempt"]},
            )
            written += len(line.encode())
            while not (GATES / gate).exists():
                if self.progress(command, step, done):
                    return "fail", {"error": "Cancelled"}
                time.sleep(POLL)
        result: dict[str, Any] = {"success": True, "summary": "Fixed the null pointer", "output": "2 files changed"}
        result["prUrl"] = "https://github.com/user/repo/pull/456"
        return "complete", result


agent.Agent = Gated  # type: ignore[misc]  # its main() creates this class
sys.exit(agent.main())
