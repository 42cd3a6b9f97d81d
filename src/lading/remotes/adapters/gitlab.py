"""GitLab's registry: tokens from GitLab itself (``/jwt/auth``), no catalog; lists and deletions by its REST API, below ``/api/v4``.

The API takes access tokens (of a person, a project, a group) and a job's token, and no deploy tokens. A repository is
``PROJECT`` or below it, and where a project's path ends is only GitLab's to know (docs.gitlab.com/api/container_registry).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from lading.errors import (
    BadAnswer,
    Denied,
    Invalid,
    ManifestUnknown,
    Missing,
    RepositoryUnknown,
    Unauthenticated,
    Unsupported,
)
from lading.remotes.adapters.base import Adapter, inside
from lading.remotes.adapters.service import Service
from lading.remotes.challenge import Challenge, check_realm
from lading.remotes.credentials import Credential

JOB = "gitlab-ci-token"
"""The user whose password is a job's token."""


class GitLab(Adapter):
    """The registry of a GitLab, whose API is where its tokens come from."""

    _api: Service | None = None

    @staticmethod
    def is_it(challenge: Challenge, host: str) -> bool:  # noqa: ARG004 - the vendors' signature
        """Whether a registry that asks like this is GitLab's."""
        realm = challenge.parameters.get("realm", "")
        return realm.endswith("/jwt/auth") and challenge.parameters.get("service") == "container_registry"

    @staticmethod
    async def ambient(host: str, environment: Mapping[str, str], *, asked: bool) -> Credential | None:  # noqa: ARG004 - variables cost nothing
        """What a job of GitLab CI is given for the registry of its own GitLab, and for that one alone."""
        if environment.get("CI_REGISTRY") != host:
            return None
        for user, password in (
            (environment.get("CI_REGISTRY_USER"), environment.get("CI_REGISTRY_PASSWORD")),
            (environment.get("CI_DEPLOY_USER"), environment.get("CI_DEPLOY_PASSWORD")),
            (JOB, environment.get("CI_JOB_TOKEN")),
        ):
            if user and password:
                return Credential(user, password)
        return None

    async def repositories(self, namespace: str = "") -> AsyncGenerator[str]:
        if not namespace:
            raise Invalid(
                f"{self.registry.host} does not list all there is; name a project or a group, as in "
                f"{self.registry.host}/GROUP/PROJECT"
            )
        api = await self._service()
        for place in (f"/projects/{_id(namespace)}", f"/groups/{_id(namespace)}", *_projects(namespace)[1:]):
            try:
                async for one in _listed(api, place):
                    if isinstance(name := one.get("path"), str) and inside(name, namespace):
                        yield name
                return
            except Missing:
                continue
        raise RepositoryUnknown(f"{self.registry.host} does not have {namespace}, as far as this login may see")

    async def search(self, text: str, limit: int) -> list[dict[str, Any]]:  # noqa: ARG002 - nobody can
        host = self.registry.host
        raise Unsupported(f"{host} cannot be searched; lading repos {host}/GROUP lists what a group or a project has")

    async def delete_tag(self, repository: str, tag: str) -> None:
        api = await self._service()
        path = f"{await self._found(api, repository)}/tags/{quote(tag)}"
        try:
            await api.get(path, f"{repository}:{tag}")  # a deletion says 200 also where there is nothing
            await api.send("DELETE", path, f"to delete {repository}:{tag}", expect=(200, 202, 204))
        except Missing as error:
            raise ManifestUnknown(error.message) from None

    async def _found(self, api: Service, repository: str) -> str:
        """Where the API has a repository: below a project, by a number."""
        for project in _projects(repository):
            try:
                async for one in _listed(api, project):
                    if one.get("path") == repository and isinstance(one.get("id"), int):
                        return f"{project}/registry/repositories/{one['id']}"
            except Missing:
                continue
        raise RepositoryUnknown(f"{self.registry.host} does not have {repository}, as far as this login may see")

    async def _service(self) -> Service:
        if self._api is None:
            session = self.registry.session
            challenge = await session.challenge()
            realm = challenge.parameters.get("realm", "") if challenge else ""
            if not realm.endswith("/jwt/auth"):
                raise BadAnswer(f"{session.host} does not say where its GitLab is")
            parts = urlsplit(check_realm(realm, session.host, secure=session.transport.secure))
            self._api = Service(session, f"{parts.scheme}://{parts.netloc}/api/v4", self._headers)
        return self._api

    async def _headers(self) -> dict[str, str]:
        host = self.registry.host
        credential = await self.registry.session.keyring.find(host)
        if not credential.password:
            raise Unauthenticated(
                f"GitLab's API is asked for that, with a login; log in with: lading login {host}", challenge=""
            )
        if credential.username.startswith("gitlab+deploy-token"):
            raise Denied(f"GitLab's API takes no deploy tokens; log in to {host} with an access token for that")
        return {"job-token" if credential.username == JOB else "private-token": credential.password}


def _listed(api: Service, place: str) -> AsyncGenerator[dict[str, Any]]:
    return api.all(f"{place}/registry/repositories?per_page=100", "its repositories")


def _projects(repository: str) -> list[str]:
    """The projects that a repository may belong to, the longest path first."""
    words = repository.split("/")
    return [f"/projects/{_id('/'.join(words[:count]))}" for count in range(len(words), 1, -1)]


def _id(path: str) -> str:
    return quote(path, safe="")
