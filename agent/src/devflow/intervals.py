"""The agent's own intervals, in seconds. The platform's poll interval comes with its responses."""

from dataclasses import dataclass, replace

from devflow.errors import SettingsError


@dataclass(frozen=True)
class Intervals:
    """Tests set them to save time (`--pace`). Operators have no reason to."""

    heartbeat: float = 60.0
    """Between heartbeats (docs/protocol.md, "Intervals")."""
    progress: float = 10.0
    """Between progress reports while the step does not change. Each response says whether the task is cancelled."""
    log: float = 2.0
    """Between chunks of a log. Twenty tasks at a time then send 600 of the 1000 reports that a minute allows."""
    grace: float = 10.0
    """Between SIGTERM and SIGKILL for a program."""
    offline_limit: float = 540.0
    """After this time without a response, the agent cancels its jobs. The platform reassigns them after 600 s. A
    request may take 40 s, and a program may take `grace` to end."""
    flush: float = 15.0
    """How long to wait for the rest of a log before the result is sent."""
    shutdown: float = 30.0
    """How long a stopping agent waits for unsent results. It keeps the rest for its next start."""
    token_renewal: float = 20 * 24 * 3600.0
    """The age at which the agent renews its token. A token is valid for 30 days."""
    max_poll: float = 3600.0
    """The longest time between polls, whatever the platform asks for."""

    @classmethod
    def parse(cls, text: str) -> "Intervals":
        """Parse the value of `--pace`, such as `beat=1,grace=0.5`. Raises SettingsError."""
        values: dict[str, float] = {}
        unknown = set()
        for pair in filter(None, text.split(",")):
            name, _, value = pair.partition("=")
            try:
                seconds = float(value)
            except ValueError:
                raise SettingsError(f"{value!r} is not a number of seconds") from None
            if field := _OPTION_NAMES.get(name.strip()):
                values[field] = seconds
            else:
                unknown.add(name.strip())
        if unknown:
            names = f"{', '.join(sorted(unknown))}. Known names: {', '.join(sorted(_OPTION_NAMES))}"
            raise SettingsError(f"--pace has unknown names: {names}")
        return replace(cls(), **values)


_OPTION_NAMES = {
    "beat": "heartbeat", "progress": "progress", "log": "log", "grace": "grace", "silence": "offline_limit",
    "flush": "flush", "farewell": "shutdown", "renew": "token_renewal", "poll": "max_poll",
}  # fmt: skip
"""The names that `--pace` accepts, and their fields."""
