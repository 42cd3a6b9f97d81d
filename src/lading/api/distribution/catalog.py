"""The list of repositories (Docker registry API v2, "Listing Repositories")."""

from __future__ import annotations

import msgspec

from lading.api.distribution.base import JSON, next_page, page_size
from lading.api.request import Headers, Request, Response
from lading.api.services import Services
from lading.errors import PageInvalid

_USUAL = 100


async def get(request: Request, services: Services, name: str, reference: str) -> Response:  # noqa: ARG001 - every handler is called alike
    """Repositories in byte order, ``n`` of them behind ``last``."""
    most = services.manners.most_catalog
    asked = page_size(request)
    if asked is not None and asked > most:
        raise PageInvalid(f"n is {asked}, but a page has {most} entries at most", detail={"n": asked})
    limit = min(_USUAL, most) if asked is None else asked
    sight = await services.metadata.read(lambda tx: services.sight(tx, request.principal))
    repositories, more = await services.pull.catalog(request.argument("last") or "", limit, sight)
    headers: Headers = [JSON]
    if more and repositories:
        headers.append(next_page(services.manners, "/v2/_catalog", last=repositories[-1], n=limit))
    return Response(200, headers, msgspec.json.encode({"repositories": repositories}))
