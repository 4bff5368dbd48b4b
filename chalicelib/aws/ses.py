"""Mail, sent by SES: the only client of it."""

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import session
from chalicelib.core.errors import Unavailable
from chalicelib.core.log import logger
from chalicelib.core.settings import settings

_ADDRESS_ERRORS = ("MessageRejected", "BadRequestException")
"""SES will not send to this address: it is on its list of those that bounce or, in the sandbox, is not verified."""


def send(to: str, subject: str, text: str) -> None:
    """Send one mail of plain text. Raises Unavailable where none can be sent.

    An address that SES refuses is a line in the log and no error: whoever asked for the mail must not learn of it.
    """
    if settings.mail_from is None:
        raise Unavailable("This stage sends no mail: DEVFLOW_MAIL_FROM is not set.")
    content = {"Subject": {"Data": subject}, "Body": {"Text": {"Data": text, "Charset": "UTF-8"}}}
    try:
        session.client("sesv2").send_email(
            FromEmailAddress=settings.mail_from, Destination={"ToAddresses": [to]}, Content={"Simple": content}
        )
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        if code not in _ADDRESS_ERRORS:
            raise Unavailable("Mail cannot be sent right now; try again in a moment.") from error
        logger.warning("SES does not send to this address", extra={"code": code})
    except BotoCoreError as error:
        raise Unavailable("Mail cannot be sent right now; try again in a moment.") from error
