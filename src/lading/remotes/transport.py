"""HTTP as far as it is not about registries: where a host is reached, over what, and what a redirect may carry along.

* **https, always**, except: on this machine (loopback), where plain HTTP is tried first; where the user says so
  (``plain_http``); and as a fallback where the user said that the host is not to be trusted anyway (``insecure``).
* **Redirects** are followed here, ten at most; of requests that change something only those that keep the method (307,
  308) and whose body is at hand. ``Authorization`` goes along only to the same scheme, host and port.
* **Proxies** are those of ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``; never for loopback.

Whatever goes wrong on the way is an :class:`~lading.errors.Unreachable` or :class:`~lading.errors.Untrusted` with words
for people. Nothing is retried here, but for a connection that had been idle
and turns out to be closed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, urljoin, urlsplit

from lading import __version__
from lading.errors import BadAnswer, LocalError, Unreachable, Untrusted
from lading.remotes import tls
from lading.remotes.addresses import leads_inside
from lading.remotes.connection import Connection, Garbled
from lading.remotes.failures import explained
from lading.remotes.sockets import Proxy, Way
from lading.remotes.stream import Body, pieces_of

MAX_REDIRECTS = 10
_COMMIT = 10
"""How many times longer than otherwise an answer to PUT is waited for."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})
_MAX_IDLE = 16
_IDLE = 5.0
"""How many connections are kept for a next request, and for how many seconds."""
_PATH = "/%:@!$&'()*+,;=~-._"
_QUERY = _PATH + "?"
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")
_LINK = re.compile(r"<([^>]*)>([^,<]*)")
_NEXT = re.compile(r""";\s*rel\s*=\s*("?)next\1\s*(?:;|$)""", re.IGNORECASE)
_ALIASES = {"docker.io": "registry-1.docker.io"}
"""Registries whose protocol is spoken at another host than their name's."""


@dataclass(frozen=True)
class Policy:
    """How a registry is to be reached, and how patient one is with it; times in seconds.

    ``scheme``: http or https where that is settled, instead of what this module would find out. ``ca``: certificates in
    PEM that are trusted as well. ``networks``: connections go to public addresses and into these alone (None: anywhere).
    ``guarded``: a redirect to an inner address is not followed, unless the registry itself is inside. ``socket``: a Unix
    socket that is connected to instead of the host.
    """

    plain_http: bool = False
    insecure: bool = False
    scheme: str = ""
    ca: str = ""
    networks: tuple[str, ...] | None = None
    attempts: int = 5
    backoff: float = 0.5
    patience: float = 60.0
    connect: float = 15.0
    silence: float = 60.0
    guarded: bool = False
    socket: str = ""


DEFAULT_POLICY = Policy()


