"""The agent's own intervals, in seconds. The platform's (how often to poll) come with its answers."""

from dataclasses import dataclass, fields, replace

from devflow.errors import SettingsError


@dataclass(frozen=True)
class Intervals:
    """Settable, so that tests need not wait; nobody else has a reason to."""

    heartbeat: float = 60.0
    """Between heartbeats (docs/protocol.md, "Intervals")."""
    progress: float = 10.0
    """Between progress reports of a run that says nothing new: each one also asks whether to stop."""
    log: float = 2.0
    """Between chunks of a log. With twenty tasks at a time this is 600 of the 1000 reports a minute."""
    grace: float = 10.0
    """Between asking a program to end and killing it."""
    offline_limit: float = 540.0
    """Without an answer for so long, the agent stops what it runs. The platform gives it to somebody else after 600; a
    request may be under way for 40, and a program may take `grace` to end."""
    flush: float = 15.0
    """For the rest of a log before the result is sent."""
    shutdown: float = 30.0
    """For results that wait, before an agent that was told to end leaves them for its next start."""
    token_renewal: float = 20 * 24 * 3600.0
    """Age at which the agent's token is renewed; it lives for 30 days."""
    max_poll: float = 3600.0
    """Between polls at most, whatever the platform says."""

    @classmethod
    def parse(cls, text: str) -> "Intervals":
        """`beat=1,grace=0.5`. Raises SettingsError."""
        known = {field.name for field in fields(cls)}
        given: dict[str, float] = {}
        for pair in filter(None, text.split(",")):
            name, _, value = pair.partition("=")
            try:
                given[name.strip()] = float(value)
            except ValueError:
                raise SettingsError(f"{value!r} is no number of seconds") from None
        if unknown := sorted(set(given) - known):
            raise SettingsError(f"There is no pace {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        return replace(cls(), **given)
