"""Where a connection ends: addresses that stand for others, and those that only this machine and its neighbours reach."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
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


def is_inner(name: str) -> bool:
    """Whether a host's name says by itself that it is inside; what a stranger names must not lead there."""
    if name.lower() == "localhost" or name.lower().endswith(".localhost"):
        return True
    try:
        return not may_reach(name, ())
    except ValueError:
        return _is_odd_address(name)


async def leads_inside(name: str) -> bool:
    """Whether a host's name is, or resolves to, an inner address; one that does not resolve leads nowhere."""
    if is_inner(name):
        return True
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(is_inner(str(entry[4][0])) for entry in found)


def _is_odd_address(name: str) -> bool:
    """Whether this is an IPv4 address in one of the forms only resolvers know: 2130706433, 0x7f.1, 127.1."""
    return bool(re.fullmatch(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}\.?", name.lower()))
