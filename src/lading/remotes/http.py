"""A registry over the distribution protocol, as a :class:`~lading.remotes.base.RegistryClient`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from typing import Any
from urllib.parse import quote

from lading import errors
from lading.oci import mediatypes
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor, Manifest, parse
from lading.oci.reference import is_name, is_tag
from lading.remotes import answers, referrers, uploads
from lading.remotes.base import MAX_MANIFEST, Chunks, Source
from lading.remotes.session import Session
from lading.remotes.stream import Body, pieces_of
from lading.remotes.transport import Answer, joined
from lading.remotes.verify import Verifier

ACCEPT = f"{mediatypes.OCI_INDEX}, {mediatypes.OCI_MANIFEST}, {mediatypes.DOCKER_LIST}, {mediatypes.DOCKER_MANIFEST}, */*;q=0.1"
_PAGE = 1000
_MAX_LIST = 32 << 20
_MAX_PAGES = 100_000
_PIECE = 1 << 20
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


def pull(repository: str) -> tuple[str, ...]:
    """The scope to read a repository."""
    return (f"repository:{repository}:pull",)


def push(repository: str) -> tuple[str, ...]:
    """The scope to write to a repository."""
    return (f"repository:{repository}:pull,push",)


class HttpRegistry:
    """A registry's repositories. Requests go through ``session``, which knows host, login and patience."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.host = session.host
        self._noting = asyncio.Lock()
        """Held by who writes a tag that lists what refers to a manifest: others read it first, to add to it."""

    async def resolve(self, repository: str, reference: str) -> Descriptor | None:
        path = f"/v2/{repository}/manifests/{reference}"
        what = _named(repository, reference)
        async with self.session.open(
            "HEAD", path, pull(repository), headers={"accept": ACCEPT}, expect=(200, 404, 405), what=what
        ) as answer:
            if answer.status_code == 404:
                return None
            digest = answer.headers.get("docker-content-digest", "")
            length = answer.headers.get("content-length", "")
            if answer.status_code == 200 and digest and length.isdigit():
                kind = answer.headers.get("content-type", "").partition(";")[0]
                return Descriptor(media_type=kind, digest=Digest.parse(digest), size=int(length))
        found = await self.manifest(repository, reference)  # not everyone answers HEAD, or says all in it
        return Descriptor(media_type=found.media_type, digest=found.digest, size=found.size)

    async def manifest(self, repository: str, reference: str) -> Manifest:
        path = f"/v2/{repository}/manifests/{reference}"
        what = _named(repository, reference)
        try:
            async with self.session.open(
                "GET", path, pull(repository), headers={"accept": ACCEPT}, what=what
            ) as answer:
                raw = await answers.read(answer, MAX_MANIFEST, "a manifest")
                kind, stated = answer.headers.get("content-type", ""), answer.headers.get("docker-content-digest", "")
        except errors.Missing as error:
            raise errors.ManifestUnknown(error.message) from None
        expected = reference if ":" in reference else stated
        algorithm = Digest.parse(expected).algorithm if expected else "sha256"
        found = parse(raw, kind, algorithm)
        if expected and found.digest != expected:
            raise errors.DigestInvalid(
                f"{self.host} sends as {what} a manifest whose digest is {found.digest}; refused"
            )
        return found

    async def put_manifest(self, repository: str, reference: str, manifest: Manifest) -> None:
        async with self._noting if referrers.is_fallback(reference) else nullcontext():
            listed = await self._put(repository, reference, manifest)
        if manifest.subject and not listed and not await self._has_referrers(repository, manifest.subject):
            # such a registry leaves it to who pushes
            async with self._noting:
                found = [referrers.described(manifest)]
                await referrers.note(self, repository, manifest.subject, found, self._put)

    async def _put(self, repository: str, reference: str, manifest: Manifest) -> bool:
        """Store a manifest; whether the registry lists by itself that it refers to another one."""
        path = f"/v2/{repository}/manifests/{reference}"
        async with self.session.open(
            "PUT",
            path,
            push(repository),
            headers={"content-type": manifest.media_type},
            body=manifest.raw,
            expect=(200, 201, 202),
            what=f"to store {_named(repository, reference)}",
        ) as answer:
            stated = answer.headers.get("docker-content-digest", "")
            if stated and stated != manifest.digest:
                raise errors.BadAnswer(
                    f"{self.host} stored {_named(repository, reference)} as {stated[:160]}, which differs"
                )
            return not manifest.subject or bool(answer.headers.get("oci-subject", ""))

    async def _has_referrers(self, repository: str, digest: str) -> bool:
        """Whether the registry lists by itself what refers to a manifest; some do and do not say so when it comes."""
        path, what = f"/v2/{repository}/referrers/{digest}", "referrers"
        try:
            async with self.session.open("GET", path, pull(repository), what=what) as answer:
                return mediatypes.OCI_INDEX in answer.headers.get("content-type", "")
        except (errors.Missing, errors.Unsupported, errors.Invalid, errors.BadAnswer):
            return False

    async def has_blob(self, repository: str, blob: Descriptor) -> bool:
        path = f"/v2/{repository}/blobs/{blob.digest}"
        async with self.session.open(
            "HEAD", path, push(repository), expect=(200, 404), what=_named(repository, blob.digest)
        ) as answer:
            return answer.status_code == 200

    async def blob_size(self, repository: str, digest: str) -> int | None:
        """The size of a blob in bytes; None when it is not there."""
        path, what = f"/v2/{repository}/blobs/{digest}", _named(repository, digest)
        async with self.session.open("HEAD", path, pull(repository), expect=(200, 404), what=what) as answer:
            if answer.status_code == 404:
                return None
            length = answer.headers.get("content-length", "")
            if not length.isascii() or not length.isdigit() or len(length) > 18:
                raise errors.BadAnswer(f"{self.host} does not say how large {what} is")
            return int(length)

    def blob(self, repository: str, blob: Descriptor, start: int = 0) -> AbstractAsyncContextManager[Chunks]:
        return self._blob(repository, blob, start, None if start else Verifier(blob, self.host))

    def unverified(
        self, repository: str, blob: Descriptor, start: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes | Body]]:
        """The same, for who counts and hashes what arrives anyway: nothing is checked, and large parts are to be read."""
        return aclosing(self._resumed(repository, blob, start))

    @asynccontextmanager
    async def _blob(
        self, repository: str, blob: Descriptor, start: int, check: Verifier | None
    ) -> AsyncGenerator[Chunks]:
        async with aclosing(self._resumed(repository, blob, start)) as parts, aclosing(pieces_of(parts)) as chunks:
            yield chunks if check is None else _checked(chunks, check)

    async def _resumed(self, repository: str, blob: Descriptor, start: int) -> AsyncGenerator[bytes | Body]:
        """The bytes from ``start``; where the connection breaks, another one goes on from that byte."""
        place, tries = start, 0
        while place < blob.size or not tries:
            before = place
            try:
                async with aclosing(self._range(repository, blob, place)) as parts:
                    async for part in parts:
                        if isinstance(part, bytes):
                            place += len(part)
                            yield part
                            continue
                        left = part.left
                        yield part
                        place += left - part.left
            except errors.Unreachable:
                tries = 1 if place > before else tries + 1
                if tries >= self.session.policy.attempts:
                    raise
                await asyncio.sleep(self.session.pause(tries))
                continue
            if place < blob.size and place > before:  # an end before its time, which HTTP cannot always tell
                tries = 1
                continue
            break

    async def _range(self, repository: str, blob: Descriptor, start: int) -> AsyncGenerator[bytes | Body]:
        path, what = f"/v2/{repository}/blobs/{blob.digest}", _named(repository, blob.digest)
        headers = {"range": f"bytes={start}-"} if start else {}
        try:
            async with self.session.open(
                "GET", path, pull(repository), headers=headers, expect=(200, 206), what=what
            ) as answer:
                skip = _skipped(answer, start, self.host)
                async with aclosing(_raw(answer)) as parts:
                    if not skip:
                        async for part in parts:
                            yield part
                        return
                    async for chunk in pieces_of(parts):
                        if skip >= len(chunk):
                            skip -= len(chunk)
                            continue
                        yield chunk[skip:] if skip else chunk
                        skip = 0
        except errors.Missing as error:
            raise errors.BlobUnknown(error.message) from None

    async def put_blob(self, repository: str, blob: Descriptor, source: Source) -> None:
        await uploads.Upload(self.session, repository, blob).send(source)

    async def mount(self, repository: str, blob: Descriptor, origin: str) -> bool:
        return await uploads.Upload(self.session, repository, blob).mount(origin)

    async def tags(self, repository: str) -> AsyncGenerator[str]:
        """Every tag that is one: another text would go into paths, and to terminals, as whatever it says."""
        what = f"the tags of {repository}"
        async for page in self.pages(f"/v2/{repository}/tags/list?n={_PAGE}", pull(repository), what):
            for tag in filter(is_tag, _texts(answers.listed(page, "tags"))):
                yield tag

    async def repositories(self) -> AsyncGenerator[str]:
        """Every repository the registry lists (distribution spec's ``_catalog``); not every registry does."""
        scopes = ("registry:catalog:*",)
        async for page in self.pages(f"/v2/_catalog?n={_PAGE}", scopes, "a list of its repositories"):
            for name in filter(is_name, _texts(answers.listed(page, "repositories"))):
                yield name

    async def referrers(self, repository: str, digest: str) -> AsyncGenerator[Descriptor]:
        """What refers to a manifest, by the API or, where there is none, by the fallback tag."""
        path = f"/v2/{repository}/referrers/{digest}"
        seen: set[str] = set()
        while path:
            self._once(path, seen, "referrers")
            found: Manifest | None = None
            expect = (200, 404) if len(seen) == 1 else (200,)
            async with self.session.open("GET", path, pull(repository), expect=expect, what="referrers") as answer:
                path = ""
                if answer.status_code == 200 and mediatypes.OCI_INDEX in answer.headers.get("content-type", ""):
                    found = parse(await answers.read(answer, MAX_MANIFEST, "referrers"), mediatypes.OCI_INDEX)
                    path = self._next(answer)
            if found is None:
                try:
                    found = await self.manifest(repository, referrers.fallback_tag(digest))
                except errors.ManifestUnknown:
                    return
            for descriptor in found.children:
                yield descriptor

    async def delete(self, repository: str, reference: str) -> None:
        path = f"/v2/{repository}/manifests/{reference}"
        scopes = (f"repository:{repository}:delete,pull,push",)
        what = f"to delete {_named(repository, reference)}"
        try:
            async with self.session.open("DELETE", path, scopes, expect=(200, 202, 204), what=what):
                return
        except errors.Missing as error:
            raise errors.ManifestUnknown(error.message) from None

    async def pages(self, path: str, scopes: tuple[str, ...], what: str) -> AsyncGenerator[dict[str, Any]]:
        """The documents of a list, as long as each names a next one (distribution spec, "Listing Tags")."""
        seen: set[str] = set()
        while path:
            self._once(path, seen, what)
            try:
                async with self.session.open("GET", path, scopes, what=what) as answer:
                    yield await answers.document(answer, _MAX_LIST, what)
                    path = self._next(answer)
            except errors.Missing as error:
                raise errors.RepositoryUnknown(error.message) from None

    def _once(self, path: str, seen: set[str], what: str) -> None:
        """Note that a page was asked for, which is not to be asked for again."""
        if path in seen or len(seen) > _MAX_PAGES:
            raise errors.BadAnswer(f"{self.host} lists {what} in circles")
        seen.add(path)

    def _next(self, answer: Answer) -> str:
        link = answer.following()
        there = joined(answer.url, link) if link else ""
        origin = "/".join(answer.url.split("/")[:3])
        if there and not there.startswith(f"{origin}/"):
            raise errors.BadAnswer(f"{self.host} names a next page on another host, {there[:200]!r}")
        return there.removeprefix(origin)


