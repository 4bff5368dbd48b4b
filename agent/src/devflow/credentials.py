"""The token of a running agent, which changes while it runs: it is renewed, here or by hand."""

import threading
from dataclasses import replace

from devflow.client import Client
from devflow.clock import Clock
from devflow.home import Home, Registration


class Credentials:
    """Shared by all threads of an agent."""

    def __init__(self, home: Home, clock: Clock) -> None:
        """Raises NotLoggedInError where the agent is not registered here."""
        self._home, self._clock = home, clock
        self._lock = threading.Lock()
        self.registration: Registration = home.registration()

    def token(self) -> str:
        return self.registration.token

    def reload(self) -> bool:
        """The token was not accepted: whether there is another one by now, because somebody has renewed it."""
        with self._lock, self._home.renewing():
            found = self._home.registration()
            changed, self.registration = found.token != self.registration.token, found
            return changed

    def old(self, seconds: float) -> bool:
        """Whether the token was given longer ago than that; also where the clock was put back since."""
        return not 0 <= self._clock.wall() - self.registration.issued < seconds

    def renew(self, client: Client) -> None:
        """Get a new token with the present one, which goes on working until the new one is first used.

        The new one is on disk before that. Raises what `Client.send` raises.
        """
        with self._lock, self._home.renewing():
            answer = client.send("POST", f"/api/agents/{self.registration.agent}/token")
            renewed = replace(self.registration, token=str(answer["token"]), issued=self._clock.wall())
            self._home.register(renewed)
            self.registration = renewed
