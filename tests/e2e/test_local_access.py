"""Who may call the local stage: the host of a request, its origin, and the endpoints of the stage itself."""

from __future__ import annotations

import json
import re
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.e2e.test_run import ports, tree
from tests.support.client import Client, Http

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Platform

PUBLIC_URL = "https://stage.example.com"
LOGIN = {"email": "user@example.com", "pin": "123456"}
MOVE = {"advanceSeconds": 1}


def now(platform: Platform) -> float:
    return float(platform.client.get("/local/clock").json()["shiftedSeconds"])


def test_page_under_another_name_reaches_nothing(platform: Platform) -> None:
    """DNS rebinding: the page's own name has the address 127.0.0.1, so a browser does not protect the stage."""
    port = platform.url.rpartition(":")[2]
    client, shifted = platform.client, now(platform)
    for host in (f"attacker.example:{port}", "attacker.example", f"localhost.attacker.example:{port}", ""):
        origin = f"http://{host}"
        calls = [
            client.post("/api/auth/pin/login", LOGIN, Host=host, Origin=origin, Sec_Fetch_Site="same-origin"),
            client.get("/local/mail", Host=host),
            client.post("/local/clock", MOVE, Host=host, Origin=origin),
            client.get("/dashboard", Host=host),
        ]
        for response in calls:
            assert (response.status, response.json()["statusCode"]) == (421, 421)
            assert "DEVFLOW_URL" in response.json()["message"]
            assert response.header("Set-Cookie") is None
    assert now(platform) == shifted

    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", f"LOCALHOST:{port}", "localhost:8080"):
        assert client.get("/health", Host=host).status == 200


def test_page_of_another_site_cannot_use_the_local_endpoints(platform: Platform) -> None:
    shifted = now(platform)
    foreign = {"Origin": "https://attacker.example"}
    other_port = {"Origin": "http://localhost:1"}
    for headers in (foreign, other_port, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
        for response in (
            platform.client.post("/local/clock", MOVE, **headers),
            platform.client.send("GET", "/local/clock", **headers),
            platform.client.send("GET", "/local/mail", **headers),
        ):
            assert (response.status, response.json()["statusCode"]) == (403, 403)
    body = json.dumps(MOVE).encode()
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        response = platform.client.post("/local/clock", body, Content_Type=content_type)
        assert (response.status, response.json()["statusCode"]) == (415, 415)
    assert platform.client.send("OPTIONS", "/local/clock", **foreign).status == 403
    assert now(platform) == shifted

    own = {"Origin": platform.url, "Sec_Fetch_Site": "same-origin", "Host": urlsplit(platform.url).netloc}
    assert platform.client.post("/local/clock", MOVE, **own).status == 200
    utf8 = platform.client.post("/local/clock", body, Content_Type="application/json; charset=utf-8")
    assert utf8.status == 200
    assert now(platform) == shifted + 2


def test_pages_cannot_reach_the_stand_ins_for_aws(platform: Platform) -> None:
    """Their ports are random, but a page can try all of them."""
    stage_port = int(platform.url.rpartition(":")[2])
    others = ports(tree(platform.process.pid)) - {stage_port}
    assert len(others) == 2, "moto's port and that of the mail catcher"
    for port in others:
        with closing(Http(f"http://127.0.0.1:{port}")) as http:
            client = Client(http)
            for headers in ({"Host": f"attacker.example:{port}"}, {"Origin": "https://attacker.example"}):
                refused = client.send("GET", "/", **headers)
                assert refused.status == 403
                assert refused.header("Access-Control-Allow-Origin") is None


def test_stage_with_a_public_url_has_another_pin_and_no_local_endpoints(
    fresh_platform: Callable[..., Platform],
) -> None:
    platform = fresh_platform(DEVFLOW_URL=f"{PUBLIC_URL}/")
    client = platform.client
    assert client.post("/api/auth/pin/login", LOGIN).status == 401
    login = re.search(r"Login +(\S+), PIN ([0-9]{6})", platform.output)
    assert login, platform.output
    assert login[2] != LOGIN["pin"]
    assert PUBLIC_URL in platform.output
    assert "$URL/local/" not in platform.output
    for host in ("stage.example.com", "stage.example.com:443", urlsplit(platform.url).netloc):
        answered = client.post("/api/auth/pin/login", {"email": login[1], "pin": login[2]}, Host=host)
        assert answered.status == 200
        for method, path in (("GET", "/local/clock"), ("POST", "/local/clock"), ("GET", "/local/mail")):
            absent = client.send(method, path, MOVE if method == "POST" else None, Host=host)
            assert (absent.status, absent.json()["error"]) == (404, "Not found")
    for host in ("stage.example.com:8443", "www.stage.example.com", "attacker.example"):
        assert client.get("/health", Host=host).status == 421