class Transport:
    """Sends requests on behalf of one registry, to it and to where it sends us."""

    def __init__(
        self, host: str, policy: Policy = DEFAULT_POLICY, environment: Mapping[str, str] | None = None
    ) -> None:
        self.host = host
        self.policy = policy
        self._address = _ALIASES.get(host, host)
        self._environment = os.environ if environment is None else environment
        self._ways: dict[tuple[str, str], Way] = {}
        self._idle: dict[tuple[str, str], list[tuple[Connection, float]]] = {}
        self._closed = False
        self._base = ""
        self._finding = asyncio.Lock()

    async def base(self) -> str:
        """``https://host[:port]`` (or http), found out once."""
        async with self._finding:
            if not self._base:
                self._base = await self._find()
        return self._base

    @property
    def secure(self) -> bool:
        """Whether the registry is reached by https with its certificate verified; asked after :meth:`base`."""
        return self._base.startswith("https:") and not self.policy.insecure

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | AsyncIterator[bytes] | None = None,
        *,
        redirects: int = MAX_REDIRECTS,
    ) -> Answer:
        """Send, follow redirects; the answer's body is still to be read, and the answer to be closed."""
        sent = dict(headers or {})
        for _ in range(redirects + 1):
            answer = await self._once(method, url, sent, content)
            target = answer.headers.get("location")
            if not target or not _follows(method, answer.status_code, content):
                return answer
            await answer.aclose()
            url, before = self._redirected(url, target), url
            if self.policy.guarded:
                await self.guard(url, "redirects to")
            if _origin(url) != _origin(before):
                sent = {name: value for name, value in sent.items() if name.lower() != "authorization"}
        if not redirects:
            raise BadAnswer(f"{_origin(url)[1]} answers with a redirect where none is expected")
        raise BadAnswer(f"{self.host} redirects in circles: more than {redirects} times for one request")

    async def close(self) -> None:
        self._closed = True
        for waiting in self._idle.values():
            for connection, _ in waiting:
                connection.close()
        self._idle.clear()

    def _redirected(self, url: str, target: str) -> str:
        there = joined(url, target)
        self.check(there, "redirects to", secure=url.startswith("https:"))
        return there

    def check(self, url: str, how: str, *, secure: bool = False) -> None:
        """Refuse an address that the registry ``how`` ("redirects to") where it is none, or without TLS after TLS."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadAnswer(f"{self.host} {how} {url[:200]!r}, which is no http or https address")
        if parts.scheme == "http" and (secure or self._base.startswith("https:")) and not self.policy.insecure:
            raise BadAnswer(
                f"{self.host} is reached by https and {how} {url[:200]!r}, without it; that is refused. If it is behind a "
                "proxy that speaks TLS for it, the proxy has to pass X-Forwarded-Proto on"
            )

    async def guard(self, url: str, how: str) -> None:
        """Refuse an address that the registry ``how`` ("redirects to") where it is an inner one and the registry is not."""
        there, own = urlsplit(url).hostname or "", urlsplit(f"//{self._address}").hostname or ""
        if there != own and await leads_inside(there) and not await leads_inside(own):
            raise BadAnswer(
                f"{self.host} {how} {_origin(url)[1]}, an address of a private network; that is refused, since it "
                "could be made to reach what only this machine can"
            )

    async def _find(self) -> str:
        http, https = f"http://{self._address}", f"https://{self._address}"
        if self.policy.scheme:
            return f"{self.policy.scheme}://{self._address}"
        if self.policy.plain_http:
            return http
        if is_loopback(self._address):
            # our own machine: ask without a handshake first, which tells a TLS server nothing but nonsense
            try:
                return http if await self._status(http) != 400 else https
            except BadAnswer:
                return https
            except Unreachable as error:
                return await self._otherwise(https, error)
        if self.policy.insecure:
            try:
                await self._status(https)
            except Untrusted:
                return http
        return https

    async def _otherwise(self, https: str, error: Unreachable) -> str:
        """https, where a server hung up on plain HTTP; the same error where it does not speak TLS either."""
        try:
            await self._status(https)
        except Unreachable:
            raise error from None
        except Untrusted:
            pass  # TLS it is: the request that follows tells what is wrong with it
        return https

    async def _status(self, base: str) -> int:
        answer = await self._once("GET", f"{base}/v2/", {}, None)
        await answer.aclose()
        return answer.status_code

    async def _once(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | AsyncIterator[bytes] | None
    ) -> Answer:
        scheme, place = _origin(url)
        try:
            way = self._way(scheme, place)
            head, chunked = _head(method, url, headers, content, way.proxy if scheme == "http" else None)
            connection = self._idle_one(scheme, place)
            again = connection is not None and method in {"GET", "HEAD"}
            while True:
                if connection is None:
                    async with asyncio.timeout(self.policy.connect):
                        connection = await way.connect()
                try:
                    # whoever ends an upload may have to wait until gigabytes are hashed, or moved in an object store
                    await connection.request(
                        head,
                        content or b"",
                        self.policy.silence,
                        chunked=chunked,
                        bodiless=method == "HEAD",
                        patience=self.policy.silence * (_COMMIT if method == "PUT" else 1),
                    )
                except OSError as error:
                    if not again or isinstance(error, TimeoutError):
                        raise
                    connection, again = None, False  # it was closed for having been idle while we wrote
                    continue
                return Answer(url, place, connection, self.policy.silence, partial(self._given_back, scheme, place))
        except (OSError, Garbled) as error:
            raise explained(error, place) from None

    def _way(self, scheme: str, place: str) -> Way:
        if (scheme, place) not in self._ways:
            verify = not (self.policy.insecure and place == self._address)
            ca = self.policy.ca if place == self._address else ""
            context = tls.context(place, self._environment, verify=verify, ca=ca) if scheme == "https" else None
            parts = urlsplit(f"//{place}")
            port = parts.port or (443 if scheme == "https" else 80)
            networks = self.policy.networks
            self._ways[scheme, place] = Way(
                parts.hostname or "",
                port,
                self.policy.silence,
                context,
                self._proxy(scheme, place),
                networks,
                self.policy.socket,
            )
        return self._ways[scheme, place]

    def _proxy(self, scheme: str, place: str) -> Proxy | None:
        url = None if self.policy.socket else proxy_url(scheme, place)
        if url is None:
            return None
        try:
            named = urlsplit(url)
        except ValueError:
            raise LocalError(
                f"the proxy for {place} has an address that cannot be read: {url.rpartition('@')[2]}"
            ) from None
        secure = named.scheme.lower() == "https"
        return Proxy(url, tls.context(named.netloc.rpartition("@")[2], self._environment) if secure else None)

    def _idle_one(self, scheme: str, place: str) -> Connection | None:
        waiting = self._idle.get((scheme, place), [])
        while waiting:
            connection, until = waiting.pop()
            if connection.usable() and until > time.monotonic():
                return connection
            connection.close()
        return None

    def _given_back(self, scheme: str, place: str, connection: Connection) -> None:
        """Keep a connection for the next request, for as long as most servers do."""
        waiting = self._idle.setdefault((scheme, place), [])
        if self._closed or not connection.usable() or len(waiting) >= _MAX_IDLE:
            connection.close()
        else:
            waiting.append((connection, time.monotonic() + _IDLE))


class Answer:
    """What was answered to a request for ``url``; its body is still to be read, and it is to be closed."""

    def __init__(
        self, url: str, host: str, connection: Connection, silence: float, done: Callable[[Connection], None]
    ) -> None:
        self.url = url
        self.host = host
        self.status_code = connection.status
        self.headers = connection.headers
        self._connection: Connection | None = connection
        self._silence = silence
        self._done = done

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body as it arrives."""
        async with aclosing(self.parts()) as parts, aclosing(pieces_of(parts)) as pieces:
            async for piece in pieces:
                yield piece

    async def parts(self) -> AsyncGenerator[bytes | Body]:
        """The same for who reads by himself: what has come, and what is left as one if its length is known."""
        if self._connection is None:
            return
        try:
            async with aclosing(self._connection.parts(self._silence)) as parts:
                async for part in parts:
                    yield part
        except Garbled as error:
            raise Unreachable(f"the connection to {self.host} broke in the middle: {error}") from None
        except OSError as error:
            raise explained(error, self.host) from None

    def following(self) -> str:
        """Where a list goes on: its ``Link`` of the relation ``next`` (RFC 8288), as it is written; empty at its end."""
        for link in _LINK.finditer(self.headers.get("link")):
            if _NEXT.search(link[2]):
                return link[1].strip()
        return ""

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._done(connection)


