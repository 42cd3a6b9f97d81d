"""How a directory is asked, and where it answers."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlsplit

from lading.errors import Invalid
from lading.remotes.addresses import reached

Scope = Literal["base", "one", "sub"]
Nested = Literal["auto", "chain", "search", "none"]

_MOST_ADDRESSES = 4
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))
"""Addresses at which clouds tell machines their secrets, besides the link-local ones."""


@dataclass(frozen=True)
class GroupSettings:
    """Which entries are groups; ``admin`` is the DN of one.

    ``membership`` is the attribute of a person that lists their groups, ``member`` that of a group that lists its members.
    """

    base: str = ""
    filter: str = ""
    scope: Scope = "sub"
    name: str = "cn"
    admin: str = ""
    membership: str = "memberOf"
    nested: Nested = "auto"
    member: str = "member"


@dataclass(frozen=True)
class DirectorySettings:
    """See ``accounts.ldap`` in the configuration; ``timeout`` in seconds, ``cache`` in seconds.

    ``address`` is the one to connect to where the name was looked up already; certificates are held against the name.
    ``guarded``: somebody sent the URL, so what its name leads to is judged each time, as :func:`pinned` does.
    """

    url: str
    base: str
    starttls: bool = False
    verify: bool = True
    ca: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    filter: str = ""
    scope: Scope = "sub"
    uid: str = "uid"
    email: str = "mail"
    full_name: str = "cn"
    timeout: int = 5
    cache: float = 300.0
    groups: GroupSettings = field(default_factory=GroupSettings)
    address: str = ""
    guarded: bool = False

    @property
    def secure(self) -> bool:
        """Whether it is TLS from the first byte."""
        return urlsplit(self.url).scheme.lower() == "ldaps"

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (636 if self.secure else 389)


def check_url(url: str) -> None:
    """Raise ``Invalid`` for what is no place of a directory."""
    try:
        parts = urlsplit(url)
        good = (
            parts.scheme.lower() in ("ldap", "ldaps")
            and bool(parts.hostname)
            and parts.port != 0
            and parts.username is None
            and not parts.path.strip("/")
        )
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url:
        raise Invalid("the URL of a directory is ldap://host or ldaps://host, with a port where it is an unusual one")


def pinned(settings: DirectorySettings) -> Sequence[DirectorySettings]:
    """The same with each address its name leads to; raises ``Invalid`` where no directory can be. Blocks.

    For URLs that somebody sends: what is connected to is the address that was judged, whatever the name says next.
    """
    check_url(settings.url)
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Invalid(f"there is no host {settings.host[:255]}") from None
    addresses = [str(each[4][0]) for each in found]
    if not addresses or any(map(forbidden, addresses)):
        raise Invalid(
            "no directory is asked at that address: it is link-local, of a cloud's metadata, or of no machine"
        )
    return [replace(settings, address=address) for address in dict.fromkeys(addresses)][:_MOST_ADDRESSES]


def forbidden(text: str) -> bool:
    """Whether an address is one that no directory has, and that others guard their secrets by."""
    address = reached(ipaddress.ip_address(text.partition("%")[0]))
    return address.is_link_local or address.is_unspecified or address.is_multicast or address in _METADATA
