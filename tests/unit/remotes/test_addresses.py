"""Addresses of IPv6 that stand for one of IPv4."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lading.remotes.addresses import may_reach, reached


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:169.254.169.254", "169.254.169.254"),
        ("64:ff9b::169.254.169.254", "169.254.169.254"),
        ("64:ff9b::0.0.0.1", "0.0.0.1"),
        ("::10.0.0.1", "10.0.0.1"),
        ("2002:7f00:1::", "127.0.0.1"),
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", "10.0.0.1"),
        ("::1", "::1"),
        ("::", "::"),
        ("2606:4700::1111", "2606:4700::1111"),
    ],
)
def test_what_is_reached_in_the_end(given: str, wanted: str) -> None:
    assert reached(ip_address(given)) == ip_address(wanted)


@pytest.mark.parametrize(
    ("address", "networks", "allowed"),
    [
        ("2606:4700::1111", (), True),
        ("8.8.8.8", (), True),
        ("10.1.2.3", (), False),
        ("127.0.0.1", (), False),
        ("169.254.169.254", (), False),
        ("::ffff:10.1.2.3", (), False),
        ("fe80::1%eth0", (), False),
        ("224.0.0.1", (), False),
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("::ffff:10.1.2.3", ("10.0.0.0/8",), True),
        ("11.1.2.3", ("10.0.0.0/8", "fd00::/8"), True),
        ("192.168.1.1", ("10.0.0.0/8", "fd00::/8"), False),
        ("fd00::1", ("10.0.0.0/8", "fd00::/8"), True),
    ],
)
def test_where_connections_may_go(address: str, networks: tuple[str, ...], *, allowed: bool) -> None:
    assert may_reach(address, networks) is allowed
