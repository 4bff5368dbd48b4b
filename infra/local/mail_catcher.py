"""Replaces SES: prints every mail and keeps it for `/local/mail`. No mail leaves this machine.

Supports only the request that the product sends, SendEmail of version 2
(https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html).
"""

import json
import uuid
from collections import deque
from typing import Any

from chalicelib.core import clock
from chalicelib.core.timestamps import iso
from infra.local.gateway import Headers, Response

PATH = "/local/mail"
SEND_PATH = "/v2/email/outbound-emails"
MAX_MAILS = 100
"""The number of mails that are kept. The oldest ones are dropped first."""

_JSON = (("Content-Type", "application/json"),)


class MailCatcher:
    """Receives SES requests, and returns the received mails as JSON."""

    def __init__(self) -> None:
        self._mails: deque[dict[str, Any]] = deque(maxlen=MAX_MAILS)

    def call(
        self, method: str, target: str, headers: Headers = (), body: bytes = b"", *, source_ip: str = "127.0.0.1"
    ) -> Response:
        """Handle a request to SES."""
        del headers, source_ip
        if (method, target) != ("POST", SEND_PATH):
            return Response(400, _JSON, b'{"message": "The local stage supports only SendEmail."}')
        request = json.loads(body)
        content = request["Content"]["Simple"]
        mail = {
            "to": request["Destination"]["ToAddresses"],
            "from": request["FromEmailAddress"],
            "subject": content["Subject"]["Data"],
            "text": content["Body"]["Text"]["Data"],
            "sentAt": iso(clock.now()),
        }
        self._mails.append(mail)
        print(f"\nMail to {', '.join(mail['to'])}: {mail['subject']}\n\n{mail['text']}", flush=True)
        return Response(200, _JSON, json.dumps({"MessageId": uuid.uuid4().hex}).encode())

    def list_mails(self) -> Response:
        """All kept mails, the oldest first."""
        return Response(200, _JSON, json.dumps({"mail": list(self._mails)}).encode())
