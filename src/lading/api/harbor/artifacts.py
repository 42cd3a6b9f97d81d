"""Artifacts of a repository, with their tags, labels and accessories."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from lading.api.distribution.base import require_delete, require_writable
from lading.api.harbor import described
from lading.api.harbor.call import BASE, Call, Id, Model, Text, moment
from lading.api.harbor.labels import LabelAnswer
from lading.api.harbor.labels import answer as label_answer
from lading.api.harbor.permission import demand, refusal
from lading.api.harbor.problems import NotYet
from lading.api.harbor.repositories import found as repository_found
from lading.api.request import Response
from lading.control.labels import Label, Labels
from lading.control.projects import Projects, stored_name
from lading.errors import Conflict, Invalid, Missing
from lading.oci import reference as references
from lading.oci.digest import Digest
from lading.registry.artifacts import Accessory, Artifact, Artifacts
from lading.registry.repositories import Described, Repositories
from lading.registry.tags import Tag, Tags
from lading.stores.metadata.paging import Page
from lading.stores.metadata.transaction import Transaction

_ADDITIONS = frozenset(["dependencies", "files", "license", "readme.md", "sbom", "values.yaml", "vulnerabilities"])
"""What Harbor tells of artifacts besides."""
_MOST_TAGS = 1000
"""Tags and accessories that are shown with an artifact; lists of their own show all."""


class TagAnswer(Model):
    """A tag; ``push_time`` is when it was put on the artifact."""

    repository_id: int
    artifact_id: int
    name: str
    push_time: str
    immutable: bool


class TagGiven(Model):
    """A tag to be."""

    name: Text


class LabelGiven(Model):
    """A label to put on an artifact."""

    id: Id


class AccessoryAnswer(Model):
    """Something that belongs to an artifact, as a signature."""

    id: int
    artifact_id: int
    subject_artifact_id: int
    subject_artifact_digest: str
    subject_artifact_repo: str
    size: int
    digest: str
    type: str
    creation_time: str


class AdditionLink(Model):
    """Where more of an artifact is to be found."""

    href: str
    absolute: bool


class ArtifactAnswer(Model):
    """An artifact; ``size`` in bytes of all it refers to. ``extra_attrs`` is what an image's configuration tells."""

    id: int
    type: str
    media_type: str
    manifest_media_type: str
    artifact_type: str
    project_id: int
    repository_id: int
    repository_name: str
    digest: str
    size: int
    push_time: str
    annotations: dict[str, str]
    references: list[described.Reference]
    addition_links: dict[str, AdditionLink]
    extra_attrs: dict[str, Any] | None = None
    tags: list[TagAnswer] | None = None
    labels: list[LabelAnswer] | None = None
    accessories: list[AccessoryAnswer] | None = None


async def index(call: Call) -> Response:
    """The artifacts of a repository, the newest first; not those that are only parts of another one."""
    page = call.page()

    async def read(tx: Transaction) -> tuple[int, list[ArtifactAnswer]]:
        repository = await repository_found(call, tx)
        total, found = await Artifacts(tx).listed(repository.id, page)
        return total, [await _answer(call, tx, repository, one) for one in found]

    total, found = await call.services.metadata.read(read)
    return call.listed(page, total, found)


async def of_project(call: Call) -> Response:
    """The artifacts of all repositories of a project, the newest first."""
    page = call.page()

    async def read(tx: Transaction) -> tuple[int, list[ArtifactAnswer]]:
        total, found = await Artifacts(tx).of_project(call.here.id, page)
        places = {one.repository: await Repositories(tx).described_by_id(one.repository) for one in found}
        return total, [await _answer(call, tx, place, one) for one in found if (place := places[one.repository])]

    total, found = await call.services.metadata.read(read)
    return call.listed(page, total, found)


async def get(call: Call) -> Response:
    """One artifact, by tag or digest."""

    async def read(tx: Transaction) -> tuple[ArtifactAnswer, Artifact]:
        repository = await repository_found(call, tx)
        one = await _find(call, tx, repository)
        return await _answer(call, tx, repository, one), one

    told, one = await call.services.metadata.read(read)
    told.extra_attrs = await described.attributes(call.services.pull, call.repository, one)
    return call.json(told)


