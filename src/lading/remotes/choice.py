"""Which image is meant where a platform is named: that of an index, or of an index in it; and what a lone image is for."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from lading.errors import ManifestInvalid, ManifestUnknown, SizeInvalid
from lading.oci import mediatypes, platform
from lading.oci.manifest import Descriptor, Manifest, Platform
from lading.remotes.base import RegistryClient
from lading.remotes.fetch import content

_DEEPEST = 8
_MOST_INDEXES = 100


async def chosen(client: RegistryClient, repository: str, top: Manifest, wanted: Platform) -> Manifest:
    """Of an index the image that suits best; what is none is given back. :class:`ManifestUnknown` says what there is."""
    if not top.children:
        return top
    offered = [child async for child in images(client, repository, top)]
    return await child_of(client, repository, platform.choose(offered, wanted))


async def images(client: RegistryClient, repository: str, top: Manifest) -> AsyncGenerator[Descriptor]:
    """What an index lists that is no index, with what the indexes in it list; only those are fetched."""
    waiting, fetched = [(top, 0)], 0
    while waiting:
        index, depth = waiting.pop(0)
        for child in index.children:
            if child.media_type not in mediatypes.INDEXES:
                yield child
                continue
            fetched += 1
            if depth >= _DEEPEST or fetched > _MOST_INDEXES:
                raise ManifestInvalid(
                    f"{top.digest} has indexes in indexes, more than {_DEEPEST} deep or {_MOST_INDEXES} in all; that is refused"
                )
            waiting.append((await child_of(client, repository, child), depth + 1))


async def child_of(client: RegistryClient, repository: str, child: Descriptor) -> Manifest:
    """A manifest that another one names; it must be as long as that says, or engines will not have it."""
    found = await client.manifest(repository, child.digest)
    if found.size != child.size:
        raise SizeInvalid(f"the manifest {child.digest} has {found.size} bytes, and what names it says {child.size}")
    return found


async def check(client: RegistryClient, repository: str, image: Manifest, wanted: Platform) -> None:
    """:class:`ManifestUnknown` where an image is for another platform; one that does not say which passes."""
    if image.config is None or image.config.media_type not in mediatypes.RUNNABLE:
        return
    try:
        config = json.loads(await content(client, repository, image.config))
    except (ValueError, RecursionError):
        return
    made_for = _platform(config)
    if made_for.os and made_for.architecture and not platform.suits(wanted, made_for):
        raise ManifestUnknown(
            f"there is no image for {platform.written(wanted)}; it is one for {platform.written(made_for)}"
        )


def _platform(config: Any) -> Platform:
    given = config if isinstance(config, dict) else {}
    said = {key: word for key in ("architecture", "os", "variant") if isinstance(word := given.get(key), str)}
    return Platform(said.get("architecture", ""), said.get("os", ""), said.get("variant", ""))
