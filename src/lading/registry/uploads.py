"""Uploads: start, append, finish, cancel, mount (distribution spec, "Pushing blobs").

An upload costs no row. The file is the truth about how much arrived; the rest (which algorithm, the hash so far)
travels in the ``Location`` as a *ticket*, signed so that nobody can hand the registry a hash of other bytes. Any
process that knows the installation's secret can go on with any upload.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import msgspec

from lading.errors import DigestInvalid, Invalid, RangeInvalid, UploadUnknown
from lading.jobs.events import BlobMounted, BlobPushed, By, Target
from lading.jobs.outbox import Outbox
from lading.oci import digest as digests
from lading.oci.digest import Digest
from lading.oci.mediatypes import OCTET_STREAM
from lading.registry.admission import Admission, BlobArrives, UploadBegins
from lading.registry.blobs import Blobs
from lading.registry.repositories import Repositories
from lading.stores.blobs.base import BlobStore, Inflow, UploadSession, UploadState
from lading.stores.metadata.transaction import Metadata, Transaction


class Follower(Protocol):
    """Who reads a blob while it comes in."""

    def begins(self, session: UploadSession) -> None:
        """Its bytes go into this upload."""

    def checked(self) -> None:
        """They were all there and right; they are not safe yet."""


class UploadInvalid(Invalid):
    """The ticket in an upload's location is not one this registry wrote."""

    code = "BLOB_UPLOAD_INVALID"


@dataclass(frozen=True)
class Progress:
    """Where an upload stands: ``size`` bytes arrived; ``ticket`` goes into the next location."""

    uuid: str
    size: int
    ticket: str


