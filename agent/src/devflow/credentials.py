"""The token of a running agent. It changes while the agent runs, when the agent or a person renews it."""

import threading
from dataclasses import replace

from devflow.agent_state import AgentState, Registration
from devflow.api_client import ApiClient
from devflow.clock import Clock


class Credentials:
    """The current registration and token. All threads of an agent share one object."""

    def __init__(self, state: AgentState, clock: Clock) -> None:
        """Raises NotLoggedInError if the agent is not registered on this machine."""
        self._state, self._clock = state, clock
        self._lock = threading.Lock()
        self.registration: Registration = state.load_registration()

    def token(self) -> str:
        return self.registration.token

    def reload(self) -> bool:
        """Read the registration again after the token was rejected. Returns whether the token has changed."""
        with self._lock, self._state.lock_token():
            stored = self._state.load_registration()
            changed, self.registration = stored.token != self.registration.token, stored
            return changed

    def is_older_than(self, seconds: float) -> bool:
        """Whether the token was issued more than `seconds` ago. Also true if the clock was set back since then."""
        return not 0 <= self._clock.epoch_seconds() - self.registration.issued_at < seconds

    def renew(self, client: ApiClient) -> None:
        """Replace the token by a new one. The old token stays valid until the new one is first used.

        The new token is written to disk before it is used. Raises the errors of `ApiClient.send`.
        """
        with self._lock, self._state.lock_token():
            response = client.send("POST", f"/api/agents/{self.registration.agent_id}/token")
            renewed = replace(self.registration, token=str(response["token"]), issued_at=self._clock.epoch_seconds())
            self._state.save_registration(renewed)
            self.registration = renewed
