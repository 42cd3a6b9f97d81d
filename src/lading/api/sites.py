"""Whether a browser sends a request for a page of somebody else's: one rule, for cookies and for client certificates.

A browser brings along what it has for a registry, whoever's page makes it ask. It says where that page is in
``Sec-Fetch-Site`` (Fetch Metadata), and before that in ``Origin`` (RFC 6454 section 7); programs send neither. A value
that no browser sends, an empty one too, is taken for another site's.
"""

from __future__ import annotations

from lading.api.request import Request
from lading.errors import Denied

SAFE = frozenset(["GET", "HEAD", "OPTIONS"])
"""Methods that change nothing (RFC 9110 section 9.2.1)."""


def foreign(request: Request, external: str) -> str:
    """Why a request is another site's; empty where it is not. ``external`` is the configured address of this registry."""
    site, origin = request.header(b"sec-fetch-site"), request.header(b"origin")
    if site is not None and site.lower() not in (b"same-origin", b"none"):
        return "a page of another site asked for this"
    if origin is not None and origin.decode("latin-1").lower() not in _own(request, external):
        return "the Origin header names another site than this registry"
    return ""


def demand_own_page(request: Request, external: str) -> None:
    """Raise ``Denied`` where a page from elsewhere made a browser ask."""
    if why := foreign(request, external):
        raise Denied(f"{why}; do it on this registry's own pages")


def _own(request: Request, external: str) -> set[str]:
    """What the Origin of our own pages is: the address asked for, and the one people know."""
    scheme, _, rest = external.lower().partition("://")
    return {request.origin.lower(), f"{scheme}://{rest.partition('/')[0]}"} - {"", "://"}
