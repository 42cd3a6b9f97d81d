"""The calls of Google Cloud Storage, over its JSON interface (``pip install 'lading[gcs]'``).

Parts are objects of their own under ``lading/parts/``, put together by *compose*, 32 at a time and the results again:
so any process can store any part, at once with others, which Google's resumable uploads do not allow. A part is named
to compose together with its generation (what stands for an etag here), so that no other bytes can come in its place.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

from lading.config.storage import GCS
from lading.errors import LadingError, StartError, Unavailable
from lading.stores.blobs.objects import ChangedError, MultipartInfo, ObjectInfo, UploadGoneError
from lading.stores.blobs.web import RefusedError, Web, escaped, library, query

log = logging.getLogger(__name__)

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_COMPOSED_AT_ONCE = 32
_DELETED_AT_ONCE = 100
_FIELDS = "name,size,generation,updated,md5Hash"
_RIGHTS = "this identity may not do that: give it the role Storage Object User on the bucket"
_HINTS = {
    "401": "Google does not accept the credentials: correct storage.gcs.keyfile",
    "403": f"{_RIGHTS}; see the rights the manual lists under object storage",
    "404": "there is no such bucket: make it, or correct storage.gcs.bucket",
}


class GCSClient:
    """One bucket; see :class:`~lading.stores.blobs.objects.ObjectClient`."""

    def __init__(self, settings: GCS) -> None:
        self._settings = settings
        self._service = settings.endpoint.rstrip("/")
        self._bucket = escaped(settings.bucket)
        root = settings.rootdirectory.strip("/")
        self._parts = f"{root}/lading/parts/" if root else "lading/parts/"
        self._identity = _identity(settings)
        self._refreshing = asyncio.Lock()
        self._composing = asyncio.Semaphore(settings.maxconcurrency)
        self._web = Web("gcs", self._authorize, _HINTS)

    # ---- objects

    async def head(self, key: str) -> ObjectInfo | None:
        try:
            found = await self._web.call("GET", self._url(key, fields=_FIELDS))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise self._web.explain(error) from error
        return _info(_read(found.body))

    async def read(self, key: str) -> tuple[bytes, str] | None:
        try:
            found = await self._web.call("GET", self._url(key, alt="media"))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise self._web.explain(error) from error
        return found.body, found.headers["x-goog-generation"]

    async def get(self, key: str, start: int, stop: int) -> AsyncIterator[bytes]:
        if start < stop:
            async for data in self._web.stream(self._url(key, alt="media"), {"Range": f"bytes={start}-{stop - 1}"}):
                yield data

    async def put(self, key: str, content: bytes, *, replaces: str = "") -> str:
        md5 = await asyncio.to_thread(lambda: hashlib.md5(content, usedforsecurity=False).digest())
        try:
            return await self._insert(key, content, md5, ifGenerationMatch=replaces)
        except RefusedError as error:
            if replaces and error.status in {404, 412}:
                raise ChangedError from error
            raise self._web.explain(error) from error

    async def _insert(self, key: str, content: bytes, md5: bytes, **conditions: str) -> str:
        """Store an object, unless what arrives has another MD5; its generation."""
        wanted, border = base64.b64encode(md5).decode(), uuid4().hex
        about = {"name": key, "md5Hash": wanted, "contentType": "application/octet-stream"}
        body = (
            f"--{border}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(about)}\r\n"
            f"--{border}\r\nContent-Type: application/octet-stream\r\n\r\n"
        ).encode()
        body = b"".join((body, content, f"\r\n--{border}--\r\n".encode()))
        values = query(uploadType="multipart", fields=_FIELDS, **conditions)
        url = f"{self._service}/upload/storage/v1/b/{self._bucket}/o?{values}"
        kept = _read(
            (await self._web.call("POST", url, {"Content-Type": f"multipart/related; boundary={border}"}, body)).body
        )
        if kept.get("md5Hash", wanted) != wanted:
            log.error("the store kept other bytes of %s than it was sent", key)
            await self.delete([key])
            raise Unavailable("the object store did not keep what it was sent; push the blob again", retry_after=1)
        return cast("str", kept["generation"])

    async def copy(self, source: str, target: str, size: int) -> None:  # noqa: ARG002 - the store goes on by itself
        url = f"{self._url(source)}/rewriteTo/b/{self._bucket}/o/{escaped(target)}"
        token = ""
        while True:
            values = query(rewriteToken=token)
            done = _read((await self._web.told("POST", f"{url}?{values}" if values else url)).body)
            if done.get("done"):
                return
            token = done["rewriteToken"]

    async def delete(self, keys: Sequence[str]) -> dict[str, str]:
        url = f"{self._service}/batch/storage/v1"
        return await self._web.batches(url, keys, self._url, self._authorize, _DELETED_AT_ONCE)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        token = ""
        while True:
            values = query(prefix=prefix, pageToken=token, fields=f"nextPageToken,items({_FIELDS})")
            page = _read((await self._web.told("GET", f"{self._service}/storage/v1/b/{self._bucket}/o?{values}")).body)
            for each in page.get("items", ()):
                yield _info(each)
            token = page.get("nextPageToken", "")
            if not token:
                return

    # ---- multipart uploads

    async def create(self, key: str) -> str:  # noqa: ARG002 - the first part begins it
        return uuid4().hex

    async def put_part(self, key: str, upload: str, number: int, content: bytes, md5: bytes) -> str:
        try:
            return await self._insert(self._part(key, upload, f"{number:05}"), content, md5)
        except RefusedError as error:
            raise self._web.explain(error) from error

    async def complete(self, key: str, upload: str, parts: Sequence[str]) -> None:
        named = [(self._part(key, upload, f"{number:05}"), etag) for number, etag in enumerate(parts, 1)]
        level = 0
        while len(named) > _COMPOSED_AT_ONCE:
            level += 1
            groups = [named[start : start + _COMPOSED_AT_ONCE] for start in range(0, len(named), _COMPOSED_AT_ONCE)]
            places = [self._part(key, upload, f"{level}-{number:05}") for number in range(len(groups))]
            named = list(zip(places, await asyncio.gather(*map(self._compose, places, groups)), strict=True))
        await self._compose(key, named)
        try:
            await self.abort(key, upload)
        except LadingError as error:
            log.warning("the parts of %s were left behind, to be purged later: %s", key, error.message)

    async def _compose(self, target: str, sources: Sequence[tuple[str, str]]) -> str:
        asked = {
            "sourceObjects": [{"name": name, "generation": generation} for name, generation in sources],
            "destination": {"contentType": "application/octet-stream"},
        }
        async with self._composing:
            try:
                done = await self._web.call(
                    "POST",
                    f"{self._url(target)}/compose?{query(fields=_FIELDS)}",
                    {"Content-Type": "application/json"},
                    json.dumps(asked).encode(),
                )
            except RefusedError as error:
                if error.status == 404:
                    # completed by a try whose answer got lost, given up, or a part is another now: the caller looks
                    raise UploadGoneError from error
                if error.status == 412:
                    raise ChangedError from error
                raise self._web.explain(error) from error
        return cast("str", _read(done.body)["generation"])

    async def abort(self, key: str, upload: str) -> None:
        left = [each.key async for each in self.list(self._part(key, upload, ""))]
        failed = await self.delete(left)
        if failed:
            raise Unavailable(f"parts could not be deleted: {next(iter(failed.values()))}")

    async def multiparts(self, prefix: str) -> AsyncIterator[MultipartInfo]:
        last: MultipartInfo | None = None
        async for found in self.list(self._parts + prefix):
            key, upload, _ = found.key.removeprefix(self._parts).rsplit("/", 2)
            if last is None or (last.key, last.upload) != (key, upload):
                if last is not None:
                    yield last
                last = MultipartInfo(key, upload, found.modified)
        if last is not None:
            yield last

    def _part(self, key: str, upload: str, name: str) -> str:
        return f"{self._parts}{key}/{upload}/{name}"

    # ---- URLs

    async def sign(self, key: str, seconds: int) -> str | None:
        """By the identity's own key, or by Google's IAM for one that has none at hand (``signBlob``)."""
        email, now = self._email(), datetime.now(UTC)
        if not email:
            return None
        host, day, moment = urlsplit(self._service).netloc, f"{now:%Y%m%d}", f"{now:%Y%m%dT%H%M%SZ}"
        scope = f"{day}/auto/storage/goog4_request"
        path = f"/{self._bucket}/{escaped(key, '/')}"
        values = query(
            **{
                "X-Goog-Algorithm": "GOOG4-RSA-SHA256",
                "X-Goog-Credential": f"{email}/{scope}",
                "X-Goog-Date": moment,
                "X-Goog-Expires": str(seconds),
                "X-Goog-SignedHeaders": "host",
            }
        )
        request = f"GET\n{path}\n{values}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        hashed = hashlib.sha256(request.encode()).hexdigest()
        signature = await self._signature(f"GOOG4-RSA-SHA256\n{moment}\n{scope}\n{hashed}".encode())
        return f"{self._service}{path}?{values}&X-Goog-Signature={signature.hex()}"

    def _email(self) -> str:
        email = getattr(self._identity, "signer_email", None) or getattr(self._identity, "service_account_email", "")
        return cast("str", email)

    async def _signature(self, text: bytes) -> bytes:
        if hasattr(self._identity, "sign_bytes"):
            return cast("bytes", await asyncio.to_thread(self._identity.sign_bytes, text))
        url = (
            f"{self._settings.iamendpoint.rstrip('/')}/v1/projects/-/serviceAccounts/{escaped(self._email())}:signBlob"
        )
        asked = json.dumps({"payload": base64.b64encode(text).decode()}).encode()
        done = await self._web.told("POST", url, {"Content-Type": "application/json"}, asked)
        return base64.b64decode(_read(done.body)["signedBlob"])

    async def close(self) -> None:
        await self._web.close()

    # ---- the connection

    def _url(self, key: str, **values: str) -> str:
        url = f"{self._service}/storage/v1/b/{self._bucket}/o/{escaped(key)}"
        return f"{url}?{query(**values)}" if values else url

    async def _authorize(self, method: str, url: str, headers: dict[str, str], length: int) -> dict[str, str]:  # noqa: ARG002
        if not self._identity.valid:
            async with self._refreshing:
                if not self._identity.valid:
                    await asyncio.to_thread(self._refresh)
        return {**headers, "Authorization": f"Bearer {self._identity.token}"}

    def _refresh(self) -> None:
        try:
            self._identity.refresh(library("google.auth.transport.requests", "gcs").Request())
        except library("google.auth.exceptions", "gcs").GoogleAuthError as error:
            raise Unavailable(
                f"no token for Google Cloud Storage: {str(error)[:200]}; see storage.gcs.keyfile", retry_after=30
            ) from error


def _identity(settings: GCS) -> Any:
    """Who asks: the service account whose key is given, or what Google's tools find (a file, a role of the machine)."""
    given = settings.credentials.get_secret_value()
    accounts = library("google.oauth2.service_account", "gcs").Credentials
    try:
        if given:
            return accounts.from_service_account_info(json.loads(given), scopes=[_SCOPE])
        if settings.keyfile:
            return accounts.from_service_account_file(settings.keyfile, scopes=[_SCOPE])
        return library("google.auth", "gcs").default(scopes=[_SCOPE])[0]
    except (library("google.auth.exceptions", "gcs").GoogleAuthError, ValueError, OSError) as error:
        raise StartError(f"storage.gcs has no usable credentials: {str(error)[:300]}") from error


def _read(body: bytes) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", json.loads(body))
    except ValueError as error:
        raise Unavailable("the object store's answer cannot be read") from error


def _info(found: dict[str, Any]) -> ObjectInfo:
    return ObjectInfo(found["name"], int(found["size"]), found["generation"], datetime.fromisoformat(found["updated"]))
