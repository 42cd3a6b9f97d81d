"""The guard where accounts are on: tokens of our own, Basic, or nobody in particular.

A token is judged without the index and without waiting: its signature once, then by what is remembered, and by what
was revoked since, which :meth:`Gate.watch` looks for every few seconds. Basic credentials and nobody's requests are
judged by the rights as they are now.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from lading.access.authenticate import Authenticate, LoginRefused
from lading.access.htpasswd import parse_basic
from lading.access.members import namespace
from lading.access.principal import ANONYMOUS, Principal
from lading.access.revocations import LOOK_EVERY, Revoked, of_project
from lading.access.rights import Rights
from lading.access.scopes import Scope
from lading.access.signing import ALGORITHM, Keyring
from lading.access.tokens import Grant, Tokens, Trust
from lading.errors import Unauthenticated
from lading.stores.metadata.transaction import Metadata, Transaction

LONGEST_UPLOAD = 24 * 3600.0
"""Seconds after its begin within which an upload may be finished with a token that was good when it began."""
_KEYS_EVERY = 20
"""Looks for revocations to one for keys."""

log = logging.getLogger(__name__)


class Gate:
    """See the module. ``path`` is where the token service is below the origin a client used; ``realm`` replaces both."""

    needs_origin = True

    def __init__(
        self,
        metadata: Metadata,
        keyring: Keyring,
        authenticate: Authenticate,
        *,
        realm: str,
        path: str,
        anonymous: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metadata = metadata
        self._keyring = keyring
        self._authenticate = authenticate
        self._anonymous = anonymous
        self._clock = clock
        self._revoked = Revoked()
        self._tokens = Tokens(self._trust(), realm=realm, redirect=None if realm else path, clock=clock)
        self._watching: asyncio.Task[None] | None = None

    async def look(self) -> None:
        """Read keys and revocations."""
        await self._keyring.load(self._metadata)
        self._tokens.believe(self._trust())
        await self._revoked.load(self._metadata)

    def watch(self) -> None:
        """Look again and again; on the running event loop."""
        self._watching = asyncio.get_running_loop().create_task(self._watch(), name="revocations")

    def admit_now(self, authorization: bytes | None, wanted: tuple[Scope, ...], origin: str = "") -> Principal | None:
        """The subject of a token; None for Basic and nobody, who are looked up."""
        if authorization is None or authorization[:6].lower() == b"basic ":
            return None
        grant = self._tokens.grant(authorization, wanted, origin)
        if self._revoked and self._hit(grant, wanted):
            raise self._tokens.refusal(wanted, origin, "the token is not valid any more", "invalid_token")
        return grant.principal

    async def admit(
        self, authorization: bytes | None, wanted: tuple[Scope, ...], origin: str = "", address: str = ""
    ) -> Principal:
        """The principal, after a look at who it is and what they may do."""
        principal = self.admit_now(authorization, wanted, origin)
        if principal is not None:
            return principal
        return await self.admit_known(await self._who(authorization, wanted, origin, address), wanted, origin)

    async def admit_known(self, who: Principal, wanted: tuple[Scope, ...], origin: str = "") -> Principal:
        """The same for somebody who is known already, by a client certificate say."""
        if who is ANONYMOUS and not (wanted and self._anonymous):
            raise self._tokens.refusal(wanted, origin, "authentication required")
        if wanted and not await self._metadata.read(lambda tx: self._may(tx, who, wanted)):
            why = "authentication required" if who is ANONYMOUS else "this account may not do this"
            raise self._tokens.refusal(wanted, origin, why, "" if who is ANONYMOUS else "insufficient_scope")
        return who

    def refusal(self, wanted: tuple[Scope, ...], origin: str, why: str) -> Unauthenticated:
        """A 401 that names the token service."""
        return self._tokens.refusal(wanted, origin, why)

    def admit_late(
        self, authorization: bytes | None, wanted: tuple[Scope, ...], subject: str, began: float
    ) -> Principal | None:
        """The subject of a token that has expired since this subject began an upload (Unix seconds) with it."""
        if authorization is None or not subject or not 0 <= self._clock() - began <= LONGEST_UPLOAD:
            return None
        grant = self._tokens.as_of(authorization, began)
        if grant is None or grant.principal.subject != subject or not all(map(grant.allows, wanted)):
            return None
        return None if self._hit(grant, wanted) else grant.principal

    def close(self) -> None:
        """Stop looking, and let go of threads."""
        if self._watching is not None:
            self._watching.cancel()
        self._authenticate.close()

    def _trust(self) -> Trust:
        keyring = self._keyring
        return Trust(keyring.issuer, keyring.service, keyring.verifying, (), frozenset({ALGORITHM}), own=True)

    def _hit(self, grant: Grant, wanted: tuple[Scope, ...]) -> bool:
        projects = (of_project(namespace(scope.name)) for scope in wanted if scope.type == "repository")
        return self._revoked.hits(grant.issued, grant.principal.subject, *projects)

    async def _who(
        self, authorization: bytes | None, wanted: tuple[Scope, ...], origin: str, address: str
    ) -> Principal:
        if authorization is None or authorization[6:].strip() == b"Og==":  # docker search sends empty credentials
            return ANONYMOUS
        credentials = parse_basic(authorization)
        if credentials is None:
            raise self._tokens.refusal(wanted, origin, "the Authorization header is not valid Basic authentication")
        try:
            return await self._authenticate.login(credentials.user, credentials.password, address)
        except LoginRefused as refused:
            raise self._tokens.refusal(wanted, origin, refused.message) from None

    async def _may(self, tx: Transaction, who: Principal, wanted: tuple[Scope, ...]) -> bool:
        rights = await Rights.of(tx, who, anonymous=self._anonymous)
        given = Grant(who, {(one.type, one.name): frozenset(one.actions) for one in await rights.grant(wanted)})
        return all(map(given.allows, wanted))

    async def _watch(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(LOOK_EVERY)
            looks += 1
            try:
                if looks % _KEYS_EVERY:
                    await self._revoked.load(self._metadata)
                else:
                    await self.look()
            except Exception as error:  # noqa: BLE001 - the database may be away for a while: what is known stays
                log.warning(
                    "revoked tokens could not be looked for; it is tried again", extra={"why": str(error)[:200]}
                )