def _named(repository: str, reference: str) -> str:
    return f"{repository}{'@' if ':' in reference else ':'}{quote(reference, safe=':')}"


def _texts(values: list[Any]) -> list[str]:
    return [one for one in values if isinstance(one, str)]


def _skipped(answer: Answer, start: int, host: str) -> int:
    """How many bytes of the answer come before those asked for."""
    if answer.status_code == 200:
        return start  # it knows no ranges: everything comes again
    place = answer.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0].strip()
    if not _NUMBER.fullmatch(place) or int(place) > start:
        raise errors.BadAnswer(f"{host} was asked for the bytes from {start} on and sends others")
    return start - int(place)


async def _checked(chunks: Chunks, check: Verifier) -> AsyncGenerator[bytes]:
    async for chunk in chunks:
        await check.update(chunk)
        yield chunk
    check.finish()


async def _raw(answer: Answer) -> AsyncGenerator[bytes | Body]:
    """The body in large pieces, or what is left of it: each is hashed and written in a thread, which has its price."""
    pieces: list[bytes] = []
    held = 0
    try:
        async with aclosing(answer.parts()) as parts:
            async for part in parts:
                if isinstance(part, bytes):
                    pieces.append(part)
                    held += len(part)
                if pieces and (held >= _PIECE or not isinstance(part, bytes)):
                    yield b"".join(pieces)
                    pieces, held = [], 0
                if not isinstance(part, bytes):
                    yield part
    except errors.Unreachable:
        if pieces:
            yield b"".join(pieces)  # what came before the break need not come again
        raise
    if pieces:
        yield b"".join(pieces)
