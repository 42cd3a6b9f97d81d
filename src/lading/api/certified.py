"""Who calls, by the client certificate of the connection or the one a proxy hands on.

It counts where a request brings no credentials: what somebody says outdoes what their machine shows. A browser
shows a certificate whoever's page makes it ask, so nothing is changed for pages of other sites.
"""

from __future__ import annotations

from lading.access.authenticate import LoginRefused
from lading.access.principal import Principal
from lading.api.request import Request
from lading.api.sites import SAFE, foreign
from lading.control.accounts import Accounts


async def caller(request: Request, accounts: Accounts, external: str) -> Principal | None:
    """Whom the certificate stands for; None where there is none, or no rule names whom. Raises ``LoginRefused``."""
    certificates = accounts.certificates
    if certificates is None or request.header(b"authorization") is not None:
        return None
    header = accounts.settings.certificate_header
    if header and request.proxied:
        # the proxy's own certificate is not its clients'
        given = request.handed_on(header.encode())
        shown = certificates.handed_on(given) if given else None
    else:
        shown = request.certificate()
    named = certificates.named(shown) if shown else None
    if named is None:
        return None
    if request.method not in SAFE and (why := foreign(request, external)):
        raise LoginRefused(f"{why}, and may not use the certificate of this browser")
    return await accounts.authenticate.certified(named, request.address)
