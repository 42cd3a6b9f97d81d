"""``/v1/_ping`` and ``/v1/search``: what ``docker search HOST/TERM`` asks (Docker registry API v1, "Search")."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lading.access import scopes
from lading.access.scopes import Scope
from lading.api.request import Request, Response
from lading.api.services import Services
from lading.errors import PageInvalid
from lading.registry.repositories import Repositories, Repository
from lading.stores.metadata.transaction import Transaction

PERMISSION: tuple[Scope, ...] = (scopes.catalog(),)
PERMISSION_OF_ACCOUNTS: tuple[Scope, ...] = (Scope("registry", "catalog", ("search",)),)
"""What docker asks a token for; with accounts what is found is cut to what the caller may see."""

_USUAL, _MOST = 25, 100


async def ping(request: Request, services: Services) -> Response:  # noqa: ARG001 - every handler is called alike
    """Docker asks this before it searches."""
    return Response(200, [(b"content-type", b"application/json")], b"true")


async def search(request: Request, services: Services) -> Response:
    """Repositories whose name or description has the term in it; ``n`` of them, page by page from 1 on."""
    term = request.argument("q") or ""
    size = min(_number(request, "n", _USUAL), _MOST) or _USUAL
    page = max(1, _number(request, "page", 1))

    async def read(tx: Transaction) -> tuple[int, Sequence[Repository]]:
        sight = await services.sight(tx, request.principal)
        return await Repositories(tx).search(term[:255], size, (page - 1) * size, sight)

    total, found = await services.metadata.read(read)
    results = [
        {
            "name": repository.name,
            "description": repository.description,
            "star_count": repository.stars,
            "is_official": repository.official,
            "is_automated": False,
            "is_trusted": False,
        }
        for repository in found
    ]
    answer = {
        "query": term,
        "num_results": total,
        "num_pages": -(-total // size),
        "page": page,
        "page_size": size,
        "results": results,
    }
    return Response(200, [(b"content-type", b"application/json")], msgspec.json.encode(answer))


def _number(request: Request, name: str, usual: int) -> int:
    given = request.argument(name)
    if given is None or not given:
        return usual
    if not given.isascii() or not given.isdigit() or len(given) > 9:
        raise PageInvalid(f"{name} is {given[:40]!r}, but must be a whole number", detail={name: given[:40]})
    return int(given)
