"""Projects and quotas: where pushes go, what they may use, and that the count is exact beside other pushes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from lading.access.users import Users
from lading.app import rules, rules_of_mirrors
from lading.control.accounts import set_up
from lading.control.projects import Projects
from lading.control.quotas import Quotas
from lading.errors import Conflict, Denied, Invalid, RepositoryUnknown
from lading.jobs.events import By
from lading.oci.digest import Digest
from lading.registry.admission import Admission, ManifestArrives, Question
from lading.registry.collection import Terms
from lading.registry.push import Push, PushPolicy
from lading.registry.uploads import Uploads
from lading.stores.metadata.transaction import Transaction
from tests.support.images import Image, image, image_manifest
from tests.support.postgres import Postgres
from tests.unit.control.yard import SEAL, Yard
from tests.unit.registry.world import stream

pytestmark = pytest.mark.anyio


@pytest.fixture
async def yard(tmp_path: Path, index_url: str) -> AsyncIterator[Yard]:
    made = Yard(tmp_path / "store", index_url)
    await set_up(made.metadata, SEAL, made.settings)
    yield made
    await made.close()


def size(*images: Image) -> int:
    """Each content once: config, layers and manifest."""
    return sum(len(data) for data in {blob.data for one in images for blob in (*one.blobs, one.manifest)})


def typed(content: Image) -> tuple[str, bytes]:
    """A manifest as it is pushed."""
    return content.manifest.media_type, content.manifest.data


async def test_a_project_has_to_be_there(yard: Yard) -> None:
    with pytest.raises(RepositoryUnknown, match="no project nowhere; create it first"):
        await yard.push("nowhere/app", image(1))
    await yard.push("nginx", image(1))
    await yard.project("team")
    await yard.push("team/app", image(1))
    count = await yard.metadata.read(lambda tx: Projects(tx).repositories(2))
    assert count == 1


async def test_an_administrators_push_makes_one_where_that_is_allowed(tmp_path: Path, index_url: str) -> None:
    yard = Yard(tmp_path / "store", index_url, create=True)
    await set_up(yard.metadata, SEAL, yard.settings)

    async def people(tx: Transaction) -> tuple[int, int]:
        admin = await Users(tx).named("admin")
        assert admin is not None
        return admin.id, (await Users(tx).add("alice")).id

    admin, alice = await yard.metadata.write(people)
    with pytest.raises(RepositoryUnknown):
        await yard.push("fresh/app", image(1), By(actor="alice", subject=f"u{alice}"))
    await yard.push("fresh/app", image(1), By(actor="admin", subject=f"u{admin}"))
    made = await yard.metadata.read(lambda tx: Projects(tx).named("fresh"))
    assert made is not None
    assert (made.owner, made.public) == (admin, False)
    await yard.close()


async def test_each_content_counts_once_and_ends_with_the_last_manifest_that_needs_it(yard: Yard) -> None:
    team, other = await yard.project("team"), await yard.project("other")
    one, two, first = image(1), image(2), image("first", (600, 300))
    other_layers = image("second", (400,))
    layers = (first.layers[0], *other_layers.layers)
    second = replace(other_layers, layers=layers, manifest=image_manifest(other_layers.config, layers))
    await yard.push("team/a", first)
    await yard.push("team/b", first)
    assert await yard.used(team) == size(first)
    await yard.push("team/c", second)
    await yard.push("other/x", second)
    assert await yard.used(team) == size(first, second)
    assert await yard.used(other) == size(second)
    await yard.deletes.manifest("team/a", Digest(first.digest), By())
    assert await yard.used(team) == size(first, second)
    await yard.deletes.manifest("team/b", Digest(first.digest), By())
    assert await yard.used(team) == size(second)
    await yard.push("team/d", one)
    await yard.push("team/d", two)
    assert await yard.metadata.write(lambda tx: Quotas(tx).settle(team)) == size(second, one, two)
    assert await yard.used(team) == size(second, one, two)


async def test_what_does_not_fit_is_refused_and_told(yard: Yard) -> None:
    first, big, small = image("first", (1000,)), image("big", (5000,)), image("small", (100,))
    team = await yard.project("team", most_bytes=size(first, small) + 50)
    await yard.push("team/a", first)
    with pytest.raises(Denied, match="would exceed its quota"):
        await yard.push("team/a", big)
    assert await yard.used(team) == size(first)
    await yard.push("team/b", first)  # what is there already needs no room
    await yard.push("team/a", small)
    assert await yard.used(team) == size(first, small)
    told = await yard.told()
    assert told.count("QuotaWarned") == 1
    assert "QuotaExceeded" in told
    await yard.deletes.manifest("team/a", Digest(first.digest), By())
    await yard.deletes.manifest("team/b", Digest(first.digest), By())
    assert await yard.used(team) == size(small)
    await yard.metadata.write(lambda tx: Quotas(tx).limit(team, most_bytes=-1))
    await yard.push("team/a", big)


async def test_what_mirrors_bring_is_held_against_nobodys_push(tmp_path: Path, index_url: str) -> None:
    yard = Yard(tmp_path / "store", index_url, shared=frozenset(["team"]))
    await set_up(yard.metadata, SEAL, yard.settings)
    cached, both, mine = image("cached", (9000,)), image("both", (4000,)), image("mine", (1000,))
    team = await yard.project("team", most_bytes=size(mine, both), most_repositories=2)
    admission = Admission(rules_of_mirrors(yard.accounts))
    pushes, uploads = yard.pushes, yard.uploads
    yard.pushes = Push(yard.metadata, yard.store, yard.outbox, PushPolicy(), admission)
    yard.uploads = Uploads(yard.metadata, yard.store, yard.outbox, b"secret", admission)
    await yard.push("team/hub/a", cached)
    await yard.push("team/hub/b", both)
    await yard.push("team/hub/c", image("small", (10,)))
    yard.pushes, yard.uploads = pushes, uploads
    assert await yard.used(team) > size(cached, both)
    await yard.push("team/app", mine)
    assert await yard.metadata.read(lambda tx: Quotas(tx).pushed(team)) == size(mine)
    await yard.push("team/both", both)  # it is counted already, and by people now
    assert await yard.metadata.read(lambda tx: Quotas(tx).pushed(team)) == size(mine, both)
    # only what mirrors alone hold can make room
    assert await yard.metadata.read(lambda tx: Quotas(tx).room(team)) == size(both)
    with pytest.raises(Denied, match="would exceed its quota"):
        await yard.push("team/app", image("one more", (10,)))
    with pytest.raises(Denied, match="would exceed its quota"):
        await yard.push("team/app", cached)
    with pytest.raises(Denied, match="2 repositories"):
        await yard.push("team/third", both)
    assert "QuotaWarned" in await yard.told()
    await yard.close()


async def test_of_many_pushes_at_once_as_many_are_taken_as_fit(yard: Yard) -> None:
    images = [image(f"push {number}", (2000,)) for number in range(8)]
    room = max(size(one) for one in images) * 3
    team = await yard.project("team", most_bytes=room)
    outcomes = await asyncio.gather(
        *(yard.push(f"team/r{number}", one) for number, one in enumerate(images)), return_exceptions=True
    )
    taken = [one for one, outcome in zip(images, outcomes, strict=True) if outcome is None]
    assert all(outcome is None or isinstance(outcome, Denied) for outcome in outcomes), outcomes
    assert len(taken) == 3
    assert await yard.used(team) == size(*taken) <= room


async def test_what_a_push_is_about_to_need_is_not_taken_from_the_count(tmp_path: Path, postgres: Postgres) -> None:
    """A deletion beside a push of the same content waits for it: alone it would find that nothing needs it."""
    yard = Yard(tmp_path / "store", postgres.emptied())
    team, one = await yard.project("team"), image(1)
    await yard.push("team/a", one)
    for blob in one.blobs:
        await yard.uploads.push("team/b", Digest(blob.digest), stream(blob.data), By())
    counted, go_on = asyncio.Event(), asyncio.Event()

    async def pause(tx: Transaction, question: Question) -> None:
        counted.set()
        await tx.beside(go_on.wait())

    asked = rules(yard.accounts)
    yard.pushes._admission = Admission({**asked, ManifestArrives: (*asked[ManifestArrives], pause)})
    pushing = asyncio.create_task(yard.pushes.manifest("team/b", None, ["1"], *typed(one), By()))
    await counted.wait()
    deleting = asyncio.create_task(yard.deletes.manifest("team/a", Digest(one.digest), By()))
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    for _ in range(3000):
        if deleting.done() or postgres.ask(waiting):
            break
        await asyncio.sleep(0.01)
    go_on.set()
    await asyncio.gather(pushing, deleting)
    assert await yard.used(team) == size(one)
    await yard.deletes.manifest("team/b", Digest(one.digest), By())
    assert await yard.used(team) == 0
    await yard.close()


async def test_what_is_collected_is_counted_no_more(yard: Yard) -> None:
    team, first, second = await yard.project("team"), image("first"), image("second")
    await yard.push("team/a", first)
    await yard.push("team/a", second)  # takes the tag
    assert await yard.used(team) == size(first, second)
    await yard.collect.run(Terms(grace=0, untagged=-60_000, wait=0))
    assert await yard.used(team) == size(second)


async def test_the_number_of_repositories(yard: Yard) -> None:
    await yard.project("team", most_repositories=2)
    for name in ("team/a", "team/b", "team/a"):
        await yard.push(name, image(name))
    with pytest.raises(Denied, match="may have 2 repositories"):
        await yard.push("team/c", image("c"))
    await yard.push("team/b", image("again"))


async def test_a_project_with_artifacts_stays_and_an_empty_one_takes_its_leftovers_along(yard: Yard) -> None:
    own = await yard.project("team")
    await yard.push("team/app", image(1))

    async def delete(tx: Transaction) -> None:
        project = await Projects(tx).find(own)
        assert project is not None
        await Projects(tx).delete(project)

    with pytest.raises(Conflict, match="still has repositories"):
        await yard.metadata.write(delete)
    await yard.deletes.manifest("team/app", Digest(image(1).digest), By())
    await yard.metadata.write(delete)
    again = await yard.project("team")
    assert again != own
    await yard.push("team/other", image(2))
    left = await yard.metadata.read(lambda tx: Projects(tx).repositories(again))
    assert left == 1


async def test_names_of_projects(yard: Yard) -> None:
    for name in ("", "Team", "a/b", "-a", "a..b", "ü", "a" * 201):
        with pytest.raises(Invalid):
            await yard.project(name)
    with pytest.raises(Conflict):
        await yard.project("library")


async def test_repositories_that_were_there_before_get_private_projects(tmp_path: Path, index_url: str) -> None:
    yard = Yard(tmp_path / "store", index_url)
    yard.pushes._admission = yard.uploads._admission = Admission()
    for name in ("old/app", "old/web", "nginx"):
        await yard.push(name, image(name))
    told = await set_up(yard.metadata, SEAL, yard.settings)
    assert told == ["private projects were made for repositories that were here before: old"]
    old = await yard.metadata.read(lambda tx: Projects(tx).named("old"))
    assert old is not None
    assert not old.public
    assert await yard.metadata.read(lambda tx: Projects(tx).repositories(old.id)) == 2
    assert await set_up(yard.metadata, SEAL, yard.settings) == []
    await yard.close()
