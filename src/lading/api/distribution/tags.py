"""The tags of a repository: end-8."""

from __future__ import annotations

import msgspec

from lading.api.distribution.base import JSON, STALE, next_page, page_size
from lading.api.request import Headers, Request, Response
from lading.api.services import Services
from lading.registry.listed import Stale

_MOST_UNASKED = 100_000
"""Clients that know nothing of pages get all the tags, as from registry:2; this bounds one answer."""


async def get(request: Request, services: Services, name: str, reference: str) -> Response:  # noqa: ARG001 - every handler is called alike
    """Tags in byte order: all of them, or a page if ``n`` is given."""
    size, asked = page_size(request), request.asked(name)
    limit = _MOST_UNASKED if size is None else min(size, services.manners.most_tags)
    tags, more = await services.pull.tags(name, request.argument("last") or "", limit)
    headers: Headers = [JSON, STALE] if isinstance(tags, Stale) else [JSON]
    if more and tags:
        headers.append(next_page(services.manners, f"/v2/{asked}/tags/list", last=tags[-1], n=limit, **request.again()))
    return Response(200, headers, msgspec.json.encode({"name": asked, "tags": tags}))
