"""What the distribution protocol leaves to each registry: listing repositories, taking a single tag away."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from lading.remotes.http import HttpRegistry


class Adapter:
    """A registry that does it as the specification proposes. Vendors' own are below it."""

    def __init__(self, registry: HttpRegistry) -> None:
        self.registry = registry

    async def repositories(self, namespace: str = "") -> AsyncGenerator[str]:
        """Every repository, or those below a namespace."""
        async for name in self.registry.repositories():
            if not namespace or name.startswith(f"{namespace}/"):
                yield name

    async def delete_tag(self, repository: str, tag: str) -> None:
        """Take one tag away; what it stood for stays under its other tags."""
        await self.registry.delete(repository, tag)
