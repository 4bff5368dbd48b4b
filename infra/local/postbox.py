"""Stands in for SES: whatever is mailed is printed, and kept for `/local/mail`. Nothing leaves this machine.

Speaks the one request of SES that the product makes, SendEmail of version 2
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
SEND = "/v2/email/outbound-emails"
KEPT = 100
"""How many mails are kept; older ones are forgotten."""

_JSON = (("Content-Type", "application/json"),)


class Postbox:
    """SES to the product, and the letters that it took to `/local/mail`."""

    def __init__(self) -> None:
        self._kept: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def call(
        self, method: str, target: str, headers: Headers = (), body: bytes = b"", *, source_ip: str = "127.0.0.1"
    ) -> Response:
        """A request to SES."""
        del headers, source_ip
        if (method, target) != ("POST", SEND):
            return Response(400, _JSON, b'{"message": "The local stage knows SendEmail alone."}')
        sent = json.loads(body)
        content = sent["Content"]["Simple"]
        mail = {
            "to": sent["Destination"]["ToAddresses"],
            "from": sent["FromEmailAddress"],
            "subject": content["Subject"]["Data"],
            "text": content["Body"]["Text"]["Data"],
            "sentAt": iso(clock.now()),
        }
        self._kept.append(mail)
        print(f"\nMail to {', '.join(mail['to'])}: {mail['subject']}\n\n{mail['text']}", flush=True)
        return Response(200, _JSON, json.dumps({"MessageId": uuid.uuid4().hex}).encode())

    def shown(self) -> Response:
        """Every mail that is kept, the oldest first."""
        return Response(200, _JSON, json.dumps({"mail": list(self._kept)}).encode())
