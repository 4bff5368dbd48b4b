"""A fake Copilot CLI. It uses the SDK's protocol: JSON-RPC with Content-Length on the standard streams.

The description of a task selects what the fake does (`do: NAME`). It writes what happens to the file STANDIN_NOTES.
"""

import json
import os
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

Json = dict[str, Any]
SESSION: Json = {}
DECISIONS: dict[str, Json] = {}
DECIDED = threading.Condition()
WRITING = threading.Lock()


def read() -> Json | None:
    length = 0
    while (line := sys.stdin.buffer.readline()).strip():
        name, _, value = line.decode().partition(":")
        length = int(value) if name.lower() == "content-length" else length
    return dict(json.loads(sys.stdin.buffer.read(length))) if length else None


def write(message: Json) -> None:
    content = json.dumps({"jsonrpc": "2.0"} | message).encode()
    with WRITING:
        sys.stdout.buffer.write(b"Content-Length: %d\r\n\r\n" % len(content) + content)
        sys.stdout.buffer.flush()


def event(kind: str, data: Json, **more: Any) -> None:
    event = {"id": str(uuid.uuid4()), "timestamp": "2025-01-24T00:00:00.000Z", "parentId": None} | more
    params = {"sessionId": SESSION["sessionId"], "event": event | {"type": kind, "data": data}}
    write({"method": "session.event", "params": params})


def request_permission(permission: Json) -> Json:
    """Ask for a permission. Returns the decision."""
    number = str(uuid.uuid4())
    event("permission.requested", {"requestId": number, "permissionRequest": permission})
    with DECIDED:
        DECIDED.wait_for(lambda: number in DECISIONS, 60)
    note({"asked": permission["kind"], "decided": DECISIONS[number]["kind"]})
    return DECISIONS[number]


def write_file(name: str, content: str) -> None:
    request = {"kind": "write", "canOfferSessionApproval": False, "diff": "", "fileName": name, "intention": "Fix it"}
    if request_permission(request)["kind"] == "approve-once":
        Path(name).write_text(content, encoding="utf-8")


def run_shell(command: str) -> None:
    request: Json = {"kind": "shell", "fullCommandText": command, "intention": "Run it", "commands": []}
    request |= {
        "canOfferSessionApproval": False,
        "hasWriteFileRedirection": False,
        "possiblePaths": [],
        "possibleUrls": [],
    }
    if request_permission(request)["kind"] == "approve-once":
        os.system(command)  # noqa: S605  # the fake has asked for this command


def tool(name: str, arguments: Json, *, success: bool = True) -> None:
    number = str(uuid.uuid4())
    event("tool.execution_start", {"toolCallId": number, "toolName": name, "arguments": arguments})
    error = {} if success else {"error": {"message": "no such file"}}
    event("tool.execution_complete", {"toolCallId": number, "success": success} | error)


def say(text: str, **more: Any) -> None:
    event("assistant.message", {"content": text, "messageId": str(uuid.uuid4())}, **more)


def work(prompt: str) -> None:
    wanted = prompt.partition("do: ")[2].split()[0]
    event("assistant.intent", {"intent": "Reading the code"})
    tool("view", {"path": "login.py"})
    tool("view", {"path": "none.py"}, success=False)
    if wanted == "fix":
        say("from a helper", agentId="helper")
        event("session.idle", {}, agentId="helper")
        write_file("login.py", "fixed\n")
        say("I looked around.\n\nFixed the login.")
        event("session.idle", {})
    elif wanted == "escape":
        for path in prompt.partition("paths: ")[2].split("</task>")[0].split():
            write_file(path, "written by copilot\n")
        run_shell(f"touch {os.environ['STANDIN_NOTES']}.ran")
        say("Tried it.")
        event("session.idle", {})
    elif wanted == "error":
        event("session.error", {"errorType": "quota", "message": "You have no quota left."})
    elif wanted == "crash":
        sys.stderr.write("panic: out of cheese\n")
        sys.stderr.flush()
        os._exit(3)
    elif wanted == "hang":
        note({"process": os.getpid()})
        time.sleep(300)


def note(what: Json) -> None:
    with Path(os.environ["STANDIN_NOTES"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(what) + "\n")


def respond(message: Json) -> Json:
    method, params = message["method"], message.get("params") or {}
    if method == "connect":
        return {"ok": True, "protocolVersion": 3, "version": "1.0.0"}
    if method == "ping":
        return {"message": "pong", "timestamp": "2025-01-24T00:00:00.000Z", "protocolVersion": 3}
    if method == "session.create":
        SESSION.update(params)
        note({"session": {name: params.get(name) for name in ("model", "provider", "workingDirectory")},
              "environment": sorted(os.environ)})  # fmt: skip
        return {"sessionId": params["sessionId"], "workspacePath": None}
    if method == "session.send":
        threading.Thread(target=work, args=(params["prompt"],), daemon=True).start()
        return {"messageId": "message-1"}
    if method == "session.permissions.handlePendingPermissionRequest":
        with DECIDED:
            DECISIONS[params["requestId"]] = params["result"]
            DECIDED.notify_all()
        return {"success": True}
    return {}


def main() -> None:
    if os.environ.get("STANDIN_BROKEN"):
        sys.exit("cannot start: no such licence")
    while (message := read()) is not None:
        if "method" in message and "id" in message:
            write({"id": message["id"], "result": respond(message)})


if __name__ == "__main__":
    main()
