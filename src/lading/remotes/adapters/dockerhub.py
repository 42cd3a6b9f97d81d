"""Docker Hub: its registry has no catalog and no DELETE; both are done by Hub's own API (docs.docker.com/reference/api/hub)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote, urljoin

from lading.errors import BadAnswer, Invalid, ManifestUnknown, Missing, RepositoryUnknown, Unauthenticated
from lading.oci.reference import DEFAULT_HOST
from lading.remotes import answers
from lading.remotes.adapters.base import Adapter
from lading.remotes.http import HttpRegistry

_MAX_PAGE = 8 << 20
_PAGE = 100
_MAX_PAGES = 10_000


class DockerHub(Adapter):
    """``api`` is where Hub's API is."""

    def __init__(self, registry: HttpRegistry, api: str = "https://hub.docker.com") -> None:
        super().__init__(registry)
        self._api = api
        self._token = ""

    async def repositories(self, namespace: str = "") -> AsyncGenerator[str]:
        if not namespace:
            raise Invalid(f"{DEFAULT_HOST} does not list all there is; name a namespace, as in {DEFAULT_HOST}/library")
        url = f"{self._api}/v2/repositories/{quote(namespace)}/?page_size={_PAGE}"
        headers = await self._headers(needed=False)
        for _ in range(_MAX_PAGES):
            page = await self._page(url, headers, namespace)
            for one in answers.listed(page, "results"):
                if isinstance(one, dict) and isinstance(one.get("name"), str):
                    yield f"{namespace}/{one['name']}"
            following = page.get("next")
            if not isinstance(following, str) or not following:
                return
            url = urljoin(url, following)
            if not url.startswith(f"{self._api}/"):
                raise BadAnswer(f"Docker Hub names a next page elsewhere, {url[:200]!r}")
        raise BadAnswer("Docker Hub lists repositories without end")

    async def delete_tag(self, repository: str, tag: str) -> None:
        headers = await self._headers(needed=True)
        url = f"{self._api}/v2/repositories/{quote(repository)}/tags/{quote(tag)}/"
        what = f"{repository}:{tag}"
        try:
            async with self.registry.session.open("DELETE", url, headers=headers, expect=(200, 202, 204), what=what):
                return
        except Missing as error:
            raise ManifestUnknown(error.message) from None

    async def _page(self, url: str, headers: dict[str, str], namespace: str) -> dict[str, Any]:
        what = f"the repositories of {namespace}"
        try:
            async with self.registry.session.open("GET", url, headers=headers, what=what) as answer:
                return await answers.document(answer, _MAX_PAGE, what)
        except Missing as error:
            raise RepositoryUnknown(error.message) from None

    async def _headers(self, *, needed: bool) -> dict[str, str]:
        """An access token bought with the login; it lives for minutes, longer than a command."""
        credential = await self.registry.session.keyring.find(self.registry.host)
        if not credential.username or not credential.password:
            if needed:
                raise Unauthenticated(
                    f"{DEFAULT_HOST} takes that from its users only; log in with: lading login", challenge=""
                )
            return {}
        if not self._token:
            body = json.dumps({"identifier": credential.username, "secret": credential.password}).encode()
            url, kind = f"{self._api}/v2/auth/token", {"content-type": "application/json"}
            async with self.registry.session.open("POST", url, headers=kind, body=body, what="a token") as answer:
                token = (await answers.document(answer, _MAX_PAGE, "a token")).get("access_token")
            if not isinstance(token, str) or not token.isascii() or not token.isprintable():
                raise BadAnswer("Docker Hub answers a login without a token")
            self._token = token
        return {"authorization": f"Bearer {self._token}"}
