"""Users of the platform in this process."""

from chalicelib.core import clock
from tests.support.client import Client, Transport


def make_user(
    transport: Transport, email: str = "user@example.com", name: str = "John Doe", pin: str = "123456"
) -> Client:
    """Create a user and return a client with that user's token. This counts no login."""
    from chalicelib.auth import service, sessions, store  # noqa: PLC0415  # AWS must be replaced before clients are created
    from chalicelib.auth.entities import LoginOrigin  # noqa: PLC0415

    now = clock.now()
    owner = service.ensure_user(email, name, pin, now)
    user = store.load_user(owner)
    assert user is not None
    return Client(transport, sessions.start_session(user, LoginOrigin("192.0.2.1", "test"), now).token)
