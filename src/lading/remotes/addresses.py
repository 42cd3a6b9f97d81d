"""IP addresses that stand for others: what is judged must be where a connection ends."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def reached(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The address that is reached in the end, where one of IPv4 is wrapped in one of IPv6."""
    if not isinstance(address, IPv6Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    low = IPv4Address(int(address) & 0xFFFF_FFFF)
    # of those beginning with zeros, ::, ::1 and their like are addresses of their own
    if inner is None and (address in _NAT64 or (address in _COMPATIBLE and low.packed[0])):
        inner = low
    return inner or address


def may_reach(address: str, networks: Sequence[str]) -> bool:
    """Whether an address is public, or in one of ``networks`` (as ``10.0.0.0/8``)."""
    own = reached(ipaddress.ip_address(address.partition("%")[0]))
    named = (ipaddress.ip_network(text, strict=False) for text in networks)
    return (own.is_global and not own.is_multicast) or any(own.version == one.version and own in one for one in named)
