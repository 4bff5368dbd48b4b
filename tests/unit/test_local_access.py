"""Which hosts and origins the local stage accepts (`infra.local.access`)."""

import pytest

from infra.local.access import Access
from infra.local.banner import PIN, banner

LOCAL = "http://localhost:3000"


@pytest.mark.parametrize("url", [LOCAL, "http://127.0.0.1:3999", "https://[::1]:3000/stage"])
def test_stage_on_loopback_is_not_public(url: str) -> None:
    assert not Access(url, ["127.0.0.1", "::1"]).is_public


@pytest.mark.parametrize("address", ["192.0.2.1", "0.0.0.0", "::"])  # noqa: S104  # nothing listens on it here
def test_stage_that_listens_for_other_machines_is_public(address: str) -> None:
    assert Access(LOCAL, ["127.0.0.1", address]).is_public


@pytest.mark.parametrize("url", ["https://tunnel.example", "https://localhost.tunnel.example"])
def test_stage_with_the_url_of_another_machine_is_public(url: str) -> None:
    assert Access(url, ["127.0.0.1"]).is_public


TUNNEL = Access("https://tunnel.example")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "[::1]:3000", "tunnel.example", "tunnel.example:443", "TUNNEL.example"]
)
def test_loopback_names_and_the_public_name_are_accepted(host: str) -> None:
    assert TUNNEL.check_host([("Host", host)]) is None


@pytest.mark.parametrize(
    "hosts",
    [
        ["tunnel.example:80"],
        ["localhost.attacker.example"],
        ["attacker.example"],
        ["localhost@attacker.example"],
        ["attacker.example/localhost"],
        ["localhost:x"],
        ["[::1"],
        ["127.0.0.2"],
        ["localhost", "attacker.example"],
        [""],
        [],
    ],
)
def test_other_hosts_are_rejected(hosts: list[str]) -> None:
    response = TUNNEL.check_host([("Host", host) for host in hosts])
    assert response is not None
    assert response.json()["statusCode"] == response.status == 421


def test_banner_of_a_public_stage_has_no_endpoint_that_it_lacks() -> None:
    local, public = banner(LOCAL, PIN, None), banner(LOCAL, "907214", "https://tunnel.example")
    assert "/local/clock -H" in local
    assert "https://tunnel.example" not in local
    assert "https://tunnel.example" in public
    assert "curl -s $URL/local" not in public
    assert (PIN in local, PIN in public, "907214" in public) == (True, False, True)
