"""Requests to identity providers, which go nowhere else.

An address in a provider's documents, or one that an administrator tries, must not lead to what only this machine can reach.
So a host is looked up once, every address it has must be public or in a network that the configuration names, and the
connection goes to the address that was looked at. https only, except to loopback addresses where these are named; no
redirects, no proxies; an answer is bounded in size and time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlencode, urlsplit

import msgspec

from lading import __version__
from lading.errors import Unavailable
from lading.remotes.addresses import reached

if TYPE_CHECKING:
    import httpx2

MOST = 1 << 20
"""Bytes an answer may have."""
PATIENCE = 10.0
"""Seconds from the request to the answer's last byte."""
_FORM = "application/x-www-form-urlencoded"


class ProviderFailed(Unavailable):
    """An identity provider, or the way to it, does not do what it should."""


class Outbound:
    """See the module. ``networks`` are those that may be reached besides the public ones; ``ca`` a PEM file to trust too."""

    def __init__(self, networks: Sequence[str] = (), ca: str = "") -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(
            ipaddress.ip_network(text, strict=False) for text in networks
        )
        self._ca = ca
        self._client: httpx2.AsyncClient | None = None

    async def get(self, url: str, bearer: str = "") -> dict[str, Any]:
        """The JSON object at a URL; raises :class:`ProviderFailed`."""
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        status, found = await self._ask("GET", url, headers, b"")
        if status != 200:
            raise _failed(f"{_shown(url)} answers {status}")
        return found

    async def post(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Send a form; the status, and the JSON object of the answer."""
        return await self._ask("POST", url, {"content-type": _FORM, **(headers or {})}, urlencode(form).encode())

    async def close(self) -> None:
        """Close connections."""
        if self._client is not None:
            await self._client.aclose()

    async def judge(self, url: str) -> None:
        """Raise :class:`ProviderFailed` for a URL that would not be asked, without asking it."""
        await self._placed(url)

    def check(self, scheme: str, address: str) -> bool:
        """Whether a URL with this scheme may lead to this address."""
        own = reached(ipaddress.ip_address(address.partition("%")[0]))
        named = any(own.version == network.version and own in network for network in self._networks)
        if scheme == "http":
            return named and own.is_loopback
        return scheme == "https" and (named or (own.is_global and not own.is_multicast))

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        import httpx2  # noqa: PLC0415 - only who has an identity provider needs it

        try:
            async with asyncio.timeout(PATIENCE):
                status, raw = await self._send(method, url, headers, body)
        except TimeoutError:
            raise _failed(f"{_shown(url)} does not answer within {PATIENCE:.0f} seconds") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise _failed(f"{_shown(url)} cannot be asked: {str(error)[:200] or type(error).__name__}") from None
        try:
            found = msgspec.json.decode(raw) if raw else {}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise _failed(f"{_shown(url)} answers {status}, and no JSON object")
        return status, found

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        import httpx2  # noqa: PLC0415

        parts, host, port, addresses = await self._placed(url)
        sent = {"accept": "application/json", "accept-encoding": "identity", "host": parts.netloc, **headers}
        failed: httpx2.ConnectError | None = None
        for address in addresses[:4]:
            placed = f"[{address}]" if ":" in address else address
            target = httpx2.URL(url).copy_with(netloc=f"{placed}:{port}".encode())
            extensions = {"sni_hostname": host} if parts.scheme == "https" else {}
            request = self._open().build_request(method, target, headers=sent, content=body, extensions=extensions)
            try:
                answer = await self._open().send(request, stream=True)
            except httpx2.ConnectError as error:
                failed = error
                continue
            try:
                return answer.status_code, await _read(answer, url)
            finally:
                await answer.aclose()
        assert failed is not None
        raise failed

    async def _placed(self, url: str) -> tuple[SplitResult, str, int, list[str]]:
        """The URL's parts, its host and port, and the addresses of these."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            parts, host, port = urlsplit(""), "", 0
        if parts.username or parts.password or not host or parts.scheme not in ("http", "https"):
            raise _failed(f"{_shown(url)} is no URL of an identity provider: it must be https://host/…")
        return parts, host, port, await self._addresses(parts.scheme, host, port)

    async def _addresses(self, scheme: str, host: str, port: int) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise _failed(f"the host {host[:200]} cannot be found") from None
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        if not addresses or not all(self.check(scheme, address) for address in addresses):
            raise _failed(
                f"{scheme}://{host[:200]} is not asked: identity providers are asked by https, and at public addresses "
                "or those that accounts.identitynetworks names"
            )
        return addresses

    def _open(self) -> httpx2.AsyncClient:
        import httpx2  # noqa: PLC0415

        if self._client is None:
            trust = ssl.create_default_context()
            if self._ca:
                trust.load_verify_locations(cafile=Path(self._ca))
            self._client = httpx2.AsyncClient(
                verify=trust,
                trust_env=False,
                follow_redirects=False,
                timeout=PATIENCE,
                headers={"user-agent": f"lading/{__version__}"},
                # a connection was verified for one host's name, and another host may have the same address
                limits=httpx2.Limits(max_keepalive_connections=0, max_connections=20),
            )
        return self._client


async def _read(answer: httpx2.Response, url: str) -> bytes:
    if 300 <= answer.status_code < 400:
        raise _failed(f"{_shown(url)} answers with a redirect, which is not followed")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise _failed(f"{_shown(url)} answers in an encoding that was not asked for")
    raw = b""
    async for chunk in answer.aiter_raw():
        raw += chunk
        if len(raw) > MOST:
            raise _failed(f"{_shown(url)} answers with more than {MOST} bytes")
    return raw


def _shown(url: str) -> str:
    """A URL for people, without what might be secret in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "what was given"
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"[:300]


def _failed(why: str) -> ProviderFailed:
    return ProviderFailed(f"the identity provider cannot be used: {why}", retry_after=5)
