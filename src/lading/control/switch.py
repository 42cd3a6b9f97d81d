"""Whether accounts are on: the configuration says, or else they are if they were."""

from __future__ import annotations

from typing import Protocol

from lading.stores.metadata import facts
from lading.stores.metadata.transaction import Metadata, Transaction

_NAME = "accounts"


class Named(Protocol):
    """The section of the configuration, as far as switching on goes."""

    @property
    def enabled(self) -> bool: ...


async def are_on(metadata: Metadata, named: Named | None) -> bool:
    """See the module."""
    if named is not None:
        return named.enabled
    return await facts.read(metadata, _NAME) == "on"


async def note(tx: Transaction, *, on: bool) -> None:
    """Remember whether accounts are on, so that a section that gets lost opens nothing."""
    await facts.write(tx, _NAME, "on" if on else "off")
