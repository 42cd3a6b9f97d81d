"""GitHub's registry, ghcr.io: no catalog and no DELETE; both are done by the Packages API (docs.github.com/rest/packages).

There a *package* is a repository and a *version* a manifest with all its tags: a version goes as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import quote

from lading.errors import BadAnswer, Invalid, ManifestUnknown, Missing, RepositoryUnknown, Unauthenticated, Unsupported
from lading.remotes.adapters.base import Adapter, inside
from lading.remotes.adapters.service import Service
from lading.remotes.credentials import Credential
from lading.remotes.http import HttpRegistry

HOST = "ghcr.io"


class GHCR(Adapter):
    """``api`` is where GitHub's API is."""

    def __init__(self, registry: HttpRegistry, api: str = "https://api.github.com") -> None:
        super().__init__(registry)
        self._api = Service(registry.session, api, self._headers)
        self._owners: dict[str, str] = {}

    @staticmethod
    async def ambient(host: str, environment: Mapping[str, str], *, asked: bool) -> Credential | None:  # noqa: ARG004 - a variable costs nothing
        """The token that a job of GitHub Actions has, or that GitHub's own command line takes."""
        token = environment.get("GITHUB_TOKEN") or environment.get("GH_TOKEN")
        # whose token it is, GitHub knows; it wants some name beside it
        return Credential(environment.get("GITHUB_ACTOR") or "token", token) if token else None

    async def repositories(self, namespace: str = "") -> AsyncGenerator[str]:
        owner = namespace.partition("/")[0]
        if not owner:
            raise Invalid(f"{HOST} does not list all there is; name an owner, as in {HOST}/OWNER")
        path = f"{await self._owner(owner)}/packages?package_type=container&per_page=100"
        async for package in self._api.all(path, f"the packages of {owner}"):
            name = f"{owner}/{package.get('name')}"
            if isinstance(package.get("name"), str) and inside(name, namespace):
                yield name

    async def search(self, text: str, limit: int) -> list[dict[str, Any]]:  # noqa: ARG002 - nobody can
        raise Unsupported(f"{HOST} cannot be searched; lading repos {HOST}/OWNER lists what an owner has")

    async def delete_tag(self, repository: str, tag: str) -> None:
        version, tags = await self._version(repository, lambda _, tags: tag in tags)
        if others := sorted(set(tags) - {tag}):
            raise Unsupported(
                f"GitHub deletes a version with all its tags, and {repository}:{tag} is also {', '.join(others[:5])}"
            )
        await self._delete(repository, version)

    async def delete_manifest(self, repository: str, digest: str) -> None:
        version, _ = await self._version(repository, lambda name, _: name == digest)
        await self._delete(repository, version)

    async def _version(self, repository: str, fits: Any) -> tuple[int, list[str]]:
        """Number and tags of the first version that fits by digest and tags."""
        path = f"{await self._package(repository)}/versions?per_page=100"
        try:
            async for one in self._api.all(path, f"the versions of {repository}"):
                tags = _tags(one)
                if fits(one.get("name"), tags) and isinstance(one.get("id"), int):
                    return one["id"], tags
        except Missing as error:
            raise RepositoryUnknown(error.message) from None
        raise ManifestUnknown(f"{HOST} has no such version of {repository}")

    async def _delete(self, repository: str, version: int) -> None:
        path = f"{await self._package(repository)}/versions/{version}"
        await self._api.send("DELETE", path, f"to delete a version of {repository}", expect=(204,))

    async def _package(self, repository: str) -> str:
        owner, _, name = repository.partition("/")
        return f"{await self._owner(owner)}/packages/container/{quote(name, safe='')}"

    async def _owner(self, owner: str) -> str:
        """The path of what belongs to an owner, who is a user or an organisation."""
        if owner not in self._owners:
            try:
                found = await self._api.get(f"/users/{quote(owner)}", f"the owner {owner}")
            except Missing as error:
                raise RepositoryUnknown(error.message) from None
            if not isinstance(found, dict):
                raise BadAnswer(f"GitHub answers with something that is no owner, asked for {owner}")
            self._owners[owner] = f"/{'orgs' if found.get('type') == 'Organization' else 'users'}/{quote(owner)}"
        return self._owners[owner]

    async def _headers(self) -> dict[str, str]:
        credential = await self.registry.session.keyring.find(self.registry.host)
        if not credential.password:
            raise Unauthenticated(
                f"GitHub's Packages API is for its users only, also for what is public; log in with: lading login {HOST}",
                challenge="",
            )
        return {
            "authorization": f"Bearer {credential.password}",
            "accept": "application/vnd.github+json",
            "x-github-api-version": "2022-11-28",
        }


def _tags(version: dict[str, Any]) -> list[str]:
    """``metadata.container.tags`` of a version."""
    metadata = version.get("metadata")
    container = metadata.get("container") if isinstance(metadata, dict) else None
    tags = container.get("tags") if isinstance(container, dict) else None
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
