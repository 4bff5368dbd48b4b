"""One webhook request to real receivers. It ends in time and reports the result, whatever the receiver does."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.webhooks import http_client
from chalicelib.webhooks.http_client import HttpResult
from tests.support import webhook_receiver
from tests.support.certificates import Authority
from tests.support.fake_dns import connection_attempts, resolving
from tests.support.webhook_receiver import Receiver, Responder, status

BODY = '{"event":"webhook.test","data":{"name":"naïve 🙂"}}'.encode()
PATIENT, BRIEF = 30.0, 0.3
"""Timeouts in seconds: for requests that end before the timeout, and for requests that do not."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def post(url: str, seconds: float = PATIENT) -> HttpResult:
    return http_client.post_webhook(url, {"webhook-id": "msg_1"}, BODY, seconds=seconds, local=True)


def test_webhook_arrives_unchanged_with_its_headers(receiver: Receiver) -> None:
    receiver.respond_next(status(200, "danke schön".encode()))
    result = post(receiver.url)
    assert (result.status, result.error, result.text) == (200, None, "danke schön")
    (request,) = receiver.received
    assert (request.path, request.body) == ("/hooks?from=devflow", BODY)
    assert request.headers["host"] == f"localhost:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == "msg_1"
    assert request.headers["user-agent"].startswith("DevFlow-Webhooks/")


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_every_2xx_response_is_a_success(receiver: Receiver, code: int) -> None:
    receiver.respond_next(status(code))
    assert (post(receiver.url).status, post(receiver.url).error) == (code, None)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_is_a_failure_and_is_not_followed(receiver: Receiver, code: int) -> None:
    with webhook_receiver.forbidden_listener("127.0.0.1") as (port, clients):
        receiver.respond_next(status(code, Location=f"http://127.0.0.1:{port}/latest/meta-data"))
        result = post(receiver.url)
    assert (result.status, result.error) == (code, f"The receiver returned {code}. Redirects are not followed.")
    assert (len(receiver.received), clients) == (1, [])


@pytest.mark.parametrize("code", [400, 404, 410, 429, 500, 503])
def test_error_response_is_a_failure(receiver: Receiver, code: int) -> None:
    receiver.respond_next(status(code, b"no", Retry_After="7"))
    result = post(receiver.url)
    assert (result.status, result.error, result.text) == (code, f"The receiver returned {code}.", "no")
    assert result.retry_after == "7"


FAILURES: dict[str, tuple[Responder, str]] = {
    "truncated response": (webhook_receiver.truncated, "The connection ended before the response was complete."),
    "no response": (webhook_receiver.disconnects, "The connection ended without a response."),
    "not HTTP": (webhook_receiver.not_http, "The connection ended without a response."),
}


@pytest.mark.parametrize("what", FAILURES)
def test_aborted_or_invalid_response_is_a_failure(receiver: Receiver, what: str) -> None:
    responder, error = FAILURES[what]
    receiver.respond_next(responder)
    assert post(receiver.url).error == error


@pytest.mark.parametrize("responder", [webhook_receiver.hangs, webhook_receiver.trickles])
def test_request_ends_at_its_timeout(receiver: Receiver, responder: Responder) -> None:
    """The timeout also applies to a receiver that sends one byte at a time without an end."""
    receiver.respond_next(responder)
    result = post(receiver.url, BRIEF)
    assert result.error == f"The receiver did not respond within {BRIEF} s."
    assert result.ms >= BRIEF * 1_000


def test_first_kilobyte_of_an_endless_response_is_read(receiver: Receiver) -> None:
    receiver.respond_next(webhook_receiver.endless)
    result = post(receiver.url)
    assert (result.status, result.error, result.text) == (200, None, "x" * 1_024)


def test_binary_response_is_stored_as_text(receiver: Receiver) -> None:
    receiver.respond_next(status(200, b"\xff\xfe\x00" + "ü".encode() * 1_000))
    text = post(receiver.url).text
    assert text.startswith("\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\0ü")
    text.encode()


def test_refused_connection_is_a_failure(receiver: Receiver) -> None:
    receiver.stop()
    assert post(receiver.url).error == "DevFlow could not connect to the receiver."
    receiver.start()
    assert post(receiver.url).error is None


def test_next_address_is_tried_if_one_does_not_accept(receiver: Receiver) -> None:
    url = receiver.url.replace("localhost", "hooks.example.com").replace("http:", "https:")
    with resolving({"hooks.example.com": [["::1", "127.0.0.1"]]}), connection_attempts() as attempts:
        post(url, 5)  # TLS fails, because the receiver speaks plain HTTP, but the connection is made
    assert [address[0] for address in attempts] == ["::1", "127.0.0.1"]


def test_unresolvable_host_name_is_a_failure() -> None:
    failure = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    with resolving({"hooks.example.com": [failure]}):
        assert post("https://hooks.example.com/").error == "The host name could not be resolved."
        assert post("https://nobody.example.com/").error == "The host name does not exist."


def test_slow_name_service_does_not_exceed_the_timeout(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: receiver.closing.wait())
    assert post("https://hooks.example.com/", BRIEF).error == "The host name could not be resolved."


# Certificates. A public host name resolves to this machine, which the local stage allows.

NAME = "hooks.example.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The system trusts the certificate authority of the tests, and the host name resolves to this machine."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    http_client._tls_context.cache_clear()
    with resolving({NAME: [["127.0.0.1"]]}):
        yield
    http_client._tls_context.cache_clear()


def over_tls(certificate: Path) -> HttpResult:
    with Receiver(host=NAME, certificate=certificate) as receiver:
        result = post(receiver.url)
        assert len(receiver.received) == (result.status is not None)
        if receiver.received:
            assert receiver.received[0].headers["host"] == f"{NAME}:{receiver.port}"
    return result


def test_certificate_is_verified_for_the_host_name(authority: Authority, trusted: None) -> None:
    assert over_tls(authority.certificate(NAME)) == HttpResult(ms=pytest.approx(0, abs=60_000), status=204)  # type: ignore[arg-type]


def test_certificate_of_another_name_is_rejected_before_sending(authority: Authority, trusted: None) -> None:
    error = over_tls(authority.certificate("other.example.com")).error
    assert error is not None
    assert error.startswith("The certificate is not valid: Hostname mismatch")


def test_expired_certificate_is_rejected_before_sending(authority: Authority, trusted: None) -> None:
    assert over_tls(authority.certificate(NAME, expired=True)).error == (
        "The certificate is not valid: certificate has expired"
    )


def test_untrusted_certificate_is_rejected_before_sending(tmp_path: Path, authority: Authority, trusted: None) -> None:
    error = over_tls(Authority(tmp_path).certificate(NAME)).error
    assert error is not None
    assert error.startswith("The certificate is not valid")


def test_receiver_without_tls_gets_nothing(receiver: Receiver, trusted: None) -> None:
    result = post(receiver.url.replace("http://localhost", f"https://{NAME}"))
    assert (result.status, result.error) == (None, "The TLS handshake with the receiver failed.")
    assert receiver.received == []


def test_tls_context_requires_certificates_and_tls_1_2() -> None:
    context = http_client._tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
