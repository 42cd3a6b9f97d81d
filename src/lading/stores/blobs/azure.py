"""The calls of Azure Blob Storage, version 2021-12-02 of its REST interface (``pip install 'lading[azure]'``).

Parts are *blocks*. A blob has no multipart uploads of its own there: blocks belong to the blob's name until a list of
them is committed, and those nobody committed are dropped by Azure after a week, or at once with the next commit to that
name. So a block's id holds the upload's, the part's number and the MD5 of its bytes; and for whoever finds, when they
commit, that somebody else has committed meanwhile, the upload is gone, as is one that was completed.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4
from xml.etree import ElementTree as ET

from lading.config.storage import Azure
from lading.errors import Unavailable
from lading.stores.blobs.objects import ChangedError, MultipartInfo, ObjectInfo, UploadGoneError
from lading.stores.blobs.web import RefusedError, Web, escaped, library, query

_VERSION = "2021-12-02"
_SCOPE = "https://storage.azure.com/.default"
_KEY_LASTS = timedelta(days=1)
_DELETED_AT_ONCE = 256
_COPY_SECONDS = 600.0
_DROPPED = {"InvalidBlockList", "InvalidBlobOrBlock"}
_SIGNED_HEADERS = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip
_RIGHTS = "this identity may not do that: give it the role Storage Blob Data Contributor"
_HINTS = {
    "ContainerNotFound": "there is no such container: make it, or correct storage.azure.container",
    "AuthenticationFailed": "storage.azure.accountkey is not the account's, or the clocks differ by 15 minutes or more",
    "AuthorizationFailure": "the account's network rules, or a missing right, forbid it",
    "AuthorizationPermissionMismatch": _RIGHTS,
    "KeyBasedAuthenticationNotPermitted": "the account allows no shared key: use storage.azure.credentials",
    "403": f"{_RIGHTS}; see the rights the manual lists under object storage",
}


class AzureClient:
    """One container; see :class:`~lading.stores.blobs.objects.ObjectClient`."""

    def __init__(self, settings: Azure) -> None:
        self._settings = settings
        self._account = settings.accountname
        self._service = settings.serviceurl.rstrip("/") or f"https://{self._account}.blob.{settings.realm}"
        self._key = base64.b64decode(settings.accountkey.get_secret_value()) if settings.shared else b""
        self._tokens = None if settings.shared else _credential(settings)
        self._delegated: tuple[datetime, ET.Element] | None = None
        self._delegating = asyncio.Lock()
        self._web = Web("azure", self._authorize, _HINTS, skip_verify=settings.skipverify)

    # ---- objects

    async def head(self, key: str) -> ObjectInfo | None:
        try:
            found = (await self._web.call("HEAD", self._url(key))).headers
        except RefusedError as error:
            if error.status == 404 and error.code != "ContainerNotFound":
                return None
            raise self._web.explain(error) from error
        return ObjectInfo(key, int(found["content-length"]), found["etag"], _date(found["last-modified"]))

    async def read(self, key: str) -> tuple[bytes, str] | None:
        try:
            found = await self._web.call("GET", self._url(key))
        except RefusedError as error:
            if error.status == 404 and error.code != "ContainerNotFound":
                return None
            raise self._web.explain(error) from error
        return found.body, found.headers["etag"]

    async def get(self, key: str, start: int, stop: int) -> AsyncIterator[bytes]:
        if start < stop:
            async for data in self._web.stream(self._url(key), {"Range": f"bytes={start}-{stop - 1}"}):
                yield data

    async def put(self, key: str, content: bytes, *, replaces: str = "") -> str:
        md5 = await asyncio.to_thread(_md5, content)
        headers = {"x-ms-blob-type": "BlockBlob", "Content-MD5": md5, "Content-Type": "application/octet-stream"}
        if replaces:
            headers["If-Match"] = replaces
        try:
            done = await self._web.call("PUT", self._url(key), headers, content)
        except RefusedError as error:
            if replaces and error.status in {404, 412}:
                raise ChangedError from error
            raise self._web.explain(error) from error
        return done.headers["etag"]

    async def copy(self, source: str, target: str, size: int) -> None:
        done = await self._web.told("PUT", self._url(target), {"x-ms-copy-source": self._url(source)})
        status, deadline = done.headers.get("x-ms-copy-status", ""), time.monotonic() + _COPY_SECONDS
        while status == "pending" and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            status = (await self._web.told("HEAD", self._url(target))).headers.get("x-ms-copy-status", "")
        if status in ("failed", "aborted"):
            await self.delete([target])  # Azure leaves an empty blob there
        if status != "success":
            raise Unavailable(f"the object store did not finish a copy of {size} bytes ({status or 'no status'})")

    async def delete(self, keys: Sequence[str]) -> dict[str, str]:
        url = self._url("", restype="container", comp="batch")
        return await self._web.batches(url, keys, self._url, self._authorize_within, _DELETED_AT_ONCE)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        marker = ""
        while True:
            found = await self._web.told(
                "GET", self._url("", restype="container", comp="list", prefix=prefix, marker=marker)
            )
            page = _xml(found.body)
            for each in page.iterfind("Blobs/Blob"):
                about = functools.partial(_text, each)
                modified = _date(about("Properties/Last-Modified"))
                yield ObjectInfo(
                    about("Name"), int(about("Properties/Content-Length")), about("Properties/Etag"), modified
                )
            marker = page.findtext("NextMarker", "")
            if not marker:
                return

    # ---- multipart uploads

    async def create(self, key: str) -> str:  # noqa: ARG002 - the first block begins it
        return uuid4().hex[:12]

    async def put_part(self, key: str, upload: str, number: int, content: bytes, md5: bytes) -> str:
        block = base64.b64encode(f"{upload}{number:05}{md5.hex()}".encode()).decode()
        headers = {"Content-MD5": base64.b64encode(md5).decode()}
        await self._web.told("PUT", self._url(key, comp="block", blockid=block), headers, content)
        return block

    async def complete(self, key: str, upload: str, parts: Sequence[str]) -> None:  # noqa: ARG002 - the blocks know
        listed = "".join(f"<Latest>{part}</Latest>" for part in parts)
        content = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
        headers = {"x-ms-blob-content-type": "application/octet-stream", "Content-Type": "application/xml"}
        try:
            await self._web.call("PUT", self._url(key, comp="blocklist"), headers, content)
        except RefusedError as error:
            if error.code in _DROPPED:
                raise UploadGoneError from error
            raise self._web.explain(error) from error

    async def abort(self, key: str, upload: str) -> None:
        """Nothing: Azure drops the blocks by itself, and to drop them now would take other uploads' too."""

    async def multiparts(self, prefix: str) -> AsyncIterator[MultipartInfo]:  # noqa: ARG002 - none that ours must clean
        for each in list[MultipartInfo]():
            yield each

    # ---- URLs

    async def sign(self, key: str, seconds: int) -> str | None:
        expires = _stamp(datetime.now(UTC) + timedelta(seconds=seconds))
        named = f"/blob/{self._account}/{self._settings.container}/{key}"
        protocol = "https" if self._service.startswith("https") else "https,http"
        values = {"sv": _VERSION, "sr": "b", "sp": "r", "se": expires, "spr": protocol}
        behind = (protocol, _VERSION, "b", "", "", "", "", "", "", "")
        if self._settings.shared:
            secret = self._key
            fields: tuple[str, ...] = ("r", "", expires, named, "", "", *behind)
        else:
            given = await self._delegation()
            about = {
                short: given.findtext(name, "")
                for short, name in (
                    ("skoid", "SignedOid"), ("sktid", "SignedTid"), ("skt", "SignedStart"), ("ske", "SignedExpiry"),
                    ("sks", "SignedService"), ("skv", "SignedVersion"),
                )
            }  # fmt: skip
            secret = base64.b64decode(given.findtext("Value", ""))
            fields = ("r", "", expires, named, *about.values(), "", "", "", "", *behind)
            values |= about
        return f"{self._url(key)}?{query(**values, sig=_hmac(secret, chr(10).join(fields)))}"

    async def _delegation(self) -> ET.Element:
        """The key that Azure lends to an identity without one, for URLs; a new one before it ends."""
        async with self._delegating:
            now = datetime.now(UTC)
            if self._delegated is None or self._delegated[0] < now:
                start, expiry = _stamp(now - timedelta(minutes=5)), _stamp(now + _KEY_LASTS)
                asked = f"<KeyInfo><Start>{start}</Start><Expiry>{expiry}</Expiry></KeyInfo>".encode()
                url = f"{self._service}/?{query(restype='service', comp='userdelegationkey')}"
                given = await self._web.told("POST", url, {"Content-Type": "application/xml"}, asked)
                self._delegated = now + _KEY_LASTS / 2, _xml(given.body)
            return self._delegated[1]

    async def close(self) -> None:
        await self._web.close()
        if self._tokens is not None:
            await self._tokens.close()

    # ---- the connection

    def _url(self, key: str, **values: str) -> str:
        url = f"{self._service}/{escaped(self._settings.container)}" + (f"/{escaped(key, '/')}" if key else "")
        return f"{url}?{query(**values)}" if values else url

    async def _authorize(self, method: str, url: str, headers: dict[str, str], length: int) -> dict[str, str]:
        return await self._authorize_within(method, url, {**headers, "x-ms-version": _VERSION}, length)

    async def _authorize_within(self, method: str, url: str, headers: dict[str, str], length: int) -> dict[str, str]:
        """As a part of a batch: its version is the batch's, and must not be told."""
        sent = {**headers, "x-ms-date": format_datetime(datetime.now(UTC), usegmt=True)}
        if self._tokens is None:
            signature = _hmac(self._key, _to_sign(self._account, method, url, sent, length))
            return {**sent, "Authorization": f"SharedKey {self._account}:{signature}"}
        try:
            token = await self._tokens.get_token(_SCOPE)
        except library("azure.core.exceptions", "azure").AzureError as error:
            raise Unavailable(
                f"no token for Azure: {str(error).splitlines()[0][:200]}; see storage.azure.credentials", retry_after=30
            ) from error
        return {**sent, "Authorization": f"Bearer {token.token}"}


