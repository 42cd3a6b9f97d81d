"""HTTP as far as it is not about registries: where a host is reached, over what, and what a redirect may carry along.

* **https, always**, except: on this machine (loopback), where plain HTTP is tried first; where the user says so
  (``plain_http``); and as a fallback where the user said that the host is not to be trusted anyway (``insecure``).
* **Redirects** are followed here, ten at most. ``Authorization`` goes along only to the same scheme, host and port.
* **Proxies** are those of ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``; never for loopback.

Whatever goes wrong on the way is an :class:`~lading.errors.Unreachable` or :class:`~lading.errors.Untrusted` with words
for people. Nothing is retried here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from lading import __version__
from lading.errors import BadAnswer, LocalError, Unreachable, Untrusted
from lading.remotes import tls
from lading.remotes.addresses import leads_inside

if TYPE_CHECKING:
    import httpx2

MAX_REDIRECTS = 10
_COMMIT = 10
"""How many times longer than otherwise an answer to PUT is waited for."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ALIASES = {"docker.io": "registry-1.docker.io"}
"""Registries whose protocol is spoken at another host than their name's."""


@dataclass(frozen=True)
class Policy:
    """How a registry is to be reached, and how patient one is with it; times in seconds.

    ``scheme``: http or https where that is settled, instead of what this module would find out. ``ca``: certificates in
    PEM that are trusted as well. ``networks``: connections go to public addresses and into these alone (None: anywhere).
    ``guarded``: a redirect to an inner address is not followed, unless the registry itself is inside.
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
        self._clients: dict[tuple[str, str], httpx2.AsyncClient] = {}
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
    ) -> httpx2.Response:
        """Send, follow redirects; the answer's body is still to be read, and the answer to be closed."""
        sent = dict(headers or {})
        for _ in range(redirects + 1):
            answer = await self._once(method, url, sent, content)
            target = answer.headers.get("location")
            if answer.status_code not in _REDIRECTS or not target or method not in {"GET", "HEAD"}:
                return answer
            await answer.aclose()
            url, before = self._redirected(url, target), url
            if self.policy.guarded:
                await self._guard(url)
            if _origin(url) != _origin(before):
                sent = {name: value for name, value in sent.items() if name.lower() != "authorization"}
        if not redirects:
            raise BadAnswer(f"{_origin(url)[1]} answers with a redirect where none is expected")
        raise BadAnswer(f"{self.host} redirects in circles: more than {redirects} times for one request")

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    def _redirected(self, url: str, target: str) -> str:
        there = joined(url, target)
        parts = urlsplit(there)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadAnswer(f"{self.host} redirects to {target[:200]!r}, which is no http or https address")
        if url.startswith("https:") and parts.scheme == "http" and not self.policy.insecure:
            raise BadAnswer(f"{self.host} redirects from https to plain http, {there[:200]}; that is refused")
        return there

    async def _guard(self, url: str) -> None:
        there, own = urlsplit(url).hostname or "", urlsplit(f"//{self._address}").hostname or ""
        if there != own and await leads_inside(there) and not await leads_inside(own):
            raise BadAnswer(
                f"{self.host} redirects to {_origin(url)[1]}, an address of a private network; that is refused, since it "
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
    ) -> httpx2.Response:
        import httpx2  # noqa: PLC0415 - its import takes longer than most commands

        try:
            client = self._client(url)
            # whoever ends an upload may have to wait until gigabytes are hashed, or moved in an object store
            quiet = self.policy.silence * (_COMMIT if method == "PUT" else 1)
            timeout = httpx2.Timeout(self.policy.silence, connect=self.policy.connect, read=quiet, pool=None)
            request = client.build_request(method, url, headers=dict(headers), content=content, timeout=timeout)
            return await client.send(request, stream=True)
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError) as error:
            raise explained(error, _origin(url)[1]) from None

    def _client(self, url: str) -> httpx2.AsyncClient:
        import httpx2  # noqa: PLC0415 - see above

        from lading.remotes import sockets  # noqa: PLC0415 - imports it, too

        scheme, place = _origin(url)
        if (scheme, place) not in self._clients:
            verify = not (self.policy.insecure and place == self._address)
            ca = self.policy.ca if place == self._address else ""
            context = tls.context(place, self._environment, verify=verify, ca=ca) if scheme == "https" else False
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=16)
            self._clients[scheme, place] = httpx2.AsyncClient(
                transport=sockets.transport(context, _proxy(scheme, place), limits, self.policy.networks),
                trust_env=False,  # no netrc, and proxies by our own rule
                headers={"user-agent": f"lading/{__version__}", "accept-encoding": "identity"},
            )
        return self._clients[scheme, place]


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


def explained(error: Exception, place: str) -> Unreachable | Untrusted | BadAnswer:
    """What a failure on the way means, for a person."""
    import httpx2  # noqa: PLC0415 - see above

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Untrusted(
                f"the certificate of {place} is not trusted: {cause.verify_message}. If an authority of your own made it, "
                f"put that authority's certificate into /etc/docker/certs.d/{place}/ca.crt (or ~/.docker/certs.d/…, or "
                "name a bundle in SSL_CERT_FILE); --insecure goes on without checking"
            )
        if isinstance(cause, ssl.SSLError):
            return Untrusted(
                f"no TLS connection to {place}: {cause.reason or 'the handshake failed'}. If it speaks plain HTTP, say "
                "so with --plain-http"
            )
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ssl.SSLError):
            return Unreachable(f"cannot reach {place}: {cause.strerror[:1].lower()}{cause.strerror[1:]}")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.TimeoutException):
        return Unreachable(f"{place} does not answer in time")
    if isinstance(error, httpx2.RemoteProtocolError) and str(error).startswith("Server disconnected"):
        return Unreachable(f"the connection to {place} broke before it answered")
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.InvalidURL | httpx2.UnsupportedProtocol):
        return BadAnswer(f"{place} does not answer in HTTP as it should: {str(error)[:200]}")
    if isinstance(error, httpx2.ProxyError):
        return Unreachable(f"the proxy does not let us through to {place}: {str(error)[:200]}")
    return Unreachable(f"the connection to {place} broke: {str(error)[:200] or type(error).__name__}")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    name = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    try:
        port = parts.port
    except ValueError:
        raise BadAnswer(f"{url[:200]!r} has no port that exists") from None
    return parts.scheme, name if port in {None, default} else f"{name}:{port}"


def _proxy(scheme: str, place: str) -> str | None:
    from urllib import request  # noqa: PLC0415 - dear to import

    if is_loopback(place):
        return None
    proxies = request.getproxies_environment()
    named = proxies.get(scheme) or proxies.get("all")
    bypass = request.proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed does not know it
    if not named or bypass(place, proxies):
        return None
    if named.partition("://")[0].lower() not in {"http", "https"} and "://" in named:
        raise LocalError(
            f"the proxy for {place}, {named.partition('://')[0]}://…, is none of http or https; others are not used"
        )
    return named if "://" in named else f"http://{named}"