@dataclass(frozen=True)
class Range:
    """The bytes a chunk says it is, both ends included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Begun:
    """Who began an upload (:attr:`~lading.access.principal.Principal.subject`) and when, in milliseconds."""

    subject: str = ""
    at: int = 0


NOBODY = Begun()
_UNKNOWN = By()


class Tickets:
    """Signs and reads what a client carries from one request of an upload to the next."""

    def __init__(self, secret: bytes) -> None:
        self._key = hashlib.blake2b(secret, person=b"lading-uploads", digest_size=32).digest()

    def write(self, state: UploadState, begun: Begun = NOBODY) -> str:
        payload = msgspec.msgpack.encode(
            (
                state.repository,
                state.uuid,
                state.algorithm,
                state.hashed,
                state.hash_state,
                begun.subject,
                begun.at,
            )
        )
        return base64.urlsafe_b64encode(self._sign(payload) + payload).rstrip(b"=").decode()

    def read(self, repository: str, uuid: str, ticket: str) -> UploadState:
        """The state in a ticket for this very upload; an empty ticket means a client that dropped it."""
        return self.read_all(repository, uuid, ticket)[0]

    def read_all(self, repository: str, uuid: str, ticket: str) -> tuple[UploadState, Begun]:
        """The same, and who began it."""
        if not ticket:
            return UploadState(repository, uuid, digests.CANONICAL), NOBODY
        try:
            raw = base64.urlsafe_b64decode(ticket + "=" * (-len(ticket) % 4))
        except (binascii.Error, ValueError):
            raw = b""
        signature, payload = raw[:32], raw[32:]
        if not hmac.compare_digest(signature, self._sign(payload)):
            raise UploadInvalid("the upload's location was altered; use it exactly as the last answer gave it")
        name, own, algorithm, hashed, hash_state, *begun = msgspec.msgpack.decode(payload)
        if (name, own) != (repository, uuid):
            raise UploadInvalid("the upload's location was made for another upload; use the one of the last answer")
        return UploadState(name, own, algorithm, hashed, hash_state), Begun(*begun)

    def _sign(self, payload: bytes) -> bytes:
        return hashlib.blake2b(payload, key=self._key, digest_size=32).digest()


class Uploads:
    """Brings blobs in."""

    def __init__(
        self,
        metadata: Metadata,
        store: BlobStore,
        outbox: Outbox,
        secret: bytes,
        admission: Admission | None = None,
    ) -> None:
        self._admission = admission or Admission()
        self._metadata = metadata
        self._store = store
        self._outbox = outbox
        self._tickets = Tickets(secret)

    async def start(self, repository: str, algorithm: str, by: By = _UNKNOWN, subject: str = "") -> Progress:
        """Begin an upload; whoever began it (``subject``) may finish it, see :meth:`begun`."""
        await self._begins(repository, by)
        session = await self._store.begin(repository, digests.algorithm(algorithm))
        try:
            return self._progress(session, Begun(subject, self._metadata.now()))
        finally:
            await session.close()

    def begun(self, repository: str, uuid: str, ticket: str) -> Begun:
        """Who began an upload and when, as its ticket says; nobody, where there is none."""
        return self._tickets.read_all(repository, uuid, ticket)[1]

    async def status(self, repository: str, uuid: str, ticket: str) -> Progress:
        """How much of an upload arrived."""
        async with self._open(repository, uuid, ticket) as (session, begun):
            return self._progress(session, begun)

    async def append(
        self, repository: str, uuid: str, ticket: str, chunks: AsyncIterator[bytes | Inflow], expected: Range | None
    ) -> Progress:
        """Add a chunk; ``expected`` is its Content-Range, if it has one, and must continue what is there."""
        async with self._open(repository, uuid, ticket) as (session, begun):
            await _append(session, chunks, expected)
            return self._progress(session, begun)

    async def finish(
        self,
        repository: str,
        uuid: str,
        ticket: str,
        digest: Digest,
        chunks: AsyncIterator[bytes | Inflow],
        expected: Range | None,
        by: By,
    ) -> int:
        """Add the last chunk, if there is one, and make the upload the blob ``digest``; its size in bytes."""
        try:
            async with self._open(repository, uuid, ticket) as (session, _):
                session.aim(digest)
                await _append(session, chunks, expected)
                return await self._publish(session, repository, digest, by)
        except UploadUnknown:
            size = await self._already_there(repository, digest) if ticket else None
            if size is None:
                raise
            return size

    async def push(
        self,
        repository: str,
        digest: Digest,
        chunks: AsyncIterator[bytes | Inflow],
        by: By,
        follower: Follower | None = None,
    ) -> int:
        """A whole blob in one request; its size in bytes."""
        await self._begins(repository, by)
        session = await self._store.begin(repository, digest.algorithm, aim=digest)
        try:
            if follower:
                follower.begins(session)
            await session.append(chunks)
            return await self._publish(session, repository, digest, by, follower)
        except BaseException:
            # nobody was given a location to go on from
            await session.cancel()
            raise
        finally:
            await session.close()

    async def cancel(self, repository: str, uuid: str, ticket: str) -> None:
        """Forget an upload."""
        async with self._open(repository, uuid, ticket) as (session, _):
            await session.cancel()

    async def mount(self, repository: str, digest: Digest, source: str | None, by: By) -> bool:
        """Make a blob of the repository ``source`` (None: of any) visible in another; False if it is not there."""

        async def mount(tx: Transaction) -> bool:
            blobs = Blobs(tx)
            size = await (blobs.visible(source, digest) if source else blobs.anywhere(digest))
            if size is None:
                return False
            own = await Repositories(tx).ensure(repository)
            await self._admission.ask(tx, BlobArrives(repository, own, digest, size, by))
            if not await blobs.link(own, digest):
                return False
            target = Target(digest, OCTET_STREAM, size)
            await self._outbox.emit(tx, BlobMounted(repository=repository, by=by, target=target, source=source or ""))
            return True

        # most mounts that fail fail here, without taking a turn at writing
        known = await self._metadata.read(lambda tx: _somewhere(tx, digest, source))
        return known and await self._metadata.write(mount)

    @asynccontextmanager
    async def _open(self, repository: str, uuid: str, ticket: str) -> AsyncIterator[tuple[UploadSession, Begun]]:
        state, begun = self._tickets.read_all(repository, uuid, ticket)
        session = await self._store.resume(state)
        if session is None:
            raise UploadUnknown("this upload is not known: it was finished, cancelled or given up; start a new one")
        try:
            yield session, begun
        finally:
            await session.close()

    async def _publish(
        self,
        session: UploadSession,
        repository: str,
        digest: Digest,
        by: By,
        follower: Follower | None = None,
    ) -> int:
        found = await session.digest_as(digest.algorithm)
        if found != digest:
            await session.cancel()
            raise DigestInvalid(
                "the bytes that arrived do not have the digest they were said to have; push the blob again",
                detail={"expected": digest, "actual": found, "size": session.size},
            )
        size = session.size
        if follower:
            follower.checked()
        touching = asyncio.ensure_future(self._metadata.write(lambda tx: Blobs(tx).touch(digest, size), durable=False))
        try:
            await session.sync()
        finally:
            await touching
        await session.publish(digest)

        async def link(tx: Transaction) -> None:
            blobs = Blobs(tx)
            own = await Repositories(tx).ensure(repository)
            await blobs.arrived(digest, size)
            await self._admission.ask(tx, BlobArrives(repository, own, digest, size, by))
            await blobs.link(own, digest)
            target = Target(digest, OCTET_STREAM, size)
            await self._outbox.emit(tx, BlobPushed(repository=repository, by=by, target=target))

        await self._metadata.write(link)
        return size

    async def _already_there(self, repository: str, digest: Digest) -> int | None:
        """The size of a blob that an earlier, unanswered try of the same request finished."""
        return await self._metadata.read(lambda tx: Blobs(tx).visible(repository, digest))

    async def _begins(self, repository: str, by: By) -> None:
        if self._admission.asks(UploadBegins):
            await self._metadata.read(lambda tx: self._admission.ask(tx, UploadBegins(repository, by)))

    def _progress(self, session: UploadSession, begun: Begun) -> Progress:
        state = session.state()
        return Progress(state.uuid, session.size, self._tickets.write(state, begun))


async def _append(session: UploadSession, chunks: AsyncIterator[bytes | Inflow], expected: Range | None) -> None:
    if expected is not None and expected.first != session.size:
        raise RangeInvalid(
            f"this chunk begins at byte {expected.first}, but {session.size} bytes arrived so far; ask for the "
            "upload's status and go on from there",
            detail={"received": session.size},
        )
    await session.append(chunks, exact=expected.length if expected else None)


async def _somewhere(tx: Transaction, digest: Digest, source: str | None) -> bool:
    blobs = Blobs(tx)
    return await (blobs.visible(source, digest) if source else blobs.anywhere(digest)) is not None
