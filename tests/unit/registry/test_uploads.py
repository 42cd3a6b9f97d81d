"""Uploads without HTTP: tickets, chunks in and out of order, what a lost answer and a dropped ticket do."""

from __future__ import annotations

import base64
import random

import pytest

from lading.errors import Conflict, DigestInvalid, RangeInvalid, SizeInvalid, UploadUnknown
from lading.jobs.events import BlobMounted, BlobPushed
from lading.oci.digest import Digest
from lading.registry.uploads import Progress, Range, Tickets, UploadInvalid, Uploads
from lading.stores.blobs.base import UploadState
from tests.unit.registry.world import BY, SECRET, World, broken, stream

pytestmark = pytest.mark.anyio

UUID = "0b5f0d8c-3f0f-4a63-8f63-1f0f3f0f4a63"
STATE = UploadState("a/b", UUID, "sha512", 7, b"\x00state\xff")
DATA = random.Random("uploads").randbytes(3000)
DIGEST = Digest.of(DATA)


class TestTickets:
    tickets = Tickets(SECRET)

    def test_a_ticket_comes_back_as_it_went(self) -> None:
        assert self.tickets.read("a/b", UUID, self.tickets.write(STATE)) == STATE

    def test_it_fits_into_a_query_unquoted(self) -> None:
        assert set(self.tickets.write(STATE)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

    def test_the_same_secret_makes_the_same_tickets_elsewhere(self) -> None:
        assert Tickets(SECRET).read("a/b", UUID, self.tickets.write(STATE)) == STATE

    def test_another_secret_does_not(self) -> None:
        with pytest.raises(UploadInvalid, match="altered"):
            self.tickets.read("a/b", UUID, Tickets(b"another").write(STATE))

    @pytest.mark.parametrize(("name", "uuid"), [("a", UUID), ("a/b", UUID.replace("0", "1"))])
    def test_a_ticket_for_another_upload(self, name: str, uuid: str) -> None:
        with pytest.raises(UploadInvalid, match="another upload"):
            self.tickets.read(name, uuid, self.tickets.write(STATE))

    def test_each_bit_counts(self) -> None:
        raw = base64.urlsafe_b64decode(self.tickets.write(STATE) + "==")
        for place in range(len(raw)):
            forged = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
            with pytest.raises(UploadInvalid):
                self.tickets.read("a/b", UUID, base64.urlsafe_b64encode(forged).decode())

    @pytest.mark.parametrize("ticket", ["x", "====", "é", "\x00", "A" * 43, "A" * 100_000, "%2e%2e", "null", " "])
    def test_what_is_none(self, ticket: str) -> None:
        with pytest.raises(UploadInvalid):
            self.tickets.read("a/b", UUID, ticket)

    def test_a_ticket_cut_off_anywhere(self) -> None:
        whole = self.tickets.write(STATE)
        for length in range(1, len(whole)):
            with pytest.raises(UploadInvalid):
                self.tickets.read("a/b", UUID, whole[:length])

    def test_a_client_that_dropped_it_starts_the_hash_anew(self) -> None:
        assert self.tickets.read("a/b", UUID, "") == UploadState("a/b", UUID, "sha256")


async def begin(world: World, data: bytes = b"", algorithm: str = "sha256") -> Progress:
    progress = await world.uploads.start("a", algorithm)
    if data:
        progress = await world.uploads.append("a", progress.uuid, progress.ticket, stream(data), None)
    return progress


async def finish(world: World, progress: Progress, digest: Digest = DIGEST, rest: bytes = b"") -> int:
    return await world.uploads.finish("a", progress.uuid, progress.ticket, digest, stream(rest), None, BY)


class TestOneAfterTheOther:
    async def test_in_one_request(self, world: World) -> None:
        assert await world.uploads.push("a", DIGEST, stream(DATA[:1], DATA[1:]), BY) == len(DATA)
        assert await world.read("a", DIGEST) == DATA

    async def test_in_chunks(self, world: World) -> None:
        progress = await begin(world, DATA[:1000])
        assert progress.size == 1000
        chunk = Range(1000, 1999)
        progress = await world.uploads.append("a", progress.uuid, progress.ticket, stream(DATA[1000:2000]), chunk)
        assert (await world.uploads.status("a", progress.uuid, progress.ticket)).size == 2000
        assert await finish(world, progress, rest=DATA[2000:]) == len(DATA)
        assert await world.read("a", DIGEST) == DATA
        assert list(world.store._uploads()) == []

    async def test_an_empty_blob(self, world: World) -> None:
        digest = Digest.of(b"")
        assert await finish(world, await begin(world), digest) == 0
        assert await world.read("a", digest) == b""

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    @pytest.mark.parametrize("asked", ["sha256", "sha512"])
    async def test_begun_in_one_algorithm_and_finished_in_another(
        self, world: World, algorithm: str, asked: str
    ) -> None:
        digest = Digest.of(DATA, asked)
        await finish(world, await begin(world, DATA[:500], algorithm), digest, DATA[500:])
        assert await world.read("a", digest) == DATA

    async def test_every_ticket_dropped(self, world: World) -> None:
        progress = await begin(world, DATA[:500])
        await world.uploads.append("a", progress.uuid, "", stream(DATA[500:]), None)
        await world.uploads.finish("a", progress.uuid, "", DIGEST, stream(), None, BY)
        assert await world.read("a", DIGEST) == DATA

    async def test_an_old_ticket_does_not_spoil_the_hash(self, world: World) -> None:
        old = await begin(world, DATA[:500])
        await world.uploads.append("a", old.uuid, old.ticket, stream(DATA[500:]), None)
        await finish(world, old)
        assert await world.read("a", DIGEST) == DATA

    async def test_a_session_taken_up_by_another_process_with_another_view(self, world: World) -> None:
        other = World(world.root, world.url)
        progress = await begin(world, DATA[:500])
        progress = await other.uploads.append("a", progress.uuid, progress.ticket, stream(DATA[500:]), None)
        await finish(world, progress)
        assert await other.read("a", DIGEST) == DATA
        await other.close()


class TestWhatDoesNotFit:
    @pytest.mark.parametrize("first", [0, 499, 501, 10**17])
    async def test_a_chunk_out_of_order(self, world: World, first: int) -> None:
        progress = await begin(world, DATA[:500])
        with pytest.raises(RangeInvalid) as found:
            await world.uploads.append(
                "a", progress.uuid, progress.ticket, stream(DATA[500:]), Range(first, first + 2499)
            )
        assert found.value.detail == {"received": 500}
        assert await finish(world, progress, rest=DATA[500:]) == len(DATA)

    @pytest.mark.parametrize("length", [0, 1, 2499, 2501, 5000])
    async def test_a_chunk_that_is_not_as_long_as_it_says(self, world: World, length: int) -> None:
        progress = await begin(world, DATA[:500])
        body = (DATA[500:] * 2)[:length]
        with pytest.raises(SizeInvalid):
            await world.uploads.append("a", progress.uuid, progress.ticket, stream(body), Range(500, 2999))
        assert (await world.uploads.status("a", progress.uuid, progress.ticket)).size == 500
        assert await finish(world, progress, rest=DATA[500:]) == len(DATA)

    async def test_bytes_of_another_digest(self, world: World) -> None:
        progress = await begin(world, DATA[:-1])
        with pytest.raises(DigestInvalid) as found:
            await finish(world, progress)
        assert found.value.detail == {"expected": DIGEST, "actual": Digest.of(DATA[:-1]), "size": len(DATA) - 1}
        assert world.files() == set()
        with pytest.raises(UploadUnknown):
            await world.uploads.status("a", progress.uuid, progress.ticket)

    async def test_a_whole_push_of_another_digest_leaves_nothing(self, world: World) -> None:
        with pytest.raises(DigestInvalid):
            await world.uploads.push("a", DIGEST, stream(DATA[1:]), BY)
        assert list(world.store._uploads()) == []
        assert await world.rows() == {}

    @pytest.mark.parametrize("uuid", [UUID, "", ".", "..", "../../x", "x", UUID.upper(), UUID + "/..", "\x00"])
    async def test_an_upload_nobody_started(self, world: World, uuid: str) -> None:
        await begin(world)
        for ask in (
            world.uploads.status("a", uuid, ""),
            world.uploads.append("a", uuid, "", stream(b"x"), None),
            world.uploads.finish("a", uuid, "", DIGEST, stream(b""), None, BY),
            world.uploads.cancel("a", uuid, ""),
        ):
            with pytest.raises(UploadUnknown):
                await ask

    async def test_an_upload_belongs_to_its_repository(self, world: World) -> None:
        progress = await begin(world, DATA)
        with pytest.raises(UploadUnknown):
            await world.uploads.status("b", progress.uuid, "")
        with pytest.raises(UploadInvalid):
            await world.uploads.status("b", progress.uuid, progress.ticket)

    async def test_an_unknown_algorithm(self, world: World) -> None:
        with pytest.raises(DigestInvalid):
            await world.uploads.start("a", "md5")
        assert list(world.store._uploads()) == []


class TestBrokenOff:
    async def test_what_arrived_stays(self, world: World) -> None:
        progress = await begin(world)
        with pytest.raises(ConnectionError):
            await world.uploads.append(
                "a", progress.uuid, progress.ticket, broken([DATA[:700], DATA[700:900]], ConnectionError()), None
            )
        assert (await world.uploads.status("a", progress.uuid, progress.ticket)).size == 900
        assert await finish(world, progress, rest=DATA[900:]) == len(DATA)

    async def test_a_whole_push_leaves_nothing(self, world: World) -> None:
        with pytest.raises(ConnectionError):
            await world.uploads.push("a", DIGEST, broken([DATA[:700]], ConnectionError()), BY)
        assert list(world.store._uploads()) == []

    async def test_a_push_that_cannot_be_recorded_leaves_nothing(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A whole push has no location to go on from, so its bytes would only lie there."""

        async def fails(*arguments: object, **more: object) -> None:
            raise Conflict("the index is busy")

        monkeypatch.setattr(world.metadata, "write", fails)
        with pytest.raises(Conflict):
            await world.uploads.push("a", DIGEST, stream(DATA), BY)
        assert list(world.store._uploads()) == []

    async def test_the_last_request_again_after_its_answer_was_lost(self, world: World) -> None:
        progress = await begin(world, DATA)
        await finish(world, progress)
        assert await finish(world, progress) == len(DATA)

    async def test_the_last_request_again_in_vain(self, world: World) -> None:
        progress = await begin(world, DATA)
        await world.uploads.cancel("a", progress.uuid, progress.ticket)
        with pytest.raises(UploadUnknown):
            await finish(world, progress)

    async def test_cancel_forgets_the_bytes(self, world: World) -> None:
        progress = await begin(world, DATA)
        await world.uploads.cancel("a", progress.uuid, progress.ticket)
        assert list(world.store._uploads()) == []
        with pytest.raises(UploadUnknown):
            await world.uploads.cancel("a", progress.uuid, progress.ticket)


class TestMount:
    async def test_from_a_repository(self, world: World) -> None:
        digest = await world.put_blob("a", DATA)
        assert await world.uploads.mount("b", digest, "a", BY)
        assert await world.read("b", digest) == DATA

    async def test_from_anywhere(self, world: World) -> None:
        digest = await world.put_blob("a", DATA)
        assert await world.uploads.mount("b", digest, None, BY)

    async def test_not_from_where_it_is_not(self, world: World) -> None:
        digest = await world.put_blob("a", DATA)
        assert not await world.uploads.mount("b", digest, "c", BY)
        assert not await world.uploads.mount("b", Digest.of(b"other"), "a", BY)
        assert not await world.has_blob("b", digest)

    async def test_not_what_was_deleted_everywhere(self, world: World) -> None:
        digest = await world.put_blob("a", DATA)
        await world.delete.blob("a", digest, BY)
        assert not await world.uploads.mount("b", digest, None, BY)


async def test_events(world: World) -> None:
    digest = await world.put_blob("a", DATA)
    await world.uploads.mount("b", digest, "a", BY)
    events = [event for _, _, event in await world.outbox.after(0, 10)]
    assert [(type(event), event.repository, event.by) for event in events] == [
        (BlobPushed, "a", BY), (BlobMounted, "b", BY),
    ]  # fmt: skip


async def test_another_secret_refuses_the_tickets_of_this_one(world: World) -> None:
    progress = await begin(world)
    other = Uploads(world.metadata, world.store, world.outbox, b"another")
    with pytest.raises(UploadInvalid):
        await other.status("a", progress.uuid, progress.ticket)
