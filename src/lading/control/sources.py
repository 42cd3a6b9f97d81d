"""Who is asked besides this registry for who people are: the directory and the provider that are in force now.

What administrators set while the registry runs is one row, which every process reads before it asks: one statement by
key. So a change holds everywhere from the next login on, and nothing has to be told or restarted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lading.access.directory.settings import DirectorySettings, pinned
from lading.access.directory.threads import Directory
from lading.access.oidc import Oidc
from lading.access.outbound import Outbound, ProviderFailed
from lading.access.providers.base import IdentityProvider
from lading.access.providers.ldap import Ldap
from lading.access.providers.oidc import CliSecrets
from lading.access.sealing import Seal
from lading.control import logins
from lading.control.logins import Configured, Value, Ways
from lading.errors import Invalid, LadingError
from lading.stores.metadata.transaction import Metadata

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Who is asked; ``providers`` in this order. ``primary``: browsers are offered this before the local password."""

    ways: Ways
    directory: Directory | None
    oidc: Oidc | None
    providers: Sequence[IdentityProvider]
    primary: bool = False


class Sources:
    """See the module. ``here`` are the providers that are always there."""

    def __init__(
        self,
        metadata: Metadata,
        seal: Seal,
        configured: Configured,
        outbound: Outbound,
        here: Sequence[IdentityProvider],
    ) -> None:
        self._metadata = metadata
        self._seal = seal
        self._configured = configured
        self._outbound = outbound
        self._here = here
        self._stored: str | None = None
        self._source = Source(Ways(), None, None, here)

    async def current(self) -> Source:
        """Who is asked now."""
        stored = await logins.stored(self._metadata)
        if stored != self._stored:
            self._source, self._stored = self._made(stored), stored
        return self._source

    async def providers(self) -> Sequence[IdentityProvider]:
        """Those that names and passwords are shown to."""
        return (await self.current()).providers

    async def judge(self, given: Mapping[str, Value]) -> None:
        """Raise ``Invalid`` where what is to be set leads to where no directory and no provider may be."""
        place = given.get("ldap_url")
        if place and isinstance(place, str):
            wanted = DirectorySettings(url=place, base="")
            await asyncio.get_running_loop().run_in_executor(None, pinned, wanted)
        place = given.get("oidc_endpoint")
        if place and isinstance(place, str):
            try:
                await self._outbound.judge(place)
            except ProviderFailed as failed:
                raise Invalid(failed.message) from None

    def close(self) -> None:
        """Let go of threads."""
        for provider in self._source.providers:
            provider.close()

    def _made(self, stored: str) -> Source:
        old = self._source
        kept = logins.Kept()
        try:
            kept = logins.decoded(stored)
            ways = logins.in_force(kept, self._seal, self._configured)
        except LadingError as error:
            log.error("how people log in, as it was set, does not do, and is passed over", extra={"why": error.message})
            ways = logins.in_force(logins.Kept(), self._seal, self._configured)
        # what stays as it is keeps what it remembers; what goes is let go of by those who are asking it
        directory = old.directory if ways.directory == old.ways.directory else _directory(ways)
        oidc = old.oidc if ways.provider == old.ways.provider else self._oidc(ways)
        providers: list[IdentityProvider] = list(self._here)
        if oidc is not None:
            # before those that take long over a name they do not know
            providers.insert(0, CliSecrets(self._metadata, oidc))
        if directory is not None:
            known = next((one for one in old.providers if isinstance(one, Ldap)), None)
            same = directory is old.directory and known is not None
            providers.append(known if same and known is not None else Ldap(self._metadata, directory))
        return Source(ways, directory, oidc, providers, primary=bool(kept.value("primary_auth_mode")))

    def _oidc(self, ways: Ways) -> Oidc | None:
        if ways.provider is None:
            return None
        return Oidc(self._metadata, self._seal, ways.provider, self._outbound)


def _directory(ways: Ways) -> Directory | None:
    return Directory(ways.directory) if ways.directory is not None else None