async def addition(call: Call) -> Response:
    """How an image was built (``build_history``), step by step, as its configuration tells."""
    wanted = call.path["addition"]
    if wanted in _ADDITIONS:
        raise NotYet(f"{wanted} of an artifact is not here; build_history is")
    if wanted != "build_history":
        raise Invalid(f"an artifact has no {wanted[:60]!r}; it has build_history")
    one = await call.services.metadata.read(lambda tx: _found(call, tx))
    return call.json(await described.history(call.services.pull, call.repository, one))


async def copy(call: Call) -> Response:
    """Copy an artifact from ``from`` (project/repository:tag or @digest), which the caller must be allowed to read."""
    require_writable(call.services.manners)
    source, reference = described.source(call.argument("from"))

    async def look(tx: Transaction) -> tuple[str, Artifact]:
        project, _, rest = source.partition("/")
        where = await Projects(tx).named(project)
        if where is None or not rest:
            raise refusal(call)
        name = await stored_name(tx, project, rest)
        await demand(call, await call.rights(tx), "artifact", "read", where, name)
        repository = await _repository(tx, name)
        one = await Artifacts(tx).find(repository, reference)
        if one is None:
            raise Missing(f"there is no artifact {reference[:140]} in {source}")
        return name, one

    name, one = await call.services.metadata.read(look)
    tag = "" if ":" in reference else reference
    await described.copy(call.services, name, call.repository, one, tag, call.request.by())
    project, repository = call.here.name, _twice(call.path["repository_name"])
    return call.made(f"/projects/{project}/repositories/{repository}/artifacts/{reference}")


async def delete(call: Call) -> Response:
    """Delete an artifact and every tag on it."""
    require_delete(call.services.manners)
    one = await call.services.metadata.read(lambda tx: _found(call, tx))
    await call.services.delete.manifest(call.repository, Digest(one.digest), call.request.by())
    return call.done()


async def tags(call: Call) -> Response:
    """The tags of an artifact."""
    page = call.page()

    async def read(tx: Transaction) -> tuple[int, list[TagAnswer]]:
        one = await _found(call, tx)
        total, found = await Tags(tx).listed(one.id, page)
        return total, [_tag(one, tag) for tag in found]

    total, found = await call.services.metadata.read(read)
    return call.listed(page, total, found)


async def add_tag(call: Call) -> Response:
    """Put a tag on an artifact; one that there is already is not moved."""
    require_writable(call.services.manners)
    tag = references.tag((await call.body(TagGiven)).name)

    async def look(tx: Transaction) -> Artifact:
        repository = await repository_found(call, tx)
        if await Artifacts(tx).find(repository.id, tag) is not None:
            raise Conflict(f"there is a tag {tag} already; push to it, or delete it first")
        return await _find(call, tx, repository)

    one = await call.services.metadata.read(look)
    push = call.services.push
    await push.manifest(call.repository, Digest(one.digest), [tag], one.media_type, one.raw, call.request.by())
    project, repository = call.here.name, _twice(call.path["repository_name"])
    return call.made(f"/projects/{project}/repositories/{repository}/artifacts/{one.digest}/tags/{tag}")


async def delete_tag(call: Call) -> Response:
    """Take a tag off an artifact, which stays."""
    require_delete(call.services.manners)
    tag = references.tag(call.path["tag_name"])

    async def look(tx: Transaction) -> None:
        repository = await repository_found(call, tx)
        one = await _find(call, tx, repository)
        on = await Artifacts(tx).find(repository.id, tag)
        if on is None or on.id != one.id:
            raise Missing(f"the artifact has no tag {tag}")

    await call.services.metadata.read(look)
    await call.services.delete.tag(call.repository, tag, call.request.by())
    return call.done()


async def accessories(call: Call) -> Response:
    """What has this artifact as its subject: signatures, bills of material."""
    page = call.page()

    async def read(tx: Transaction) -> tuple[int, list[AccessoryAnswer]]:
        repository = await repository_found(call, tx)
        one = await _find(call, tx, repository)
        total, found = await Artifacts(tx).accessories(repository.id, one.digest, page)
        return total, [_accessory(repository, one, each) for each in found]

    total, found = await call.services.metadata.read(read)
    return call.listed(page, total, found)


