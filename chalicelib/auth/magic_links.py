"""Magic links: login with a link that is mailed to an address. It can be used once, within ten minutes.

The table stores only the hash of the link's token. The token follows the `#` of the link. Browsers do not send that
part to a server, so no log contains it. Opening the link does not use it, because mail scanners open links too; the
user confirms on the page.

Anybody who has a link can confirm it. An attacker could mail a victim a link of the attacker's own account, so that the
victim works in that account. So the page names the account, and says so if another browser requested the link. It
names the whole address. That reveals nothing, because a person who has the link can log in and read it, and a masked
address could be taken for another.
"""

import hmac
import secrets

from chalicelib.auth import login_store, service, sessions
from chalicelib.auth.entities import LoginOrigin, MagicLink
from chalicelib.auth.schemas import LoginResponse, MagicLinkRequest, MagicLinkResponse, VerifyMagicLinkRequest
from chalicelib.aws import ses
from chalicelib.core.errors import Unauthenticated
from chalicelib.core.settings import MINUTE, settings
from chalicelib.core.text import sha256_hex
from chalicelib.core.timestamps import iso
from chalicelib.http.rate_limits import LINK_READS, LINKS, LOGIN

LINK_LIFETIME = 10 * MINUTE

PAGE = "/login/link"
"""The path of the dashboard's page that a link opens. The link's token follows it, after a `#`."""

MAIL_TEXT = """\
Someone requested a link to log in to DevFlow with this address. To log in, open the link and confirm:

{link}

The link works once, within ten minutes of the request. If you did not request it, ignore this mail: nobody can log in
without the link.
"""


class LinkExpired(Unauthenticated):
    """This link was used, or is more than ten minutes old. Request a new one."""

    title = "Invalid or expired link"


def request_link(
    request: MagicLinkRequest, source_ip: str, page: str, now: int, *, browser_id: str | None = None
) -> None:
    """Mail a link to `page`. Send no mail where the address may not log in, or has been sent too many mails.

    `browser_id` is the secret id of the browser that sent the request, None for a program. The caller cannot tell
    whether a mail was sent. Raises RateLimited for the network address, and Unavailable where no mail can be sent.
    """
    login_store.count_source_ip(source_ip, LINKS, now)
    if not is_domain_allowed(request.email) or not login_store.reserve_mail(request.email, now):
        return
    secret = secrets.token_urlsafe(32)
    browser = None if browser_id is None else sha256_hex(browser_id)
    link = MagicLink(email=request.email, until=now + LINK_LIFETIME, browser=browser)
    login_store.save_link(sha256_hex(secret), link)
    ses.send(request.email, "Log in to DevFlow", MAIL_TEXT.format(link=f"{page}#{secret}"))


def read_link(
    request: VerifyMagicLinkRequest, source_ip: str, now: int, *, browser_id: str | None = None
) -> MagicLinkResponse:
    """The account that a link logs in, and whether the browser with this id requested it. This does not use the link.

    Raises LinkExpired, and RateLimited for the network address.
    """
    login_store.count_source_ip(source_ip, LINK_READS, now)
    link = login_store.load_link(sha256_hex(request.token), now)
    if link is None:
        raise LinkExpired
    same_browser = browser_id is not None and hmac.compare_digest(sha256_hex(browser_id), link.browser or "")
    return MagicLinkResponse(email=link.email, expires_at=iso(link.until), same_browser=same_browser)


def use_link(request: VerifyMagicLinkRequest, origin: LoginOrigin, now: int) -> LoginResponse:
    """Start a session for the address that the link was mailed to. Create the address's user at the first login.

    Raises LinkExpired, and RateLimited for the network address.
    """
    login_store.count_source_ip(origin.address, LOGIN, now)
    email = login_store.consume_link(sha256_hex(request.token), now)
    if email is None:
        raise LinkExpired
    user = service.ensure_verified_user(email, email.partition("@")[0], now)
    return sessions.start_session(user, origin, now)


def is_domain_allowed(email: str) -> bool:
    """Whether addresses of this domain may log in to this stage (the setting DEVFLOW_EMAIL_DOMAINS)."""
    return not settings.email_domains or email.rpartition("@")[2] in settings.email_domains
