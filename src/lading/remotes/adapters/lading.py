"""Lading with accounts: it lists and deletes by the protocol itself, and a project must be there before a push."""

from __future__ import annotations

from urllib.parse import urlsplit

from lading.remotes.adapters.base import Adapter
from lading.remotes.adapters.harbor import make_project
from lading.remotes.challenge import Challenge

_LIBRARY = "library"
"""The project of repositories whose names have one part."""


class Lading(Adapter):
    """One of ours. Its tokens open the registry and nothing else, so a project is made with a password or not at all."""

    makes = "the project"

    @staticmethod
    def is_it(challenge: Challenge, host: str) -> bool:
        """Whether a registry that asks like this is one; a Harbor, which asks in the same way, has been told apart before."""
        realm = urlsplit(challenge.parameters.get("realm", ""))
        own = challenge.parameters.get("service") == "lading" or realm.netloc == host
        return own and realm.path.endswith("/service/token")

    async def prepare(self, repository: str) -> bool:
        project, slash, _ = repository.partition("/")
        project = project if slash else _LIBRARY
        host = self.registry.host
        known = await self.registry.session.keyring.find(host, repository)
        if known and not known.password:
            self.hindered = (
                f"The login that is kept for {host} is a token, which may push and pull and makes no project. Make it "
                f"there first (lading admin project create {project}, or POST /api/v2.0/projects with a password), or "
                "give name and password in DOCKER_AUTH_CONFIG"
            )
            return False
        return await make_project(self.registry, project, known)
