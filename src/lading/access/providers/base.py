"""What a source of identities can do."""

from __future__ import annotations

from typing import Protocol

from lading.access.principal import Principal


class IdentityProvider(Protocol):
    """Checks names and passwords against one source."""

    @property
    def source(self) -> str:
        """How the users it brings are marked (``users.source``)."""

    async def verify(self, name: str, password: bytes) -> Principal | None:
        """The user, who has a row from then on; None where the source does not know the name or the password is wrong.

        Both take the same time, and so does a name that belongs to another source. May raise ``Unavailable``, and
        :class:`~lading.access.directory.away.Away` where the source does not answer.
        """

    def remembered(self, name: str, password: bytes) -> bool:
        """Whether this very login was good a moment ago, so that nothing need be noted of it."""

    def close(self) -> None:
        """Let go of what it holds."""
