"""Magic links: logging in by a mail that whoever reads that address can use, once, within ten minutes.

What is in the link is known to nobody else: the table keeps its hash. It stands behind the `#`, which browsers send to
no server, so it is in no log either; and opening the link uses nothing up, since mail scanners do that, too.
"""

import secrets

from chalicelib import mail
from chalicelib.auth import logins, service, sessions
from chalicelib.auth.shapes import LinkRequest, LinkUse, LoggedIn
from chalicelib.errors import Unauthenticated
from chalicelib.ratelimit import LINKS, LOGIN
from chalicelib.settings import MINUTE, settings
from chalicelib.texts import hashed

GOOD_FOR = 10 * MINUTE

TEXT = """\
Somebody, most likely you, wants to log in to DevFlow with this address. Open this link and confirm:

{link}

It works once, until ten minutes after it was asked for. If it was not you, do nothing: nobody can log in without it.
"""


class LinkExpired(Unauthenticated):
    """This link was used already, or is more than ten minutes old; ask for a new one."""

    title = "Invalid or expired link"


def request(asked: LinkRequest, address: str, page: str, now: int) -> None:
    """Mail a link to `page`, to an address that may log in and has not been sent too many. Says nothing of either.

    Raises RateLimited for the network address, and Unavailable where no mail can be sent.
    """
    logins.count_address(address, LINKS, now)
    if not may_log_in(asked.email) or not logins.take_a_mail(asked.email, now):
        return
    secret = secrets.token_urlsafe(32)
    logins.add_link(hashed(secret), asked.email, now + GOOD_FOR)
    mail.send(asked.email, "Log in to DevFlow", TEXT.format(link=f"{page}#{secret}"))


def use(sent: LinkUse, address: str, now: int) -> LoggedIn:
    """A session for the address that the link was mailed to; its user is made if there is none.

    Raises LinkExpired; RateLimited for the network address.
    """
    logins.count_address(address, LOGIN, now)
    email = logins.use_link(hashed(sent.token), now)
    if email is None:
        raise LinkExpired
    return sessions.begin(service.user_at(email, email.partition("@")[0], now), now)


def may_log_in(email: str) -> bool:
    """Whether this stage lets addresses of that domain in."""
    return not settings.email_domains or email.rpartition("@")[2] in settings.email_domains
