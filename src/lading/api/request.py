"""A request as handlers read it, and the responses they give."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl

import msgspec

from lading.access.principal import ANONYMOUS, Principal
from lading.errors import Invalid, SizeInvalid, TooLarge
from lading.jobs.events import By
from lading.stores.blobs.base import BlobFile, Inflow

if TYPE_CHECKING:
    from lading.api.intake import Intake

Headers = list[tuple[bytes, bytes]]


class Proxies:
    """The proxies whose word is taken on where a request came from."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._networks = tuple(networks)
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trust(self, address: str) -> bool:
        """Whether this is one of them; a unix socket (no address) is, whoever may open it."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) > 10_000:
                self._known.clear()
            known = self._known[address] = not address or (_is_address(address) and self._has(ip_address(address)))
        return known

    def _has(self, own: IPv4Address | IPv6Address) -> bool:
        return any(own.version == network.version and own in network for network in self._networks)


NO_PROXIES = Proxies()

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_MOST_ARGUMENTS = 200
_MOST_HOPS = 20


class _Ids:
    """Ids for requests that bring none; workers are forked with this module imported, so each makes up its own."""

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._process = os.urandom(6).hex()
        self._numbers = itertools.count(1)

    def next(self) -> str:
        return f"{self._process}-{next(self._numbers):x}"


_ids = _Ids()


class Request:
    """One request. Header names are lower-case bytes; arguments are decoded text.

    ``received`` is how many bytes of the body were read so far; ``proxies`` are those whose word on where a request
    came from is taken.
    """

    __slots__ = (
        "_arguments",
        "_first",
        "_proxies",
        "_receive",
        "alias",
        "id",
        "method",
        "mountable",
        "principal",
        "received",
        "route",
        "scope",
    )

    def __init__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], proxies: Proxies = NO_PROXIES
    ) -> None:
        self.scope = scope
        self._proxies = proxies
        self.method: str = scope["method"]
        self.principal: Principal = ANONYMOUS
        self.route = "other"  # the endpoint as the specification writes it, once it is known
        self.received = 0
        self.alias = ""  # what was put before the repository's name that the client gave
        self.mountable = True  # whether a blob may be mounted from where the request says
        self._receive = receive
        self._first: dict[bytes, bytes] = dict(reversed(scope["headers"]))  # so the first of a name stays
        self._arguments: list[tuple[str, str]] | None = None
        given = self.header(b"x-request-id")
        self.id = given.decode() if given and _SANE_ID.fullmatch(given) else _ids.next()

    def header(self, name: bytes) -> bytes | None:
        """The first header of that name."""
        return self._first.get(name)

    def text(self, name: bytes) -> str:
        """The same as text, empty if absent."""
        return (self.header(name) or b"").decode("latin-1")

    def arguments(self) -> list[tuple[str, str]]:
        """The query's arguments in order."""
        if self._arguments is None:
            query: bytes = self.scope["query_string"]
            if not query:
                self._arguments = []
                return self._arguments
            try:
                self._arguments = parse_qsl(
                    query.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_ARGUMENTS, errors="strict"
                )
            except ValueError as error:
                raise Invalid(f"the query of the URL cannot be read: {error}") from None
        return self._arguments

    def argument(self, name: str) -> str | None:
        """The first argument of that name."""
        for own, value in self.arguments():
            if own == name:
                return value
        return None

    def asked(self, name: str) -> str:
        """What the client calls a repository."""
        return name.removeprefix(self.alias)

    def again(self) -> dict[str, str]:
        """The arguments by which it calls it so, for a link to the next page."""
        said = self.argument("ns") if self.alias else None
        return {"ns": said} if said else {}

    @property
    def content_length(self) -> int | None:
        """What the request says of its body's length; None if it does not say."""
        given = self.header(b"content-length")
        return int(given) if given is not None and given.isdigit() else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; :class:`SizeInvalid` if it ends before it should."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _cut_short()
            more = message["more_body"]
            if message["body"]:
                self.received += len(message["body"])
                yield message["body"]

    async def inflow(self) -> AsyncIterator[bytes | Inflow]:
        """The same; where it is large, the rest of it to be read by whoever stores it."""
        async for chunk in self.chunks():
            yield chunk
            rest = self._rest()
            if rest is None:
                continue
            try:
                yield rest
            finally:
                self.received += rest.received
                rest.finish()
            if not rest.complete:
                raise _cut_short()
            return

    def _rest(self) -> Intake | None:
        try:
            take_in = self.scope["take_in"]
        except KeyError:  # another server than ours
            return None
        return cast("Intake | None", take_in(self.scope))

    async def body(self, limit: int) -> bytes:
        """The whole body, of ``limit`` bytes at most."""
        length = self.content_length
        if length is not None and length > limit:
            raise TooLarge(f"the body has {length} bytes; {limit} are allowed here")
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"the body has more than the {limit} bytes that are allowed here")
            parts.append(chunk)
        return b"".join(parts) if len(parts) != 1 else parts[0]

    @property
    def scheme(self) -> str:
        """``http`` or ``https``, as the client came to this registry or to the first proxy before it."""
        return self.text(b"x-forwarded-proto").partition(",")[0].strip() or cast("str", self.scope["scheme"])

    @property
    def origin(self) -> str:
        """``scheme://host`` as the client sees this registry, behind proxies that say so."""
        host = self.text(b"x-forwarded-host").partition(",")[0].strip() or self.text(b"host")
        return f"{self.scheme}://{host}" if host else ""

    @property
    def address(self) -> str:
        """Where it comes from, without the port: the last address that none of the trusted proxies has."""
        client = self.scope["client"]
        found: str = client[0] if client else ""
        forwarded = self.header(b"x-forwarded-for") if self._proxies else None
        if forwarded is None or not self._proxies.trust(found):
            return found
        hops = [hop.strip() for hop in forwarded.decode("latin-1").split(",")]
        for hop in reversed(hops[-_MOST_HOPS:]):
            if not _is_address(hop):
                break
            found = hop
            if not self._proxies.trust(hop):
                break
        return found

    def certificate(self) -> bytes | None:
        """The client's certificate (DER), checked in TLS; None where it showed none."""
        found: bytes | None = self.scope["certificate"]
        return found

    def handed_on(self, name: bytes) -> bytes | None:
        """What a trusted proxy says in a header, which must be there once; None where it is not, or its word not taken."""
        values = [value for own, value in self.scope["headers"] if own == name]
        return values[0] if len(values) == 1 and self.proxied else None

    @property
    def proxied(self) -> bool:
        """Whether it came over a proxy whose word is taken."""
        client = self.scope["client"]
        return bool(self._proxies) and self._proxies.trust(client[0] if client else "")

    def by(self) -> By:
        """Who asks, and with what, as events tell it."""
        client = self.scope["client"]
        return By(
            actor=self.principal.name,
            subject=self.principal.subject,
            request_id=self.id,
            address=self.address if self._proxies else f"{client[0]}:{client[1]}" if client else "",
            host=self.text(b"host"),
            method=self.method,
            user_agent=self.text(b"user-agent"),
            scheme=self.scheme,
        )


def _cut_short() -> SizeInvalid:
    return SizeInvalid("the connection ended before the whole body had arrived; send it again")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@dataclass(slots=True)
class FilePart:
    """``count`` bytes of a blob from ``offset``; whoever sends it closes the file."""

    file: BlobFile
    offset: int
    count: int


class Response(msgspec.Struct):
    """What a handler answers. For HEAD the body is not sent, but its length is told."""

    status: int
    headers: Headers
    body: bytes | FilePart = b""
