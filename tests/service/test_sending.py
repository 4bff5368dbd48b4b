"""One request to a webhook, against real receivers: whatever they do, it ends in time and is told of."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.webhooks import http_client
from chalicelib.webhooks.http_client import HttpResult
from tests.support import receivers
from tests.support.certificates import Authority
from tests.support.names import connections, served
from tests.support.receivers import Answer, Receiver, status

BODY = '{"event":"webhook.test","data":{"name":"naïve 🙂"}}'.encode()
PATIENT, BRIEF = 30.0, 0.3
"""Seconds: for what ends by itself, and for what is cut off."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def post(url: str, seconds: float = PATIENT) -> HttpResult:
    return http_client.post_webhook(url, {"webhook-id": "msg_1"}, BODY, seconds=seconds, local=True)


def test_what_is_sent_arrives_to_the_byte_with_its_headers(receiver: Receiver) -> None:
    receiver.then(status(200, "danke schön".encode()))
    answered = post(receiver.url)
    assert (answered.status, answered.error, answered.text) == (200, None, "danke schön")
    (got,) = receiver.got
    assert (got.path, got.body) == ("/hooks?from=devflow", BODY)
    assert got.headers["host"] == f"localhost:{receiver.port}"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == "msg_1"
    assert got.headers["user-agent"].startswith("DevFlow-Webhooks/")


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_whatever_is_2xx_is_a_success(receiver: Receiver, code: int) -> None:
    receiver.then(status(code))
    assert (post(receiver.url).status, post(receiver.url).error) == (code, None)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_not_followed(receiver: Receiver, code: int) -> None:
    with receivers.listening("127.0.0.1") as (port, came):
        receiver.then(status(code, Location=f"http://127.0.0.1:{port}/latest/meta-data"))
        answered = post(receiver.url)
    assert (answered.status, answered.error) == (code, f"The receiver returned {code}. Redirects are not followed.")
    assert (len(receiver.got), came) == (1, [])


@pytest.mark.parametrize("code", [400, 404, 410, 429, 500, 503])
def test_whatever_is_an_error_is_a_failure(receiver: Receiver, code: int) -> None:
    receiver.then(status(code, b"no", Retry_After="7"))
    answered = post(receiver.url)
    assert (answered.status, answered.error, answered.text) == (code, f"The receiver returned {code}.", "no")
    assert answered.retry_after == "7"


ENDS_BADLY: dict[str, tuple[Answer, str]] = {
    "cut in the middle of its answer": (receivers.cut, "The connection ended before the response was complete."),
    "gone without a word": (receivers.dead, "The connection ended without a response."),
    "not speaking HTTP": (receivers.no_http, "The connection ended without a response."),
}


@pytest.mark.parametrize("what", ENDS_BADLY)
def test_a_receiver_that_ends_badly_is_a_failure(receiver: Receiver, what: str) -> None:
    answer, error = ENDS_BADLY[what]
    receiver.then(answer)
    assert post(receiver.url).error == error


@pytest.mark.parametrize("answer", [receivers.hangs, receivers.drips])
def test_a_receiver_that_takes_too_long_is_cut_off(receiver: Receiver, answer: Answer) -> None:
    """Also one that sends a byte now and then, and would for ever."""
    receiver.then(answer)
    answered = post(receiver.url, BRIEF)
    assert answered.error == f"The receiver did not respond within {BRIEF} s."
    assert answered.ms >= BRIEF * 1_000


def test_of_a_huge_answer_the_first_kb_is_read(receiver: Receiver) -> None:
    receiver.then(receivers.huge)
    answered = post(receiver.url)
    assert (answered.status, answered.error, answered.text) == (200, None, "x" * 1_024)


def test_an_answer_that_is_no_text_is_kept_as_one(receiver: Receiver) -> None:
    receiver.then(status(200, b"\xff\xfe\x00" + "ü".encode() * 1_000))
    text = post(receiver.url).text
    assert text.startswith("\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\0ü")
    text.encode()


def test_nobody_listening_is_a_failure(receiver: Receiver) -> None:
    receiver.down()
    assert post(receiver.url).error == "DevFlow could not connect to the receiver."
    receiver.up()
    assert post(receiver.url).error is None


def test_where_an_address_does_not_answer_the_next_is_tried(receiver: Receiver) -> None:
    url = receiver.url.replace("localhost", "hooks.example.com").replace("http:", "https:")
    with served({"hooks.example.com": [["::1", "127.0.0.1"]]}), connections() as attempts:
        post(url, 5)  # TLS to a receiver that has none fails, but it is reached
    assert [address[0] for address in attempts] == ["::1", "127.0.0.1"]


def test_a_name_that_leads_nowhere_is_a_failure() -> None:
    refused = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    with served({"hooks.example.com": [refused]}):
        assert post("https://hooks.example.com/").error == "The host name could not be resolved."
        assert post("https://nobody.example.com/").error == "The host name does not exist."


def test_a_name_service_that_hangs_is_not_waited_for(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: receiver.closing.wait())
    assert post("https://hooks.example.com/", BRIEF).error == "The host name could not be resolved."


# Certificates. A name of the public internet leads to this machine, which the local stage allows.

NAME = "hooks.example.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The system trusts the tests' own authority, and the name leads to this machine."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    http_client._tls_context.cache_clear()
    with served({NAME: [["127.0.0.1"]]}):
        yield
    http_client._tls_context.cache_clear()


def over_tls(certificate: Path) -> HttpResult:
    with Receiver(host=NAME, certificate=certificate) as receiver:
        answered = post(receiver.url)
        assert len(receiver.got) == (answered.status is not None)
        if receiver.got:
            assert receiver.got[0].headers["host"] == f"{NAME}:{receiver.port}"
    return answered


def test_the_certificate_is_checked_for_the_name_though_the_address_is_connected_to(
    authority: Authority, trusted: None
) -> None:
    assert over_tls(authority.certificate(NAME)) == HttpResult(ms=pytest.approx(0, abs=60_000), status=204)  # type: ignore[arg-type]


def test_a_certificate_of_another_name_is_refused_and_nothing_sent(authority: Authority, trusted: None) -> None:
    error = over_tls(authority.certificate("other.example.com")).error
    assert error is not None
    assert error.startswith("The certificate is not valid: Hostname mismatch")


def test_a_certificate_that_has_expired_is_refused_and_nothing_sent(authority: Authority, trusted: None) -> None:
    assert over_tls(authority.certificate(NAME, expired=True)).error == (
        "The certificate is not valid: certificate has expired"
    )


def test_a_certificate_that_nobody_vouches_for_is_refused_and_nothing_sent(
    tmp_path: Path, authority: Authority, trusted: None
) -> None:
    error = over_tls(Authority(tmp_path).certificate(NAME)).error
    assert error is not None
    assert error.startswith("The certificate is not valid")


def test_a_receiver_without_tls_where_it_should_have_it_gets_nothing(receiver: Receiver, trusted: None) -> None:
    answered = post(receiver.url.replace("http://localhost", f"https://{NAME}"))
    assert (answered.status, answered.error) == (None, "The TLS handshake with the receiver failed.")
    assert receiver.got == []


def test_certificates_are_wanted_and_old_tls_is_not() -> None:
    context = http_client._tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
