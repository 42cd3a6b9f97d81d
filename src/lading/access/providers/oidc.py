"""Users of an OpenID Connect provider where there is no browser: their CLI secret stands where a password stands."""

from __future__ import annotations

import hmac
import secrets
import time

from lading.access.identities import SOURCE
from lading.access.oidc import Oidc
from lading.access.principal import Kind, Principal
from lading.access.remembered import Remembered
from lading.access.users import BY_NAME, record
from lading.stores.metadata.transaction import Metadata

_NOTED_EVERY = 300.0


class CliSecrets:
    """See the module. The provider is asked now and then whether the user is still there."""

    source = SOURCE

    def __init__(self, metadata: Metadata, oidc: Oidc) -> None:
        self._metadata = metadata
        self._oidc = oidc
        self._key = secrets.token_bytes(32)
        self._lately: Remembered[bool] = Remembered(entries=8192)

    async def verify(self, name: str, password: bytes) -> Principal | None:
        """See :class:`~lading.access.providers.base.IdentityProvider`.

        Whether a name is one of its own shows in microseconds; those who keep passwords are asked next, and take long.
        """
        user = record(await self._metadata.row(BY_NAME, name=name))
        if user is None or user.source != SOURCE or user.disabled:
            return None
        identity = await self._metadata.read(lambda tx: self._oidc.identities(tx).of(user.id))
        if identity is None or not hmac.compare_digest(identity.secret.encode(), password):
            return None
        if not await self._oidc.alive(user):
            return None
        self._lately.put(self._mark(name, password), value=True, until=time.monotonic() + _NOTED_EVERY)
        return Principal(user.name, Kind.USER, user.id)

    def remembered(self, name: str, password: bytes) -> bool:
        """See :class:`~lading.access.providers.base.IdentityProvider`."""
        return self._lately.get(self._mark(name, password), time.monotonic()) is not None

    def close(self) -> None:
        """Nothing of its own."""

    def _mark(self, name: str, password: bytes) -> bytes:
        return hmac.digest(self._key, name.encode("utf-8", "replace") + b"\0" + password, "sha256")
