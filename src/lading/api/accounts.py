"""What is answered only where there are accounts: tokens, Harbor's API, browsers; and who a certificate stands for.

Imported only there: it is most of the program.
"""

from __future__ import annotations

from lading.access.authenticate import LoginRefused
from lading.access.principal import Principal
from lading.access.scopes import Scope
from lading.api import certified, token
from lading.api.harbor import browsers
from lading.api.harbor import face as harbor
from lading.api.request import Request, Response
from lading.api.services import Services
from lading.control.accounts import Accounts


class AccountsFace:
    """Those faces, as one."""

    def __init__(self, services: Services, accounts: Accounts) -> None:
        self._services = services
        self._accounts = accounts

    async def answer(self, request: Request, path: bytes) -> Response | None:
        """The answer; None where the path is none of these faces'."""
        services, accounts = self._services, self._accounts
        if path in token.PATHS:
            return await token.answer(request, accounts, path, services.manners.external)
        if path.startswith(harbor.PREFIX + b"/"):
            return await harbor.answer(request, services, accounts, path)
        if path.startswith(browsers.PREFIX):
            return await browsers.answer(request, services, accounts, path)
        return None

    async def certified(self, request: Request, wanted: tuple[Scope, ...], origin: str) -> Principal | None:
        """Who calls by a client certificate, admitted; None where none says so."""
        accounts = self._accounts
        if accounts.certificates is None:
            return None
        try:
            who = await certified.caller(request, accounts, self._services.manners.external)
        except LoginRefused as refused:
            raise accounts.gate.refusal(wanted, origin, refused.message) from None
        return None if who is None else await accounts.gate.admit_known(who, wanted, origin)

    def late(self, request: Request, wanted: tuple[Scope, ...], name: str, reference: str) -> Principal | None:
        """Whoever began an upload may finish it although their token has expired since."""
        begun = self._services.uploads.begun(name, reference, request.argument("_state") or "")
        authorization = request.header(b"authorization")
        return self._accounts.gate.admit_late(authorization, wanted, begun.subject, begun.at / 1000)