async def add_label(call: Call) -> Response:
    """Put a label on an artifact: one of its project, or one for all."""
    given = await call.body(LabelGiven)

    async def put(tx: Transaction) -> None:
        one, label = await _found(call, tx), await _label(call, tx, given.id)
        if not await Labels(tx).put(label, one.id):
            raise Conflict(f"the label {label.name} is on this artifact already")
        await call.note(tx, "update", "artifact", _named(call, one), project=call.here.name, detail=f"+{label.name}")

    await call.services.metadata.write(put)
    return call.done()


async def delete_label(call: Call) -> Response:
    """Take a label off an artifact."""

    async def take(tx: Transaction) -> None:
        one, label = await _found(call, tx), await _label(call, tx, call.number("label_id"))
        if not await Labels(tx).take(label, one.id):
            raise Missing(f"the label {label.name} is not on this artifact")
        await call.note(tx, "update", "artifact", _named(call, one), project=call.here.name, detail=f"-{label.name}")

    await call.services.metadata.write(take)
    return call.done()


async def _found(call: Call, tx: Transaction) -> Artifact:
    return await _find(call, tx, await repository_found(call, tx))


async def _find(call: Call, tx: Transaction, repository: Described) -> Artifact:
    reference = call.path["reference"]
    one = await Artifacts(tx).find(repository.id, reference)
    if one is None:
        raise Missing(f"there is no artifact {reference[:140]} in {repository.name}")
    return one


async def _repository(tx: Transaction, name: str) -> int:
    row = await described.repository(tx, name)
    if row is None:
        raise Missing(f"there is no repository {name[:255]}")
    return row


async def _label(call: Call, tx: Transaction, number: int) -> Label:
    label = await Labels(tx).find(number)
    if label is None or label.project not in (None, call.here.id):
        raise Missing(f"there is no label {number} for {call.here.name}")
    return label


def _named(call: Call, one: Artifact) -> str:
    return f"{call.repository}@{one.digest}"


def _twice(name: str) -> str:
    return quote(quote(name, safe=""), safe="")


def _tag(one: Artifact, tag: Tag) -> TagAnswer:
    return TagAnswer(
        repository_id=one.repository,
        artifact_id=one.id,
        name=tag.name,
        push_time=moment(tag.moved_at),
        immutable=False,
    )


def _accessory(repository: Described, one: Artifact, accessory: Accessory) -> AccessoryAnswer:
    return AccessoryAnswer(
        id=accessory.id,
        artifact_id=accessory.id,
        subject_artifact_id=one.id,
        subject_artifact_digest=one.digest,
        subject_artifact_repo=repository.name,
        size=int(accessory.size),
        digest=accessory.digest,
        type=described.accessory_type(accessory.artifact_type),
        creation_time=moment(accessory.pushed_at),
    )


async def _answer(call: Call, tx: Transaction, repository: Described, one: Artifact) -> ArtifactAnswer:
    told = described.manifest(one)
    project, name = repository.name.split("/", 1)
    whole = Page(size=_MOST_TAGS)
    answer = ArtifactAnswer(
        id=one.id,
        type=told.type,
        media_type=told.media_type,
        manifest_media_type=one.media_type,
        artifact_type=one.artifact_type,
        project_id=repository.project,
        repository_id=repository.id,
        repository_name=repository.name,
        digest=one.digest,
        size=one.size,
        push_time=moment(one.pushed_at),
        annotations=one.annotations,
        references=await described.children(tx, one),
        addition_links={},
    )
    if told.type == "IMAGE" and not answer.references:
        path = f"{BASE}/projects/{project}/repositories/{_twice(name)}/artifacts/{one.digest}/additions/build_history"
        answer.addition_links = {"build_history": AdditionLink(href=path, absolute=False)}
    if call.flag("with_tag", usual=True):
        _, found = await Tags(tx).listed(one.id, whole)
        answer.tags = [_tag(one, tag) for tag in found]
    if call.flag("with_label", usual=False):
        answer.labels = [label_answer(label) for label in await Labels(tx).on(one.id)]
    if call.flag("with_accessory", usual=False):
        _, others = await Artifacts(tx).accessories(repository.id, one.digest, whole)
        answer.accessories = [_accessory(repository, one, each) for each in others]
    return answer
