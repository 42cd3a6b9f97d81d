"""What the distribution protocol leaves to each registry: listing and finding repositories, making them, deleting."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar

from lading.remotes import search
from lading.remotes.challenge import Challenge
from lading.remotes.credentials import Credential
from lading.remotes.http import HttpRegistry


class Adapter:
    """A registry that does it as the specification proposes. Vendors' own are below it."""

    makes: ClassVar[str] = ""
    """What must be there before a push and is made by :meth:`prepare`, in words; nothing where a push makes it."""

    def __init__(self, registry: HttpRegistry) -> None:
        self.registry = registry
        self.hindered = ""
        """Why :meth:`prepare` could not even look, in words for whom it turns out to matter; nothing where it did."""

    @staticmethod
    def is_it(challenge: Challenge, host: str) -> bool:  # noqa: ARG004 - the vendors' signature
        """Whether the registry at ``host`` that asks like this is one of these; for those that anybody may run."""
        return False

    @staticmethod
    async def ambient(host: str, environment: Mapping[str, str], *, asked: bool) -> Credential | None:  # noqa: ARG004 - the vendors' signature
        """The login that this machine or job has from elsewhere (a variable, a role); None where it has none.

        Unless it was ``asked`` for by name, only what costs no search over the network is looked at.
        """
        return None

    async def repositories(self, namespace: str = "") -> AsyncGenerator[str]:
        """Every repository, or those below a namespace."""
        async for name in self.registry.repositories():
            if not namespace or name.startswith(f"{namespace}/"):
                yield name

    async def search(self, text: str, limit: int) -> list[dict[str, Any]]:
        """What is found, each with at least ``name``; at most ``limit``."""
        return await search.search(self.registry, text, limit)

    async def prepare(self, repository: str) -> bool:  # noqa: ARG002 - the vendors' signature
        """Make what must be there before a push to ``repository``; whether anything was made."""
        return False

    async def delete_tag(self, repository: str, tag: str) -> None:
        """Take one tag away; what it stood for stays under its other tags."""
        await self.registry.delete(repository, tag)

    async def delete_manifest(self, repository: str, digest: str) -> None:
        """Take a manifest away, with every tag it has."""
        await self.registry.delete(repository, digest)


def inside(name: str, namespace: str) -> bool:
    """Whether a repository is below a namespace, or is it."""
    return name == namespace or name.startswith(f"{namespace}/")
