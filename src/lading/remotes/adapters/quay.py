"""Quay, and quay.io: robots (``namespace+robot``) and users by name, OAuth tokens as ``$oauthtoken``; search by its API v1.

Its catalog is what a login may see. Without one, or with an OAuth token, repositories are listed by the API (docs.quay.io/api).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from lading.errors import BadAnswer, Invalid
from lading.remotes import answers
from lading.remotes.adapters.base import Adapter, inside
from lading.remotes.adapters.service import Service
from lading.remotes.challenge import Challenge
from lading.remotes.http import HttpRegistry

OAUTH = "$oauthtoken"
"""The user whose password is an OAuth token."""

_MAX_PAGES = 10_000


class Quay(Adapter):
    """A Quay."""

    def __init__(self, registry: HttpRegistry) -> None:
        super().__init__(registry)
        self._api = Service(registry.session, "/api/v1", self._headers)

    @staticmethod
    def is_it(challenge: Challenge, host: str) -> bool:
        """Whether a registry that asks like this is a Quay."""
        realm = urlsplit(challenge.parameters.get("realm", ""))
        return realm.path == "/v2/auth" and realm.netloc == challenge.parameters.get("service") == host

    async def repositories(self, namespace: str = "") -> AsyncGenerator[str]:
        credential = await self.registry.session.keyring.find(self.registry.host)
        if credential and credential.username != OAUTH:
            async for name in super().repositories(namespace):
                yield name
            return
        owner = namespace.partition("/")[0]
        if not owner:
            raise Invalid(f"{self.registry.host} does not list all there is; name a namespace, as in HOST/NAMESPACE")
        query = {"namespace": owner, **({} if credential else {"public": "true"})}
        for _ in range(_MAX_PAGES):
            page = await self._api.get(f"/repository?{urlencode(query)}", f"the repositories of {owner}")
            for one in answers.listed(page, "repositories"):
                name = f"{owner}/{one.get('name')}" if isinstance(one, dict) else ""
                if name and inside(name, namespace):
                    yield name
            following = page.get("next_page") if isinstance(page, dict) else None
            if not isinstance(following, str) or not following:
                return
            query["next_page"] = following
        raise BadAnswer(f"{self.registry.host} lists repositories without end")

    async def search(self, text: str, limit: int) -> list[dict[str, Any]]:
        found = await self._api.get(f"/find/repositories?query={quote(text)}", "a search")
        rows: list[dict[str, Any]] = []
        for one in answers.listed(found, "results"):
            owner = one.get("namespace") if isinstance(one, dict) else None
            if isinstance(owner, dict) and isinstance(one.get("name"), str):
                rows.append({"name": f"{owner.get('name')}/{one['name']}", "description": one.get("description")})
        return rows[:limit]

    async def _headers(self) -> dict[str, str]:
        credential = await self.registry.session.keyring.find(self.registry.host)
        # an empty one for others: the API takes neither their passwords nor tokens of the registry's
        return {"authorization": f"Bearer {credential.password}" if credential.username == OAUTH else ""}
