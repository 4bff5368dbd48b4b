"""The token of a running agent, which changes while it runs: it is renewed, here or by hand."""

import threading
from dataclasses import replace

from devflow.api_client import ApiClient
from devflow.clock import Clock
from devflow.agent_state import AgentState, Registration


class Credentials:
    """Shared by all threads of an agent."""

    def __init__(self, home: AgentState, clock: Clock) -> None:
        """Raises NotLoggedInError where the agent is not registered here."""
        self._state, self._clock = home, clock
        self._lock = threading.Lock()
        self.registration: Registration = home.load_registration()

    def token(self) -> str:
        return self.registration.token

    def reload(self) -> bool:
        """The token was not accepted: whether there is another one by now, because somebody has renewed it."""
        with self._lock, self._state.lock_token():
            found = self._state.load_registration()
            changed, self.registration = found.token != self.registration.token, found
            return changed

    def is_older_than(self, seconds: float) -> bool:
        """Whether the token was given longer ago than that; also where the clock was put back since."""
        return not 0 <= self._clock.epoch_seconds() - self.registration.issued_at < seconds

    def renew(self, client: ApiClient) -> None:
        """Get a new token with the present one, which goes on working until the new one is first used.

        The new one is on disk before that. Raises what `Client.send` raises.
        """
        with self._lock, self._state.lock_token():
            answer = client.send("POST", f"/api/agents/{self.registration.agent_id}/token")
            renewed = replace(self.registration, token=str(answer["token"]), issued_at=self._clock.epoch_seconds())
            self._state.save_registration(renewed)
            self.registration = renewed
