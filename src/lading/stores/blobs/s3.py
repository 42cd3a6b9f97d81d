"""The calls of Amazon S3 and what speaks like it, over aiobotocore (``pip install 'lading[s3]'``).

What differs between stores is met here: checksums are sent in the oldest form there is (``Content-MD5``, which all
know, and no trailers), the content's hash is not signed a second time, and conditional writes are tried once before
they are relied on.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import importlib
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

from lading.config.storage import S3
from lading.errors import LadingError, StartError, Unavailable
from lading.stores.blobs.objects import ChangedError, MultipartInfo, ObjectInfo, UploadGoneError, apart
from lading.stores.blobs.s3answers import PLAIN_ETAG, RefusedError, compare_whole, damaged

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 5
_READ_AHEAD = 1 << 18
_NEAR_THE_END = 1 << 20
"""More than aiohttp reads before the reader has asked: twice what is to be read ahead, and one read."""
_READ_SECONDS = 30
_ATTEMPTS = 4
_PAUSE = 0.2
_DELETED_AT_ONCE = 1000
_CONNECTIONS = 64
_IN_THE_LOOP = 1 << 16

_ABSENT = {"404", "NoSuchKey", "NotFound"}
_CHANGED = {"412", "PreconditionFailed", "ConditionalRequestConflict", "InvalidPart", "InvalidPartOrder"}
_NO_CONDITIONS = {"501", "NotImplemented"}


class S3Client:
    """One bucket; see :class:`~lading.stores.blobs.objects.ObjectClient`."""

    def __init__(self, settings: S3) -> None:
        _library("aiobotocore.session")
        self._settings = settings
        self._bucket = settings.bucket
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._client: Any = None
        self._signer: Any = None
        self._conditional: bool | None = None
        self._etags_are_md5: bool | None = None
        self._copying = asyncio.Semaphore(settings.multipartcopymaxconcurrency)

    # ---- objects

    async def head(self, key: str) -> ObjectInfo | None:
        try:
            found = await self._call("head_object", Key=key)
        except RefusedError as error:
            if error.code in _ABSENT:
                return None
            raise error.told() from error
        except Unavailable as error:
            if type(error.__cause__) is not _library("botocore.exceptions").HTTPClientError:
                raise
            # OpenStack Swift answers a HEAD for what is not there with a body, which no client can read
            return await self._head_by_get(key)
        return ObjectInfo(key, found["ContentLength"], found.get("ETag", ""), found["LastModified"])

    async def _head_by_get(self, key: str) -> ObjectInfo | None:
        try:
            found = await self._call("get_object", Key=key, Range="bytes=0-0")
        except RefusedError as error:
            if error.code in _ABSENT:
                return None
            if error.status != 416:
                raise error.told() from error
            found = await self._told("get_object", Key=key)  # it is empty
        found["Body"].raw_stream.close()
        size = int(found.get("ContentRange", f"/{found['ContentLength']}").rpartition("/")[2])
        return ObjectInfo(key, size, found.get("ETag", ""), found["LastModified"])

    async def read(self, key: str) -> tuple[bytes, str] | None:
        for attempt in range(_ATTEMPTS):
            try:
                found = await self._call("get_object", Key=key)
            except RefusedError as error:
                if error.code in _ABSENT:
                    return None
                raise error.told() from error
            try:
                content = await found["Body"].read()
            except _transport_errors() as error:
                wrong = str(error) or type(error).__name__
            else:
                if len(content) == found["ContentLength"]:
                    return content, found["ETag"]
                wrong = "it ended early"
            log.warning("the store's answer with %s broke off: %s", key, wrong)
            await asyncio.sleep(0.1 * 2**attempt)
        raise Unavailable("the object store breaks its answers off; try again")

    async def get(self, key: str, start: int, stop: int) -> AsyncIterator[bytes]:
        if start >= stop:
            return
        found = await self._told("get_object", Key=key, Range=f"bytes={start}-{stop - 1}")
        answer = found["Body"].raw_stream
        answer.content.set_read_chunk_size(_READ_AHEAD)
        left, awaited = stop - start, 1
        try:
            if left > _NEAR_THE_END:
                awaited = _wake_at(answer, _READ_AHEAD)
            async for data in answer.content.iter_any():
                left -= len(data)
                if awaited > 1 and left <= _NEAR_THE_END:
                    awaited = _wake_at(answer, 1)
                yield data
        except _transport_errors() as error:
            raise Unavailable(
                f"the transfer from the object store broke off: {str(error) or type(error).__name__}"
            ) from None
        finally:
            answer.close()

    async def put(self, key: str, content: bytes, *, replaces: str = "") -> str:
        md5 = await _md5(content)
        condition = {}
        if replaces and await self._keeps_conditions():
            condition = {"IfMatch": replaces}
        elif replaces:
            found = await self.head(key)
            if found is None or found.etag != replaces:
                raise ChangedError
        for attempt in range(_ATTEMPTS):
            try:
                done = await self._call(
                    "put_object", Key=key, Body=content, **_md5_header(md5), **self._new(), **condition
                )
            except RefusedError as error:
                if condition and error.code in _CHANGED | _ABSENT:
                    raise ChangedError from error
                raise error.told() from error
            if self._is_kept(key, done, md5):
                return cast("str", done["ETag"])
            # other bytes than those sent may lie there now: they must not stay
            condition = {}
            await asyncio.sleep(0.1 * 2**attempt)
        raise damaged()

    async def copy(self, source: str, target: str, size: int) -> None:
        origin = {"Bucket": self._bucket, "Key": source}
        if size <= self._settings.multipartcopythresholdsize:
            await self._told("copy_object", Key=target, CopySource=origin, MetadataDirective="COPY", **self._new())
            return
        step = max(self._settings.multipartcopychunksize, -(-size // 10_000))
        upload = await self.create(target)
        try:
            parts = await asyncio.gather(
                *(
                    self._copy_part(origin, target, upload, number, start, min(start + step, size))
                    for number, start in enumerate(range(0, size, step), 1)
                )
            )
            await self.complete(target, upload, parts)
        except (ChangedError, UploadGoneError):
            raise Unavailable("the object store lost a part of a copy; push the blob again", retry_after=1) from None
        except BaseException:
            await self._left(target, upload)
            raise

    async def _copy_part(self, origin: Any, key: str, upload: str, number: int, start: int, stop: int) -> str:
        async with self._copying:
            done = await self._told(
                "upload_part_copy",
                Key=key,
                UploadId=upload,
                PartNumber=number,
                CopySource=origin,
                CopySourceRange=f"bytes={start}-{stop - 1}",
            )
        return cast("str", done["CopyPartResult"]["ETag"])

    async def _left(self, key: str, upload: str) -> None:
        try:
            await self.abort(key, upload)
        except LadingError as error:
            log.warning("a copy to %s that failed was left behind, to be purged later: %s", key, error.message)

    async def delete(self, keys: Sequence[str]) -> dict[str, str]:
        if len(keys) == 1:
            try:
                await self._call("delete_object", Key=keys[0])
            except RefusedError as error:
                return {} if error.code in _ABSENT else {keys[0]: error.told().message}
            return {}
        failed: dict[str, str] = {}
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            named = [{"Key": key} for key in keys[start : start + _DELETED_AT_ONCE]]
            done = await self._told("delete_objects", Delete={"Objects": named, "Quiet": True})
            failed |= {
                error["Key"]: error.get("Message") or error.get("Code", "refused")
                for error in done.get("Errors", ())
                if error.get("Code") not in _ABSENT
            }
        return failed

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        more: dict[str, str] = {}
        while True:
            page = await self._told("list_objects_v2", Prefix=prefix, **more)
            for each in page.get("Contents", ()):
                yield ObjectInfo(each["Key"], each["Size"], each.get("ETag", ""), each["LastModified"])
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    # ---- multipart uploads

    async def create(self, key: str) -> str:
        return cast("str", (await self._told("create_multipart_upload", Key=key, **self._new()))["UploadId"])

    async def put_part(self, key: str, upload: str, number: int, content: bytes, md5: bytes) -> str:
        try:
            done = await self._call(
                "upload_part", Key=key, UploadId=upload, PartNumber=number, Body=content, **_md5_header(md5)
            )
        except RefusedError as error:
            if error.code == "NoSuchUpload":
                raise UploadGoneError from error
            raise error.told() from error
        if not self._is_kept(key, done, md5):
            raise damaged()
        return cast("str", done["ETag"])

    async def complete(self, key: str, upload: str, parts: Sequence[str]) -> None:
        listed = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(parts, 1)]
        try:
            done = await self._call(
                "complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": listed}
            )
        except RefusedError as error:
            if error.code == "NoSuchUpload":
                raise UploadGoneError from error
            if error.code in _CHANGED:
                raise ChangedError from error
            raise error.told() from error
        if self._etags_are_md5:
            compare_whole(key, done.get("ETag", ""), parts)

    async def abort(self, key: str, upload: str) -> None:
        try:
            await self._call("abort_multipart_upload", Key=key, UploadId=upload)
        except RefusedError as error:
            if error.code not in _ABSENT | {"NoSuchUpload"}:
                raise error.told() from error

    async def multiparts(self, prefix: str) -> AsyncIterator[MultipartInfo]:
        more: dict[str, str] = {}
        while True:
            try:
                page = await self._call("list_multipart_uploads", Prefix=prefix, **more)
            except RefusedError as error:
                if error.code in _NO_CONDITIONS:
                    return  # the manual has a rule of the bucket's life cycle for such stores
                raise error.told() from error
            for each in page.get("Uploads", ()):
                yield MultipartInfo(each["Key"], each["UploadId"], each["Initiated"])
            if not page.get("IsTruncated"):
                return
            more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    # ---- URLs

    async def sign(self, key: str, seconds: int) -> str | None:
        await self._open()
        try:
            url = await self._signer.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=seconds
            )
        except _library("botocore.exceptions").BotoCoreError as error:
            raise Unavailable(f"no URL could be signed: {error}") from error
        return cast("str", url)

    async def close(self) -> None:
        await self._stack.aclose()
        self._client = self._signer = None

    # ---- the connection

    def _new(self) -> dict[str, str]:
        """What every new object is made with."""
        settings, made = self._settings, {"ContentType": "application/octet-stream"}
        if settings.encrypt:
            made["ServerSideEncryption"] = "aws:kms" if settings.keyid else "AES256"
        if settings.keyid:
            made["SSEKMSKeyId"] = settings.keyid
        if settings.storageclass not in {"STANDARD", "NONE"}:
            made["StorageClass"] = settings.storageclass
        if settings.objectacl != "private":
            made["ACL"] = settings.objectacl
        return made

    def _is_kept(self, key: str, done: Any, md5: bytes) -> bool:
        """Whether what was stored is what was sent, where the store's etags are MD5s: the first one tells."""
        if done.get("ServerSideEncryption", "").startswith("aws:kms"):
            return True  # an etag of what a key encrypted is not that of the content
        found = PLAIN_ETAG.fullmatch(done.get("ETag", ""))
        same = found is not None and found[1] == md5.hex()
        if self._etags_are_md5 is None:
            self._etags_are_md5 = same
        if same or not self._etags_are_md5:
            return True
        log.error("the store kept other bytes of %s than it was sent: its etag is %s", key, done.get("ETag"))
        return False

    async def _keeps_conditions(self) -> bool:
        """Whether the store refuses a write whose condition does not hold; some take it all the same."""
        if self._conditional is None:
            sample = f"{self._settings.rootdirectory.strip('/')}/lading/.probe-{uuid4().hex[:8]}".lstrip("/")
            etag = await self.put(sample, b"lading")
            try:
                wrong = '"00000000000000000000000000000000"'
                await self._call("put_object", Key=sample, Body=b"lading", IfMatch=wrong)
            except RefusedError as error:
                self._conditional = error.code in _CHANGED
            else:
                self._conditional = False
            if self._conditional:
                try:
                    await self._call("put_object", Key=sample, Body=b"lading", IfMatch=etag)
                except RefusedError:
                    self._conditional = False
            await self.delete([sample])
        return self._conditional

    async def _told(self, name: str, **arguments: Any) -> Any:
        try:
            return await self._call(name, **arguments)
        except RefusedError as error:
            raise error.told() from error

    async def _call(self, name: str, **arguments: Any) -> Any:
        """Call the store: :class:`RefusedError` if it says no, ``Unavailable`` if it cannot be asked.

        The library tries again what it knows to be passing. Every call here may be made twice, so that one whose answer
        was unreadable is made once more as well.
        """
        exceptions = _library("botocore.exceptions")
        try:
            await self._open()
            try:
                return await apart(getattr(self._client, name)(Bucket=self._bucket, **arguments))
            except exceptions.HTTPClientError as error:
                if type(error) is not exceptions.HTTPClientError:
                    raise
                await asyncio.sleep(_PAUSE)
                return await apart(getattr(self._client, name)(Bucket=self._bucket, **arguments))
        except exceptions.ClientError as error:
            raise RefusedError(error.response) from error
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
            raise Unavailable(
                "no credentials for the object store: set storage.s3.accesskey and secretkey, or give this machine a "
                "role",
                retry_after=30,
            ) from error
        except (exceptions.BotoCoreError, *_transport_errors()) as error:
            said = str(error) or type(error).__name__
            raise Unavailable(f"the object store cannot be reached: {said[:300]}") from error

    async def _open(self) -> None:
        if self._client is not None:
            return
        async with self._opening:
            if self._client is None:
                session = _library("aiobotocore.session").get_session()
                settings = self._settings
                client = await self._connect(session, settings.regionendpoint)
                other = settings.redirectendpoint
                self._signer = await self._connect(session, other) if other else client
                self._client = client

    async def _connect(self, session: Any, endpoint: str) -> Any:
        settings = self._settings
        path_style = settings.forcepathstyle if settings.forcepathstyle is not None else bool(settings.regionendpoint)
        config = _library("aiobotocore.config").AioConfig(
            signature_version="s3v4",
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            max_pool_connections=max(_CONNECTIONS, settings.multipartcopymaxconcurrency),
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            user_agent_extra=settings.useragent or None,
            use_dualstack_endpoint=settings.usedualstack or None,
            use_fips_endpoint=settings.usefipsendpoint or None,
            s3={
                "addressing_style": "path" if path_style else "virtual",
                "use_accelerate_endpoint": settings.accelerate,
                "payload_signing_enabled": False,
            },
        )
        keys = {
            "aws_access_key_id": settings.accesskey.get_secret_value() or None,
            "aws_secret_access_key": settings.secretkey.get_secret_value() or None,
            "aws_session_token": settings.sessiontoken.get_secret_value() or None,
        }
        client = await self._stack.enter_async_context(
            session.create_client(
                "s3",
                region_name=settings.region or "us-east-1",
                endpoint_url=_url(endpoint, secure=settings.secure) or None,
                verify=False if settings.skipverify else None,
                config=config,
                **keys,
            )
        )
        client.meta.events.register("before-sign.s3.DeleteObjects", _add_md5)
        return client


