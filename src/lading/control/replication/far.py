"""Another registry as a side of replication: what it lists, whether it is well, what is made and deleted there.

Where it speaks Harbor's API, a repository's tags come with their digests and labels, a hundred in one answer; others are
asked for each tag.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from lading import errors
from lading.control.replication import filters, standin
from lading.control.replication.endpoints import HARBOR, Endpoint, place_of
from lading.control.replication.filters import ARTIFACT, IMAGE, Filter, Held, takes_repository
from lading.control.replication.here import kind_of
from lading.oci.manifest import Descriptor
from lading.oci.reference import DEFAULT_HOST, is_name, is_tag
from lading.remotes.adapters.base import Adapter
from lading.remotes.adapters.kinds import HUB, adapter_of, keyring
from lading.remotes.harbor import Harbor
from lading.remotes.http import HttpRegistry
from lading.remotes.session import Session
from lading.remotes.transport import Policy

AT_ONCE = 16
"""Requests that are on their way to one registry at the same time."""
_MOST_SEEN = 100_000
_FEW = 10
"""Repositories from which on it is worth asking for all of a project."""
_WITH = {"with_tag": "true", "with_label": "true", "with_accessory": "true"}


class Far:
    """See the module. Use it as an asynchronous context manager. ``networks``: where it may be besides public addresses."""

    def __init__(
        self, endpoint: Endpoint, password: str, networks: Sequence[str], policy: Policy | None = None
    ) -> None:
        scheme, host = place_of(endpoint.url)
        given = policy or Policy()
        reach = Policy(
            insecure=endpoint.insecure,
            scheme=scheme,
            ca=endpoint.ca,
            networks=tuple(networks),
            attempts=given.attempts,
            backoff=given.backoff,
            patience=given.patience,
            connect=given.connect,
            silence=given.silence,
        )
        self.host = DEFAULT_HOST if endpoint.kind == HUB else host
        self._login = endpoint.kind, endpoint.username, password
        self._session = Session(self.host, keyring(*self._login), reach)
        self.client = HttpRegistry(self._session)
        self._adapter: Adapter | None = None
        self._known = bool(endpoint.username)
        self._harbor = Harbor(host, endpoint.username, password, reach) if endpoint.kind == HARBOR else None
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._prepared: set[str] = set()
        self._refers: bool | None = None
        self._seen: dict[str, str] = {}
        self._surveyed: dict[str, dict[str, list[Held]]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections."""
        await self._session.close()
        if self._harbor is not None:
            await self._harbor.close()

    async def check(self) -> None:
        """Raise what is wrong with it, in words that say what to do."""
        try:
            async with self._session.open("GET", "/v2/", what="its protocol's version"):
                pass
            if self._harbor is not None:
                await self._harbor.require("/systeminfo")
        except errors.Unauthenticated:
            raise errors.Denied(
                f"{self.host} does not take this login" if self._known else f"{self.host} wants a login"
            ) from None
        except errors.Missing as error:
            raise errors.BadAnswer(f"there is no registry of that type at {self.host}: {error.message}") from None

    # ---- what is there

    async def repositories(self, conditions: Sequence[Filter]) -> AsyncGenerator[str]:
        """The repositories that are meant; without a list of all, where the pattern names them."""
        pattern = next((str(one.value) for one in conditions if one.type == filters.NAME), "")
        named = filters.literals(pattern)
        if named is not None:
            for name in named:
                yield name
            return
        async for name in self._listed(filters.beginning(pattern)):
            if is_name(name) and takes_repository(conditions, name):
                yield name

    async def _listed(self, beginning: str) -> AsyncGenerator[str]:
        if self._harbor is None:
            namespace, slash, _ = beginning.partition("/")
            try:
                async for name in (await self._vendor()).repositories(namespace if slash else ""):
                    yield name
            except (errors.Missing, errors.Unsupported, errors.Denied, errors.Unauthenticated) as error:
                raise errors.Unsupported(
                    f"{self.host} does not list its repositories for this login ({error.message}); name them in the "
                    "policy's filter, without wildcards"
                ) from None
            return
        project, slash, rest = beginning.partition("/")
        path = f"/projects/{quote(project)}/repositories" if slash else "/repositories"
        query = {"q": f"name=~{rest}"} if slash and rest else {}
        # what is cached there is another registry's, which it would ask for the rest; who names the project means it
        proxies = set() if slash else {one.get("name") async for one in self._harbor.all("/projects") if _is_proxy(one)}
        async for entry in self._harbor.all(path, sort="name", **query):
            if isinstance(found := entry.get("name"), str) and found.partition("/")[0] not in proxies:
                yield found

    async def survey(self, repositories: Sequence[str]) -> None:
        """Have the tags of many repositories listed by project, where the registry can and that takes fewer requests."""
        if self._harbor is None or len(repositories) < _FEW:
            return
        asked = Counter(name.partition("/")[0] for name in repositories)
        for project, count in asked.items():
            path = f"/projects/{quote(project)}"
            try:
                about = await self._harbor.get(path)
                most = about.get("repo_count") if isinstance(about, dict) else None
                if not isinstance(most, int) or most > 2 * count or await self._harbor.get(f"{path}/artifacts") is None:
                    continue
                found: dict[str, list[Held]] = {}
                async for entry in self._harbor.all(f"{path}/artifacts", **_WITH):
                    if isinstance(name := entry.get("repository_name"), str):
                        found.setdefault(name, []).extend(_tags(entry))
            except errors.Denied:
                continue  # it may see single repositories of it
            self._surveyed[project] = found

    async def held(self, repository: str, tags: Sequence[str] | None = None) -> list[Held]:
        """The tags of a repository (of these, if they are given) with what the registry tells without being asked for each."""
        project, _, rest = repository.partition("/")
        if project in self._surveyed:
            return self._surveyed[project].get(repository, [])
        if self._harbor is not None and (tags is None or len(tags) > 2):
            path = f"/projects/{quote(project)}/repositories/{quote(quote(rest, safe=''), safe='')}/artifacts"
            return [one async for entry in self._harbor.all(path, **_WITH) for one in _tags(entry)]
        if tags is not None:
            return [Held(tag) for tag in tags]
        try:
            return [Held(tag) async for tag in self.client.tags(repository) if is_tag(tag)]
        except errors.Missing:
            return []

    async def stored(self, repository: str) -> str:
        """The name a repository has there."""
        return repository

    async def digest(self, repository: str, tag: str) -> str:
        """What a tag stands for; empty if it is not there."""
        async with self._turns:
            try:
                found = await self.client.resolve(repository, tag)
            except errors.Missing:
                return ""
        return found.digest if found else ""

    async def kind(self, repository: str, digest: str) -> str:
        """Whether a manifest is an image or something else."""
        async with self._turns:
            found = await self.client.manifest(repository, digest)
        return kind_of(found.media_type, found.artifact_type)

    # ---- referrers

    async def refers(self, repository: str, digest: str) -> bool:
        """Whether it has the referrers API; asked once."""
        if self._refers is None:
            path, scopes = f"/v2/{repository}/referrers/{digest}", (f"repository:{repository}:pull",)
            async with self._session.open("GET", path, scopes, expect=(200, 400, 404, 405), what="referrers") as answer:
                self._refers = answer.status_code == 200
        return self._refers

    async def referred(self, repository: str, held: Sequence[Held]) -> set[str]:
        """The digests, of those held, that something may refer to."""
        digests = {one.digest for one in held if one.digest and one.referrers != frozenset()}
        if digests and not await self.refers(repository, next(iter(digests))):
            digests &= {filters.subject_of(one.tag) for one in held}
        return digests

    async def origins(self, blob: Descriptor, repository: str) -> Sequence[str]:
        """Where else a blob may be taken over from: where it was seen."""
        seen = self._seen.get(blob.digest)
        return (seen,) if seen and seen != repository else ()

    def saw(self, blob: Descriptor, repository: str) -> None:
        """Remember where a blob is."""
        if len(self._seen) < _MOST_SEEN:
            self._seen.setdefault(blob.digest, repository)

    # ---- changes

    async def prepare(self, repository: str) -> None:
        """Make what must be there before a push: the project of a repository, private; at Amazon the repository."""
        project, slash, _ = repository.partition("/")
        if self._harbor is None:
            if repository not in self._prepared:
                await (await self._vendor()).prepare(repository)
                self._prepared.add(repository)
            return
        if project in self._prepared:
            return
        if not slash:
            raise errors.Invalid(f"{repository} has no project in front; give the policy a namespace")
        async for entry in self._harbor.all("/projects", name=project):
            if entry.get("name") == project:
                break
        else:
            body = {"project_name": project, "metadata": {"public": "false"}}
            try:
                await self._harbor.change("POST", "/projects", body, expect=(201, 409))
            except errors.Denied as error:
                raise errors.Denied(f"{error.message}; make the project {project} there first") from None
        self._prepared.add(project)

    async def delete_tag(self, repository: str, tag: str) -> None:
        """Take a tag away, and no other; what is not there is done already."""
        if self._harbor is not None:
            project, _, rest = repository.partition("/")
            name, text = quote(quote(rest, safe=""), safe=""), quote(tag, safe="")
            path = f"/projects/{quote(project)}/repositories/{name}/artifacts/{text}/tags/{text}"
            await self._harbor.change("DELETE", path, expect=(200, 404))
            return
        try:
            await (await self._vendor()).delete_tag(repository, tag)
        except errors.Missing:
            if await self.digest(repository, tag):
                await self._delete_alone(repository, tag)
        except (errors.Unsupported, errors.Invalid):
            await self._delete_alone(repository, tag)

    async def _vendor(self) -> Adapter:
        if self._adapter is None:
            kind, username, password = self._login
            self._adapter = await adapter_of(kind, self.client, username, password)
        return self._adapter

    async def _delete_alone(self, repository: str, tag: str) -> None:
        """Delete the manifest of a tag where the registry has no other way, and it has no other tag."""
        digest = await self.digest(repository, tag)
        if not digest:
            return
        others = [one.tag for one in await self.held(repository) if one.tag != tag]
        digests = await asyncio.gather(*(self.digest(repository, other) for other in others))
        same = [other for other, found in zip(others, digests, strict=True) if found == digest]
        if same:
            await self._untag(repository, tag, same)
            return
        try:
            await self.client.delete(repository, digest)
        except errors.Missing:
            return

    async def _untag(self, repository: str, tag: str, same: Sequence[str]) -> None:
        why = f"{self.host} cannot take {repository}:{tag} away alone: the same image is there as {', '.join(same[:5])}"
        if type(await self._vendor()) is not Adapter:
            raise errors.Unsupported(why)  # a vendor's own way was tried
        try:
            await standin.untag(self.client, repository, tag)
        except (errors.Unsupported, errors.Invalid, errors.Denied, errors.BadAnswer) as error:
            raise errors.Unsupported(f"{why} ({error.message})") from None


def _tags(entry: dict[str, Any]) -> list[Held]:
    """The tags of an artifact as Harbor lists it."""
    digest, kind = entry.get("digest"), IMAGE if entry.get("type") == "IMAGE" else ARTIFACT
    if not isinstance(digest, str):
        return []
    labels, referrers = frozenset(_texts(entry.get("labels"))), frozenset(_texts(entry.get("accessories"), "digest"))
    return [Held(tag, digest, kind, labels, referrers) for tag in _texts(entry.get("tags")) if is_tag(tag)]


def _texts(listed: Any, field: str = "name") -> list[str]:
    """The names in a list of Harbor's, or another field."""
    found = [one.get(field) for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return [name for name in found if isinstance(name, str)]


def _is_proxy(project: Mapping[str, Any]) -> bool:
    """Whether a project, as Harbor's API tells it, caches another registry."""
    return bool(project.get("registry_id"))
