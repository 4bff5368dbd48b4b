"""Magic links: logging in by a mail that whoever reads that address can use, once, within ten minutes.

What is in the link is known to nobody else: the table keeps its hash. It stands behind the `#`, which browsers send to
no server, so it is in no log either; and opening the link uses nothing up, since mail scanners do that, too.
"""

import secrets

from chalicelib.auth import login_store, service, sessions
from chalicelib.auth.schemas import LoginResponse, MagicLinkRequest, VerifyMagicLinkRequest
from chalicelib.aws import ses
from chalicelib.core.errors import Unauthenticated
from chalicelib.core.settings import MINUTE, settings
from chalicelib.core.text import sha256_hex
from chalicelib.http.rate_limits import LINKS, LOGIN

LINK_LIFETIME = 10 * MINUTE

PAGE = "/login/link"
"""The dashboard's page that a link leads to. The link's token follows it, behind a `#`."""

MAIL_TEXT = """\
Somebody, most likely you, wants to log in to DevFlow with this address. Open this link and confirm:

{link}

It works once, until ten minutes after it was asked for. If it was not you, do nothing: nobody can log in without it.
"""


class LinkExpired(Unauthenticated):
    """This link was used already, or is more than ten minutes old; ask for a new one."""

    title = "Invalid or expired link"


def request_link(asked: MagicLinkRequest, address: str, page: str, now: int) -> None:
    """Mail a link to `page`, to an address that may log in and has not been sent too many. Says nothing of either.

    Raises RateLimited for the network address, and Unavailable where no mail can be sent.
    """
    login_store.count_source_ip(address, LINKS, now)
    if not is_domain_allowed(asked.email) or not login_store.reserve_mail(asked.email, now):
        return
    secret = secrets.token_urlsafe(32)
    login_store.save_link(sha256_hex(secret), asked.email, now + LINK_LIFETIME)
    ses.send(asked.email, "Log in to DevFlow", MAIL_TEXT.format(link=f"{page}#{secret}"))


def use_link(sent: VerifyMagicLinkRequest, address: str, now: int) -> LoginResponse:
    """A session for the address that the link was mailed to; its user is made if there is none.

    Raises LinkExpired; RateLimited for the network address.
    """
    login_store.count_source_ip(address, LOGIN, now)
    email = login_store.consume_link(sha256_hex(sent.token), now)
    if email is None:
        raise LinkExpired
    return sessions.start_session(service.ensure_verified_user(email, email.partition("@")[0], now), now)


def is_domain_allowed(email: str) -> bool:
    """Whether this stage lets addresses of that domain in."""
    return not settings.email_domains or email.rpartition("@")[2] in settings.email_domains
