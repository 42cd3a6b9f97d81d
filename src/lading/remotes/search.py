"""Searching: ``/v1/search`` as docker asks it, or the list of repositories where a registry has no search."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from lading import errors
from lading.oci.reference import DEFAULT_HOST
from lading.remotes import answers
from lading.remotes.http import HttpRegistry

_MAX_ANSWER = 4 << 20
_INDEX = "https://index.docker.io"


async def search(registry: HttpRegistry, text: str, limit: int) -> list[dict[str, Any]]:
    """What is found, each with at least ``name``; at most ``limit``."""
    # docker.io's own search is at another host than its images, and takes library/ for granted
    base = _INDEX if registry.host == DEFAULT_HOST else ""
    path = f"{base}/v1/search?q={quote(text.removeprefix('library/'))}&n={limit}"
    scopes = ("registry:catalog:search",)
    async with registry.session.open("GET", path, scopes, expect=(200, 404, 405), what="a search") as answer:
        if answer.status_code == 200:
            document = await answers.document(answer, _MAX_ANSWER, "what it found")
            return [one for one in answers.listed(document, "results") if isinstance(one, dict)][:limit]
    return await _listed(registry, text, limit)


async def _listed(registry: HttpRegistry, text: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    try:
        async for name in registry.repositories():
            if text.lower() in name:
                found.append({"name": name})
            if len(found) >= limit:
                break
    except (errors.Denied, errors.Missing, errors.Unsupported) as error:
        raise errors.Unsupported(f"{registry.host} cannot be searched: {error.message}") from None
    return found