def _to_sign(account: str, method: str, url: str, headers: dict[str, str], length: int) -> str:
    """What a shared key signs (Azure's documentation, "Authorize with Shared Key")."""
    lower = {name.lower(): value for name, value in headers.items()}
    lower["content-length"] = str(length) if length else ""
    lines = [method, *(lower.get(name, "") for name in _SIGNED_HEADERS)]
    lines += [f"{name}:{lower[name]}" for name in sorted(lower) if name.startswith("x-ms-")]
    parts = urlsplit(url)
    lines.append(f"/{account}{parts.path}")
    lines += [f"{name}:{value}" for name, value in sorted(parse_qsl(parts.query))]
    return "\n".join(lines)


def _credential(settings: Azure) -> Any:
    given = settings.credentials
    identity = library("azure.identity.aio", "azure")
    if given.type == "client_secret":
        return identity.ClientSecretCredential(given.tenantid, given.clientid, given.secret.get_secret_value())
    return identity.DefaultAzureCredential()


def _hmac(key: bytes, text: str) -> str:
    return base64.b64encode(hmac.digest(key, text.encode(), hashlib.sha256)).decode()


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _xml(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body.removeprefix(b"\xef\xbb\xbf"))  # noqa: S314 - expat bounds what entities grow to
    except ET.ParseError as error:
        raise Unavailable("the object store's answer cannot be read") from error


def _text(of: ET.Element, path: str) -> str:
    return of.findtext(path) or ""


def _date(text: str) -> datetime:
    return parsedate_to_datetime(text)


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
