"""Manifests in and out without HTTP: what a push asks for, what it leaves when it fails, what pulls tell."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lading.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    RepositoryUnknown,
    TagInvalid,
)
from lading.jobs.events import BlobPulled, ManifestPulled, ManifestPushed
from lading.oci.digest import Digest
from lading.registry.push import PushPolicy
from tests.support import images
from tests.support.images import Blob, encode, index
from tests.unit.registry.world import BY, Clock, World, tiny

pytestmark = pytest.mark.anyio


def foreign(url: str) -> Blob:
    document = json.loads(tiny("foreign").manifest.data)
    document["layers"][0] |= {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "urls": [url]}
    return Blob(images.MANIFEST, encode(document))


class TestPush:
    async def test_the_bytes_come_back_as_they_came(self, world: World) -> None:
        made = tiny("a")
        await world.put("a", made, "latest")
        for reference, by_digest in (("latest", False), (made.digest, True)):
            found = await world.pull.manifest("a", reference, by_digest=by_digest)
            assert (found.raw, found.digest, found.media_type) == (made.manifest.data, made.digest, images.MANIFEST)
        assert await world.read("a", made.layers[0].digest) == made.layers[0].data

    async def test_its_bytes_lie_among_the_blobs_too(self, world: World) -> None:
        made = tiny("a")
        await world.put("a", made, "latest")
        assert Path(world.store.layout.blob(Digest(made.digest))).read_bytes() == made.manifest.data

    async def test_content_that_is_not_there_is_named(self, world: World) -> None:
        made = tiny("a", layers=(10, 20, 30))
        await world.put_blob("a", made.layers[1].data)
        with pytest.raises(ManifestBlobUnknown) as found:
            await world.put_manifest("a", made.manifest, "latest")
        missing = [made.config, made.layers[0], made.layers[2]]
        assert found.value.detail == [blob.descriptor() for blob in missing]
        assert made.digest not in world.files()
        assert not await world.has_manifest("a", "latest")

    async def test_content_of_another_repository_does_not_count(self, world: World) -> None:
        made = tiny("a")
        await world.put("a", made, "latest")
        with pytest.raises(ManifestBlobUnknown):
            await world.put_manifest("b", made.manifest, "latest")

    async def test_children_that_are_not_there_are_named(self, world: World) -> None:
        made = index("multi")
        await world.put("a", made.images[0])
        with pytest.raises(ManifestBlobUnknown) as found:
            await world.put_manifest("a", made.manifest, "latest")
        assert found.value.detail == [made.images[1].manifest.descriptor()]

    async def test_a_thousand_missing_layers_are_told_in_a_bounded_answer(self, world: World) -> None:
        layers = [Blob(images.LAYER, b"%d" % number) for number in range(1000)]
        with pytest.raises(ManifestBlobUnknown, match="1001 of") as found:
            await world.put_manifest("a", images.image_manifest(Blob(images.CONFIG, b"{}"), layers))
        assert len(found.value.message) < 2000
        assert len(str(found.value.detail)) < 50_000

    async def test_foreign_layers_and_subjects_need_not_be_there(self, world: World) -> None:
        made = tiny("foreign")
        await world.put_blob("a", made.config.data)
        await world.put_manifest("a", foreign("https://example.com/layer"), "foreign")
        await world.put("a", images.artifact("early", tiny("not there").manifest.descriptor()), "early")
        assert await world.has_manifest("a", "foreign")

    async def test_another_digest_than_it_was_pushed_by(self, world: World) -> None:
        made = tiny("a")
        with pytest.raises(DigestInvalid) as found:
            await world.push.manifest("a", Digest.of(b"x"), [], images.MANIFEST, made.manifest.data, BY)
        assert found.value.detail == {"expected": Digest.of(b"x"), "actual": made.digest}

    async def test_sha512(self, world: World) -> None:
        made = tiny("a")
        await world.put("a", made)
        digest = Digest.of(made.manifest.data, "sha512")
        pushed = await world.push.manifest("a", digest, ["long"], images.MANIFEST, made.manifest.data, BY)
        assert pushed.digest == digest
        assert (await world.pull.manifest("a", "long", by_digest=False)).digest == digest
        assert {digest, made.digest} <= world.files()

    async def test_several_tags(self, world: World) -> None:
        made = tiny("a")
        await world.put("a", made, "one", "two", "three")
        assert await world.pull.tags("a", "", 10) == (["one", "three", "two"], False)

    async def test_the_same_manifest_under_another_type_keeps_its_bytes(self, world: World) -> None:
        made = tiny("a")
        document = json.loads(made.manifest.data)
        del document["mediaType"]
        raw = encode(document)
        await world.put("a", made)
        for kind in (images.MANIFEST, images.DOCKER_MANIFEST):
            await world.put_manifest("a", Blob(kind, raw), "latest")
            found = await world.pull.manifest("a", "latest", by_digest=False)
            assert (found.raw, found.media_type) == (raw, kind)


class TestUrls:
    @pytest.mark.parametrize(
        "url", ["", "ftp://example.com/x", "file:///etc/passwd", "//example.com", "https://", "https://[", "http://a/#f", "http://a\n/"]
    )  # fmt: skip
    async def test_what_no_client_could_fetch(self, world: World, url: str) -> None:
        with pytest.raises(ManifestInvalid, match="not a URL"):
            await world.put_manifest("a", foreign(url))

    async def test_allowed_and_denied(self, tmp_path: Path, clock: Clock) -> None:
        allow, deny = (
            (re.compile(r"^https?://([^/]+\.)?example\.com/"),),
            (re.compile(r"^https?://bad\.example\.com/"),),
        )
        world = World(tmp_path / "urls", policy=PushPolicy(urls_allowed=allow, urls_denied=deny))
        await world.put_blob("a", tiny("foreign").config.data)
        await world.put_manifest("a", foreign("https://good.example.com/x"))
        with pytest.raises(ManifestInvalid, match="not among the URLs"):
            await world.put_manifest("a", foreign("https://example.org/x"))
        with pytest.raises(ManifestInvalid, match="is among the URLs"):
            await world.put_manifest("a", foreign("https://bad.example.com/x"))
        await world.close()


class TestPull:
    async def test_what_is_not_there_says_what_is_missing(self, world: World) -> None:
        await world.put("a", tiny("a"), "latest")
        other = Digest.of(b"other")
        with pytest.raises(RepositoryUnknown):
            await world.pull.manifest("b", "latest", by_digest=False)
        with pytest.raises(ManifestUnknown, match="no tag"):
            await world.pull.manifest("a", "other", by_digest=False)
        with pytest.raises(ManifestUnknown, match="no manifest"):
            await world.pull.manifest("a", other, by_digest=True)
        with pytest.raises(BlobUnknown):
            await world.pull.blob_size("a", other)
        with pytest.raises(RepositoryUnknown):
            await world.pull.blob("b", other)
        with pytest.raises(RepositoryUnknown):
            await world.pull.tags("b", "", 10)

    async def test_lost_bytes_are_told_of_and_pushed_again(self, world: World) -> None:
        made = tiny("a")
        await world.put("a", made, "latest")
        digest = Digest(made.layers[0].digest)
        Path(world.store.layout.blob(digest)).unlink()
        with pytest.raises(BlobUnknown, match="lost; once the registry was repaired"):
            await world.pull.blob("a", digest)
        Path(world.store.layout.blob(digest)).write_bytes(made.layers[0].data[:-1])
        with pytest.raises(BlobUnknown, match=r"damaged: \d+ of \d+ are there"):
            await world.pull.blob("a", digest)
        await world.put_blob("a", made.layers[0].data)
        assert await world.read("a", digest) == made.layers[0].data

    async def test_pages_in_byte_order(self, world: World) -> None:
        made = tiny("a")
        tags = ["B", "a", "A", "_", "0", "a.b", "a-b"]
        await world.put("a", made, *tags)
        pages, last, more = [], "", True
        while more:
            page, more = await world.pull.tags("a", last, 2)
            pages.append(page)
            last = page[-1]
        assert sum(pages, []) == sorted(tags)  # noqa: RUF017 - seven of them
        assert await world.pull.tags("a", "a-zzz-not-there", 10) == (["a.b"], False)
        assert await world.pull.tags("a", "zzz", 10) == ([], False)

    async def test_the_catalog_names_what_holds_a_manifest(self, world: World) -> None:
        for name in ("b", "a/b", "a"):
            await world.put(name, tiny("x"), "latest")
        await world.put_blob("blobs-alone", b"x")
        assert await world.pull.catalog("", 2) == (["a", "a/b"], True)
        assert await world.pull.catalog("a/b", 2) == (["b"], False)

    async def test_a_manifest_that_was_taken_can_be_pulled_while_somebody_listens(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        """What a push allows (``limits.manifestdepth``) no pull may refuse afterwards."""
        world = World(tmp_path / "deep", policy=PushPolicy(most_depth=100))
        made = tiny("deep")
        await world.put("a", made)
        document = json.loads(made.manifest.data)
        document["deep"] = json.loads("[" * 60 + "]" * 60)
        deep = Blob(images.MANIFEST, encode(document))
        await world.put_manifest("a", deep, "deep")
        stored = await world.pull.manifest("a", "deep", by_digest=False)
        world.pull.manifest_pulled("a", stored, "deep", BY)
        await world.outbox.flush()
        assert isinstance((await world.outbox.after(0, 100))[-1][2], ManifestPulled)
        await world.close()


class TestReferrers:
    async def listed(self, world: World, subject: str, kind: str = "", after: str = "", limit: int = 100) -> list[str]:
        found, _ = await world.pull.referrers("a", Digest(subject), kind, after, limit)
        return [referrer.digest for referrer in found]

    async def test_before_and_after_the_subject_comes(self, world: World) -> None:
        subject = tiny("subject")
        made = images.artifact("signature", subject.manifest.descriptor())
        assert await self.listed(world, subject.digest) == []
        await world.put("a", made)
        assert await self.listed(world, subject.digest) == [made.digest]
        await world.put("a", subject, "latest")
        [found] = (await world.pull.referrers("a", Digest(subject.digest), "", "", 10))[0]
        assert (found.media_type, found.size) == (images.MANIFEST, made.manifest.size)
        assert (found.artifact_type, found.annotations) == (
            "application/vnd.test.sbom",
            {"org.example.seed": "signature"},
        )

    async def test_only_of_that_repository(self, world: World) -> None:
        subject = tiny("subject")
        await world.put("b", images.artifact("x", subject.manifest.descriptor()))
        assert await self.listed(world, subject.digest) == []

    async def test_a_type_and_pages(self, world: World) -> None:
        subject = tiny("subject").manifest
        made = {n: images.artifact(n, subject.descriptor(), f"application/vnd.test.{n % 2}") for n in range(7)}
        for one in made.values():
            await world.put("a", one)
        every = sorted(one.digest for one in made.values())
        assert await self.listed(world, subject.digest) == every
        odd = sorted(one.digest for n, one in made.items() if n % 2)
        assert await self.listed(world, subject.digest, "application/vnd.test.1") == odd
        first, more = await world.pull.referrers("a", Digest(subject.digest), "", "", 3)
        assert more
        assert await self.listed(world, subject.digest, after=first[-1].digest) == every[3:]

    async def test_what_an_older_client_listed_counts_if_it_names_the_subject(self, world: World) -> None:
        subject = tiny("subject")
        await world.put("a", subject, "latest")
        plain, native = images.artifact("plain"), images.artifact("native", subject.manifest.descriptor())
        for one in (plain, native):
            await world.put("a", one)
        entries = [one.manifest.descriptor(artifactType="application/vnd.x") for one in (plain, native)]
        listing = Blob(images.INDEX, encode({"schemaVersion": 2, "mediaType": images.INDEX, "manifests": entries}))
        await world.put_manifest("a", listing, "sha256-" + subject.digest.partition(":")[2])
        assert await self.listed(world, subject.digest) == [native.digest]
        assert await self.listed(world, subject.digest, "application/vnd.x") == []


class TestDelete:
    async def test_a_tag_alone(self, world: World) -> None:
        made = tiny("a")
        await world.put("a", made, "one", "two")
        await world.delete.tag("a", "one", BY)
        assert await world.pull.tags("a", "", 10) == (["two"], False)
        assert await world.has_manifest("a", made.digest)

    async def test_a_manifest_with_its_tags(self, world: World) -> None:
        made = tiny("a")
        await world.put("a", made, "one", "two")
        await world.put("a", tiny("b"), "three")
        await world.delete.manifest("a", Digest(made.digest), BY)
        assert await world.pull.tags("a", "", 10) == (["three"], False)
        assert not await world.has_manifest("a", made.digest)
        told = [event for _, _, event in await world.outbox.after(0, 100)][-3:]
        assert [type(event).__name__ for event in told] == ["ManifestDeleted", "TagDeleted", "TagDeleted"]

    async def test_what_is_not_there(self, world: World) -> None:
        digest = Digest.of(b"x")
        for ask in (
            world.delete.tag("a", "x", BY), world.delete.manifest("a", digest, BY), world.delete.blob("a", digest, BY)
        ):  # fmt: skip
            with pytest.raises(RepositoryUnknown):
                await ask
        await world.put("a", tiny("a"), "latest")
        with pytest.raises(ManifestUnknown):
            await world.delete.tag("a", "x", BY)
        with pytest.raises(ManifestUnknown):
            await world.delete.manifest("a", digest, BY)
        with pytest.raises(BlobUnknown):
            await world.delete.blob("a", digest, BY)
        assert not issubclass(ManifestUnknown, TagInvalid)

    async def test_a_blob_only_here(self, world: World) -> None:
        digest = await world.put_blob("a", b"x")
        await world.put_blob("b", b"x")
        await world.delete.blob("a", digest, BY)
        assert not await world.has_blob("a", digest)
        assert await world.read("b", digest) == b"x"


async def test_a_push_tells_what_it_names(world: World) -> None:
    made = tiny("a")
    await world.put("a", made, "one", "two")
    told = [event for _, _, event in await world.outbox.after(0, 100) if isinstance(event, ManifestPushed)]
    assert [event.tag for event in told] == ["one", "two"]
    assert [target.digest for target in told[0].references] == [blob.digest for blob in made.blobs]


async def test_pulls_are_told_together(world: World) -> None:
    digest = await world.put_blob("a", b"x")
    before = await world.outbox.newest()
    for _ in range(5):
        world.pull.blob_pulled("a", digest, 1, BY)
    assert await world.outbox.newest() == before
    await world.outbox.flush()
    assert [type(event) for _, _, event in await world.outbox.after(before, 10)] == [BlobPulled] * 5
