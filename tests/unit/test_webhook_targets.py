"""chalicelib/webhooks/targets.py: which URLs and addresses webhooks may be sent to. No host name is resolved."""

import pytest

from chalicelib.webhooks import targets
from chalicelib.webhooks.targets import BadTarget, Target


def secure(host: str, port: int, path: str) -> Target:
    return Target(is_https=True, host=host, port=port, path=path)


@pytest.mark.parametrize(
    ("url", "target", "host_header"),
    [
        ("https://hooks.example.com", secure("hooks.example.com", 443, "/"), "hooks.example.com"),
        ("https://Hooks.Example.COM:8443/a/b?c=d", secure("hooks.example.com", 8443, "/a/b?c=d"), None),
        ("https://hooks.example.com?c=d", secure("hooks.example.com", 443, "/?c=d"), "hooks.example.com"),
        ("https://hooks.example.com:443/", secure("hooks.example.com", 443, "/"), "hooks.example.com"),
        ("https://xn--bcher-kva.example/", secure("xn--bcher-kva.example", 443, "/"), "xn--bcher-kva.example"),
        ("https://8.8.8.8/", secure("8.8.8.8", 443, "/"), "8.8.8.8"),
        (
            "https://[2606:4700:0:0::1]:8443/",
            secure("2606:4700::1", 8443, "/"),
            "[2606:4700::1]:8443",
        ),
        ("https://a.example.com/@user:pw", secure("a.example.com", 443, "/@user:pw"), "a.example.com"),
    ],
)
@pytest.mark.parametrize("local", [True, False])
def test_url_is_parsed_into_its_canonical_parts(
    url: str,
    target: Target,
    host_header: str | None,
    local: bool,  # noqa: FBT001
) -> None:
    assert targets.parse_target(url, local=local) == target
    assert target.host_header == (host_header or "hooks.example.com:8443")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/x", "http://127.0.0.1/", "http://[::1]:1/", "https://localhost/", "http://127.9.9.9/",
    ],
)  # fmt: skip
def test_loopback_url_is_allowed_only_on_the_local_stage(url: str) -> None:
    targets.parse_target(url, local=True)
    with pytest.raises(BadTarget):
        targets.parse_target(url, local=False)


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks.example.com", "https://", "https:///x", "https:hooks.example.com", "ftp://hooks.example.com/",
        "http://hooks.example.com/", "https://hooks/", "https://.example.com/", "https://hooks..example.com/",
        "https://hooks.example.com./", "https://-a.example.com/", "https://a-.example.com/", "https://hooks.example.com:0/",
        "https://hooks.example.com:65536/", "https://hooks.example.com:/", "https://hooks.example.com:x/",
        "https://hooks.example.com/#part", "https://hooks.example.com/a b", "https://hooks.example.com/\r\nHost: x",
        "https://hooks.example.com/ü", "https://bücher.example/", "https://hooks.example.com\\x", "https://u@example.com/",
        "https://u:p@example.com/", " https://hooks.example.com/", "https://hooks.example.com/\n", "https://[::1/",
        "https://[1.2.3]/", "https://example.com.127/", "https://" + "a" * 64 + ".com/", "https://a.com/" + "x" * 2_048,
        "https://%31%32%37.0.0.1/", "https://[fe80::1%25eth0]/", "https://my.localhost/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("local", [True, False])
def test_malformed_or_ambiguous_url_is_rejected(
    url: str,
    local: bool,  # noqa: FBT001
) -> None:
    with pytest.raises(BadTarget):
        targets.parse_target(url, local=local)


PUBLIC = ["8.8.8.8", "93.184.216.34", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::200e", "2620:4f:8000::1"]
NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104  # no socket is bound to it
    "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "169.254.0.1",
    "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.0.170",
    "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:2::1",
    "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::", "3fff::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "4000::1", "hooks.example.com", "",
]  # fmt: skip


@pytest.mark.parametrize("local", [True, False])
def test_only_public_unicast_addresses_are_allowed(local: bool) -> None:  # noqa: FBT001
    for address in PUBLIC:
        targets.check_addresses([address], local=local)
    for address in NOT_PUBLIC:
        with pytest.raises(BadTarget):
            targets.check_addresses([address], local=local)


def test_every_address_of_a_name_must_be_allowed() -> None:
    for addresses in (["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["2606:4700::1111", "::1"], []):
        with pytest.raises(BadTarget):
            targets.check_addresses(addresses, local=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.255.255.254", "::1"])
def test_loopback_address_is_allowed_only_on_the_local_stage(address: str) -> None:
    targets.check_addresses([address], local=True)
    with pytest.raises(BadTarget):
        targets.check_addresses([address], local=False)
