"""Mail, sent with SES. No other module uses SES."""

from botocore.exceptions import ClientError

from chalicelib.aws import session, tries
from chalicelib.core.errors import Unavailable
from chalicelib.core.log import logger
from chalicelib.core.settings import settings

_ADDRESS_ERRORS = ("MessageRejected", "BadRequestException")
"""Errors for one address: it is on the suppression list of SES or, in the SES sandbox, it is not verified."""

_NOT_SENT = "The mail could not be sent. Send the same request again."


def send(to: str, subject: str, text: str) -> None:
    """Send one plain-text mail. Raises Unavailable if mail cannot be sent.

    If SES refuses the address, this is only logged. The caller must not learn whether an address receives mail.
    """
    if settings.mail_from is None:
        raise Unavailable("This stage sends no mail, because DEVFLOW_MAIL_FROM is not set. Use another login method.")
    content = {"Subject": {"Data": subject}, "Body": {"Text": {"Data": text, "Charset": "UTF-8"}}}
    mail = {
        "FromEmailAddress": settings.mail_from,
        "Destination": {"ToAddresses": [to]},
        "Content": {"Simple": content},
    }
    try:
        tries.send("ses", session.SECONDS, lambda: session.client("sesv2").send_email(**mail))
    except ClientError as error:
        code = tries.error_code(error)
        if code not in _ADDRESS_ERRORS:
            raise Unavailable(_NOT_SENT) from error
        logger.warning("SES refused to send to this address", extra={"code": code})
    except Unavailable as error:
        raise Unavailable(_NOT_SENT, retry_after=error.retry_after) from error