@functools.cache
def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StartError(
            f"storage.s3 needs a library that is not installed ({error.name}). Install it: pip install 'lading[s3]'"
        ) from error


@functools.cache
def _transport_errors() -> tuple[type[BaseException], ...]:
    """What can escape the library when a connection fails."""
    exceptions = _library("botocore.exceptions")
    streaming = (exceptions.HTTPClientError, exceptions.IncompleteReadError, exceptions.ResponseStreamingError)
    return (_library("aiohttp").ClientError, *streaming, TimeoutError, OSError)


def _wake_at(answer: Any, size: int) -> int:
    """Read an answer when so many bytes are there, and not at each packet: a turn of the loop costs more than a copy.

    It has to be 1 again before the answer ends, since aiohttp then gives its connection to whoever asks next, maybe
    before this reader has taken the last bytes. Returns what is in force.
    """
    if answer.connection is None or answer.connection.transport is None or not hasattr(socket, "SO_RCVLOWAT"):
        return 1
    try:
        answer.connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
    except (AttributeError, OSError):  # not a socket of this system, or closed by now: the next read tells
        return 1
    return size


def _url(endpoint: str, *, secure: bool) -> str:
    if not endpoint or urlsplit(endpoint).scheme in {"http", "https"}:
        return endpoint
    return f"{'https' if secure else 'http'}://{endpoint}"


async def _md5(content: bytes) -> bytes:
    if len(content) <= _IN_THE_LOOP:
        return hashlib.md5(content, usedforsecurity=False).digest()
    return await asyncio.to_thread(lambda: hashlib.md5(content, usedforsecurity=False).digest())


def _md5_header(md5: bytes) -> dict[str, str]:
    return {"ContentMD5": base64.b64encode(md5).decode()}


def _add_md5(request: Any, **_: Any) -> None:
    """Old stores want this of a request that deletes many; the library has moved on to other checksums."""
    body = request.data if isinstance(request.data, bytes) else str(request.data).encode()
    md5 = hashlib.md5(body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(md5).decode()
