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
        """Replace the token by a new one, with the agent's own token. The old one is valid until the new one is used.

        The platform accepts this only from the active instance. The new token is written to disk before it is used, and
        the old one stays on disk until `confirm`. Raises the errors of `ApiClient.send`.
        """
        self._renew(client, previous_token=self.registration.token)

    def replace(self, client: ApiClient) -> None:
        """Replace the token by a new one, with a token of the agent's user. The old one ends at once."""
        self._renew(client, previous_token=None)

    def _renew(self, client: ApiClient, previous_token: str | None) -> None:
        with self._lock, self._state.lock_token():
            path = f"/api/agents/{self.registration.agent_id}/token"
            response = client.send("POST", path, {"instanceId": self._state.load_instance_id()})
            self._save(
                replace(
                    self.registration,
                    token=str(response["token"]),
                    issued_at=self._clock.epoch_seconds(),
                    previous_token=previous_token,
                )
            )

    def confirm(self) -> None:
        """The platform has accepted the present token: forget the previous one."""
        if self.registration.previous_token is None:
            return
        with self._lock, self._state.lock_token():
            self._save(replace(self.registration, previous_token=None))

    def fall_back(self) -> bool:
        """Return to the previous token, because the renewed one was rejected. Returns whether there is one.

        A renewed token ends if it is not used in time. The previous one is valid then.
        """
        with self._lock, self._state.lock_token():
            previous = self.registration.previous_token
            if previous is None:
                return False
            self._save(replace(self.registration, token=previous, issued_at=0.0, previous_token=None))
            return True

    def _save(self, registration: Registration) -> None:
        self._state.save_registration(registration)
        self.registration = registration
