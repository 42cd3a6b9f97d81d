"""What a user meant, and should know: the platform when none was named, the tag that was mistyped, a limit that is near."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from lading.errors import Denied, LadingError, ManifestUnknown, Missing
from lading.oci.reference import Reference

if TYPE_CHECKING:
    from lading.oci.manifest import Platform
    from lading.remotes.adapters.base import Adapter
    from lading.remotes.base import RegistryClient
    from lading.remotes.http import HttpRegistry

_LOOKED_AT = 2000
_FEW = 10


def wanted(named: str) -> Platform:
    """The platform asked for."""
    from lading.oci.platform import parse

    return parse(named)


def machine() -> Platform:
    """This machine's platform; images run on Linux, also where they are only fetched by something else."""
    import platform

    return wanted(f"linux/{platform.machine().lower()}")


async def missing_tag(error: ManifestUnknown, client: RegistryClient, reference: Reference) -> ManifestUnknown:
    """The error, with tags that look like the one that is not there."""
    from difflib import get_close_matches

    tags: list[str] = []
    try:
        async for tag in client.tags(reference.repository):
            tags.append(tag)
            if len(tags) >= _LOOKED_AT:
                break
    except LadingError:
        return error
    if reference.digest or not tags or reference.reference in tags:
        return error
    near = get_close_matches(reference.reference, tags, 5, 0.5) or sorted(tags)[-5:]
    return ManifestUnknown(f"{error.message}; there is {', '.join(near)}" + (", …" if len(tags) > len(near) else ""))


@asynccontextmanager
async def prepared(registry: HttpRegistry | None, repository: str, *, create: bool) -> AsyncGenerator[None]:
    """Around a push: with ``create`` what must be there is made first, without a failure tells that it may be missing."""
    from lading.remotes.adapters.vendors import adapter

    if registry is None:
        yield
        return
    vendor = await adapter(registry) if create else None
    if vendor:
        await vendor.prepare(repository)
    try:
        yield
    except (Missing, Denied) as error:
        if not error.message.startswith(registry.host):
            raise
        if vendor is None:
            hint = _hint(await adapter(registry))
        else:  # who is not let in has another trouble than what could not be made
            hint = vendor.hindered if isinstance(error, Missing) else ""
        raise (type(error)(f"{error.message}. {hint}") if hint else error) from None


def _hint(vendor: Adapter) -> str:
    host = vendor.registry.host
    return f"{host} wants {vendor.makes} made before a push: --create does it" if vendor.makes else ""


def few_left(limits: Mapping[str, str]) -> str:
    """A warning when a registry says that few requests are left (``ratelimit-remaining: 7;w=21600``), else nothing."""
    import re

    said = limits.get("ratelimit-remaining", "") or limits.get("x-ratelimit-remaining", "")
    found = re.match(r"(\d{1,9})(?:;w=(\d{1,9}))?", said)
    if not found or int(found[1]) > _FEW:
        return ""
    window = f" in the next {int(found[2]) / 3600:g} hours" if found[2] else ""
    return f"allows {found[1]} more pulls from here{window}; a login may raise that"
