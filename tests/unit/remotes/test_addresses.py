"""Addresses of IPv6 that stand for one of IPv4."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lading.remotes.addresses import reached


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