def _follows(method: str, status: int, content: bytes | AsyncIterator[bytes] | None) -> bool:
    """Whether a redirect can be followed: a read, or what is asked again as it was (RFC 9110, 15.4.8), body and all."""
    if method in {"GET", "HEAD"}:
        return status in _REDIRECTS
    return status in _SAME_METHOD and (content is None or isinstance(content, bytes))


def _head(
    method: str,
    url: str,
    headers: Mapping[str, str],
    content: bytes | AsyncIterator[bytes] | None,
    proxy: Proxy | None,
) -> tuple[bytes, bool]:
    """A request's head, and whether its body is sent in chunks; by a ``proxy`` the whole URL is what is asked for."""
    scheme, place = _origin(url)
    parts = urlsplit(url)
    target = quote(parts.path or "/", safe=_PATH) + (f"?{quote(parts.query, safe=_QUERY)}" if parts.query else "")
    whole = {"host": place, "user-agent": f"lading/{__version__}", "accept": "*/*", "accept-encoding": "identity"}
    whole |= {name.lower(): value for name, value in headers.items()}
    chunked = False
    if "content-length" not in whole:
        if isinstance(content, bytes) or (content is None and method in {"POST", "PUT", "PATCH"}):
            whole["content-length"] = str(len(content or b""))
        elif content is not None:
            whole["transfer-encoding"], chunked = "chunked", True
    if proxy is not None:
        target = f"{scheme}://{place}{target}"
        whole |= proxy.authorization
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in whole.items()), "", ""]
    if broken := next(filter(_UNSENDABLE.search, lines), ""):
        raise BadAnswer(f"{place} cannot be sent {broken[:200]!r}: a header has no such letters")
    return "\r\n".join(lines).encode("latin-1"), chunked


def joined(url: str, target: str) -> str:
    """The address that ``target``, which a server named, has beside ``url``."""
    try:
        return urljoin(url, target)
    except ValueError:
        raise BadAnswer(f"{_origin(url)[1]} names an address that cannot be read: {target[:200]!r}") from None


def is_loopback(address: str) -> bool:
    """Whether ``host[:port]`` is this machine, by its name alone, as docker judges it."""
    name = urlsplit(f"//{address}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    name = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    try:
        port = parts.port
    except ValueError:
        raise BadAnswer(f"{url[:200]!r} has no port that exists") from None
    return parts.scheme, name if port in {None, default} else f"{name}:{port}"


def _is_within(place: str, networks: str) -> bool:
    """Whether a host that is written as an address is in one of the networks of ``NO_PROXY``, as ``10.0.0.0/8``."""
    try:
        own = ipaddress.ip_address(urlsplit(f"//{place}").hostname or "")
    except ValueError:
        return False
    for text in networks.split(","):
        with suppress(ValueError):
            if "/" in text and own in ipaddress.ip_network(text.strip(), strict=False):
                return True
    return False


def proxy_url(scheme: str, place: str) -> str | None:
    """The proxy that the environment names for a host."""
    if is_loopback(place) or not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib import request  # noqa: PLC0415 - dear to import, and most have no proxy

    proxies = request.getproxies_environment()
    named = proxies.get(scheme) or proxies.get("all")
    bypass = request.proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed does not know it
    if not named or bypass(place, proxies) or _is_within(place, proxies.get("no", "")):
        return None
    if named.partition("://")[0].lower() not in {"http", "https"} and "://" in named:
        raise LocalError(
            f"the proxy for {place}, {named.partition('://')[0]}://…, is none of http or https; others are not used"
        )
    return named if "://" in named else f"http://{named}"
