"""One request to an endpoint: registry:2's, with its headers, and nothing of them in an error."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from lading import __version__
from lading.config.notifications import Endpoint
from lading.control.envelope import MEDIA_TYPE
from lading.telemetry.logs import expected

if TYPE_CHECKING:
    import httpx2

_MOST_REDIRECTS = 5


class Refused(Exception):
    """The endpoint did not take an event; the message says why."""


class Delivery:
    """Posts to one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._headers = [
            (name, each.get_secret_value()) for name, values in endpoint.headers.items() for each in values
        ]
        self._client: httpx2.AsyncClient | None = None

    async def post(self, body: bytes) -> int:
        """Send it; the status, which is below 400. As in registry:2, any such answer means that it was taken."""
        seconds = self._endpoint.timeout.total_seconds()
        client = await asyncio.to_thread(self._open) if self._client is None else self._client
        try:
            async with asyncio.timeout(seconds):
                status = await self._post(client, body)
        except TimeoutError:
            raise Refused(f"no answer within {seconds:g} s") from None
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a network or an answer can do wrong
            raise Refused(expected(error)) from None
        if status >= 400:
            raise Refused(f"it answered {status}")
        return status

    def _open(self) -> httpx2.AsyncClient:
        # in a thread: to read the system's authorities takes longer than requests should wait
        import httpx2  # noqa: PLC0415 - it is large, and only those who have endpoints need it

        context = ssl.create_default_context()
        self._client = httpx2.AsyncClient(
            verify=context, headers={"user-agent": f"lading/{__version__}"}, follow_redirects=False, timeout=None
        )
        return self._client

    async def _post(self, client: httpx2.AsyncClient, body: bytes) -> int:
        url = str(self._endpoint.url)
        for _ in range(_MOST_REDIRECTS):
            own = _origin(url) == _origin(str(self._endpoint.url))
            # what the headers let in is meant for the endpoint, not for whoever it sends us to
            headers = [("content-type", MEDIA_TYPE), *(self._headers if own else ())]
            async with client.stream("POST", url, content=body, headers=headers) as response:
                status, location = response.status_code, response.headers.get("location")
            if status not in (307, 308) or not location:
                return status
            url = urljoin(url, location)
            if urlsplit(url).scheme not in ("http", "https"):
                raise Refused("it sends us to what is no http URL")
        raise Refused(f"it sent us on more than {_MOST_REDIRECTS} times")

    async def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            await self._client.aclose()


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
