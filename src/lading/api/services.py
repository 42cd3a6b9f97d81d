"""What a handler may reach; ``app`` builds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lading.access.guard import Guard
from lading.access.principal import Principal
from lading.api.aliases import Aliases
from lading.api.request import NO_PROXIES, Proxies
from lading.jobs.queue import JobQueue
from lading.registry.delete import Delete
from lading.registry.pull import Pull
from lading.registry.push import Push
from lading.registry.sight import EVERYTHING, Sight
from lading.registry.uploads import Uploads
from lading.stores.metadata.transaction import Metadata, Transaction

if TYPE_CHECKING:
    from lading.control.accounts import Accounts
    from lading.control.replication.run import Replicate


@dataclass(frozen=True)
class Manners:
    """How this registry answers: settings that only faces need.

    ``prefix`` stands before every path, ``external`` replaces ``scheme://host`` in locations, ``relative`` leaves it
    out. ``mount_anywhere``: whoever may push may read all, so a mount need not say from where. ``proxies`` may say where
    a request came from; ``mirrors`` has the registries mirrored, by what names begin with that are theirs, and
    ``aliases`` other ways to name what is there; ``store`` is what the configuration calls the blobs' place, and
    ``volume`` the folder, where it is one.
    """

    prefix: str = ""
    external: str = ""
    relative: bool = False
    delete: bool = False
    read_only: bool = False
    mirrors: Mapping[str, str] = field(default_factory=dict)
    aliases: Aliases | None = None
    most_catalog: int = 1000
    most_tags: int = 1000
    manifest_bytes: int = 4 << 20
    mount_anywhere: bool = True
    search: bool = True
    store: str = "filesystem"
    volume: Path | None = None
    proxies: Proxies = NO_PROXIES


@dataclass(frozen=True)
class Services:
    """The verbs, the door and the manners; where accounts are on, those and what replicates."""

    guard: Guard
    pull: Pull
    push: Push
    uploads: Uploads
    delete: Delete
    metadata: Metadata
    manners: Manners
    queue: JobQueue
    accounts: Accounts | None = None
    replicate: Replicate | None = None
    failing: Callable[[], Mapping[str, str]] = dict

    async def sight(self, tx: Transaction, who: Principal) -> Sight:
        """What a caller sees in lists: everything, where there are no accounts."""
        return EVERYTHING if self.accounts is None else await self.accounts.sight(tx, who)
