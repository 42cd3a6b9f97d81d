"""Harbor: its catalog is for administrators only, so lists, search and tags go through its API v2.0; projects come before pushes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

from lading.errors import Invalid, ManifestUnknown, Missing, RepositoryUnknown
from lading.remotes import answers
from lading.remotes.adapters.base import Adapter, inside
from lading.remotes.adapters.service import Service
from lading.remotes.challenge import Challenge
from lading.remotes.credentials import Credential
from lading.remotes.http import HttpRegistry
from lading.remotes.tokens import basic


class Harbor(Adapter):
    """A Harbor, or what answers as one. Robots are users whose names have a ``$``."""

    makes = "the project"

    def __init__(self, registry: HttpRegistry) -> None:
        super().__init__(registry)
        self._api = _service(registry, self._login)

    @staticmethod
    def is_it(challenge: Challenge, host: str) -> bool:  # noqa: ARG004 - the vendors' signature
        """Whether a registry that asks like this is a Harbor."""
        realm = challenge.parameters.get("realm", "")
        return realm.endswith("/service/token") and challenge.parameters.get("service") == "harbor-registry"

    async def repositories(self, namespace: str = "") -> AsyncGenerator[str]:
        project = namespace.partition("/")[0]
        path = f"/projects/{quote(project, safe='')}/repositories" if project else "/repositories"
        try:
            async for one in self._api.all(f"{path}?page_size=100", f"the repositories of {project or 'all projects'}"):
                name = str(one.get("name", ""))
                if name and (not namespace or inside(name, namespace)):
                    yield name
        except Missing as error:
            raise RepositoryUnknown(error.message) from None

    async def search(self, text: str, limit: int) -> list[dict[str, Any]]:
        found = await self._api.get(f"/search?q={quote(text)}", "a search")
        names = [one.get("repository_name") for one in answers.listed(found, "repository") if isinstance(one, dict)]
        return [{"name": name} for name in names if isinstance(name, str)][:limit]

    async def prepare(self, repository: str) -> bool:
        project, slash, _ = repository.partition("/")
        if not slash:
            raise Invalid(f"{self.registry.host}/{repository}: a repository there is PROJECT/NAME")
        return await make_project(self.registry, project, await self._login())

    async def delete_tag(self, repository: str, tag: str) -> None:
        project, _, name = repository.partition("/")
        twice = quote(quote(name, safe=""), safe="")  # as Harbor wants names with a slash
        path = f"/projects/{quote(project, safe='')}/repositories/{twice}/artifacts/{quote(tag)}/tags/{quote(tag)}"
        try:
            await self._api.send("DELETE", path, f"to delete {repository}:{tag}", expect=(200,))
        except Missing as error:
            raise ManifestUnknown(error.message) from None

    async def _login(self) -> Credential:
        return await self.registry.session.keyring.find(self.registry.host)


async def make_project(registry: HttpRegistry, project: str, login: Credential) -> bool:
    """Make a private project behind the API, where there is none; whether one was made."""

    async def known() -> Credential:
        return login

    api = _service(registry, known)
    path = f"/projects?project_name={quote(project)}"
    if await api.send("HEAD", path, f"the project {project}", expect=(200, 404)) == 200:
        return False
    made = {"project_name": project, "metadata": {"public": "false"}}
    # 409: somebody else was faster
    return await api.send("POST", "/projects", f"to make {project}", made, expect=(201, 409)) == 201


def _service(registry: HttpRegistry, login: Callable[[], Awaitable[Credential]]) -> Service:
    async def headers() -> dict[str, str]:
        known = await login()
        # an empty one where nobody is logged in: no token of the registry's is to be sent, the API takes none
        return {"authorization": basic(known.username, known.password) if known.password else ""}

    return Service(registry.session, "/api/v2.0", headers)
