"""The text that `make run` prints when the stage is ready: its URL, a login, and commands to try."""

EMAIL = "user@example.com"
PIN = "123456"
"""The PIN on a stage that is not public. A public stage generates one."""
NAME = "John Doe"


def banner(url: str, pin: str, public_url: str | None) -> str:
    """The text for the stage at `url`, which has no trailing slash. Its commands run in bash, in order, repeatedly.

    `public_url` is the value of DEVFLOW_URL where it makes the stage public, see `access`.
    """
    public = _PUBLIC.format(url=public_url) if public_url else ""
    return f"""
DevFlow runs at {url}

  Dashboard  {url}/dashboard
  API docs   {url}/docs
  Login      {EMAIL}, PIN {pin} ({NAME})
{public}  Data       is kept in memory and is lost when the stage stops
  Stop       with Ctrl-C

Try it: paste these commands into another terminal, in order.

  # Log in.
  URL={url} JSON='Content-Type: application/json' ID=$RANDOM
  TOKEN=$(curl -s $URL/api/auth/pin/login -H "$JSON" \\
    -d '{{"email": "{EMAIL}", "pin": "{pin}"}}' | sed 's/.*"token": *"\\([^"]*\\)".*/\\1/')

  # Register an agent. It gets a token of its own.
  AGENT=$(curl -s $URL/api/agents -H "$JSON" -H "Authorization: Bearer $TOKEN" \\
    -d "{{\\"agentId\\": \\"agent-$ID\\", \\"name\\": \\"my agent\\", \\"version\\": \\"0.2.0\\", \\
      \\"platform\\": \\"linux\\", \\"capabilities\\": [\\"fix-bug\\"]}}" | sed 's/.*"token": *"\\([^"]*\\)".*/\\1/')

  # Submit a task.
  curl -s $URL/api/workflows/execute -H "$JSON" -H "Authorization: Bearer $TOKEN" \\
    -d "{{\\"taskId\\": \\"task-$ID\\", \\"intent\\": \\"fix-bug\\", \\"repo\\": \\"https://github.com/user/repo\\", \\
      \\"branch\\": \\"main\\", \\"naturalLanguage\\": \\"Fix the null pointer exception in login flow\\"}}"; echo

  # As the agent: poll, report progress, complete the task.
  sleep 1; curl -s $URL/api/agents/agent-$ID/commands -H "Authorization: Bearer $AGENT"; echo
  curl -s $URL/api/tasks/task-$ID/progress -H "$JSON" -H "Authorization: Bearer $AGENT" \\
    -d '{{"status": "in_progress", "step": "Running tests", "progress": 0.5}}'; echo
  curl -s $URL/api/tasks/task-$ID/complete -H "$JSON" -H "Authorization: Bearer $AGENT" \\
    -d '{{"success": true, "summary": "Fixed", "prUrl": "https://github.com/user/repo/pull/456"}}'; echo

  # Read the task.
  curl -s $URL/api/tasks/task-$ID -H "Authorization: Bearer $TOKEN"; echo
{"" if public_url else _CLOCK}"""


_PUBLIC = """\
  Public     at {url}, for everybody who knows this address. So the
             PIN is a new one, and /local/clock and /local/mail do not exist
"""

_CLOCK = """
  # Move the stage's clock ten minutes forward. The agent is silent for that time, so it becomes inactive.
  curl -s $URL/local/clock -H "$JSON" -d '{"advanceSeconds": 600}'; echo
  curl -s $URL/api/agents -H "Authorization: Bearer $TOKEN"; echo
"""
