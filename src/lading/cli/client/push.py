"""``lading push``: an image of this machine, a folder, an archive or a running engine to a registry."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.client import options
from lading.cli.client.completion import files_and_images
from lading.errors import LocalError, ManifestUnknown
from lading.oci.reference import Reference

if TYPE_CHECKING:
    from lading.cli.client.places import Place, Places
    from lading.oci.manifest import Descriptor

_MOST_ORIGINS = 2
"""How many repositories a blob is looked for in before it is sent."""


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[FILE|FOLDER] NAME", shell_complete=files_and_images)
@click.option(
    "--all-tags", "-A", is_flag=True, help="Push every tag of the repository that this machine has, or else the engine."
)
@options.create
@options.quiet
@options.reach
def push(words: tuple[str, ...], all_tags: bool, create: bool, quiet: bool, plain_http: bool, insecure: bool) -> None:
    """Push the image NAME from the images of this machine, or FILE or FOLDER as NAME.

    A FILE is a tar archive, as docker save or lading pull --output writes it (- is standard input); a FOLDER is an OCI image layout. Of several
    images in it, the one called NAME is pushed, or that of FILE:IMAGE or FOLDER:IMAGE. An image that is not among those
    of this machine (lading images) is asked of a running docker engine. What was pulled from another repository of the
    same registry is mounted there, and not sent.
    """
    from lading.cli.client import output
    from lading.cli.client.places import run

    if len(words) > 2 or (len(words) == 2 and all_tags):
        raise click.UsageError("write NAME, or FILE NAME, or FOLDER NAME")
    reference = Reference.parse(words[-1])
    if reference.digest or (all_tags and reference.tag):
        raise click.UsageError("--all-tags goes with a name without a tag; a digest is never pushed to")
    path = words[0] if len(words) == 2 else None
    ways = {"plain_http": plain_http, "insecure": insecure}
    with output.lines() as lines:
        run(_push(lines, reference, path, ways, all_tags=all_tags, create=create, quiet=quiet))


async def _push(
    lines: list[str],
    reference: Reference,
    path: str | None,
    ways: dict[str, bool],
    *,
    all_tags: bool,
    create: bool,
    quiet: bool,
) -> None:
    from lading.cli.client.places import Places
    from lading.cli.client.progress import watching
    from lading.cli.client.wishes import prepared
    from lading.remotes.copy import Copy, Side

    async with Places(**ways) as places:
        sources = await _sources(places, reference, path, all_tags=all_tags)
        target = places.at(reference)
        if not quiet:
            click.echo(f"The push refers to repository [{reference.name}]", err=True)
        made = prepared(places.registry(reference.host), reference.repository, create=create)
        pulled = await places.store().pulled(reference.host) if path is None else {}
        pulled.pop(reference.repository, None)

        async def origins(blob: Descriptor) -> list[str]:
            return [repository for repository, digests in pulled.items() if blob.digest in digests][:_MOST_ORIGINS]

        with watching("push", quiet=quiet) as watch:
            async with made:
                for tag, source in sources:
                    sides = Side(source.client, source.repository), Side(target.client, target.repository)
                    manifest = await Copy(*sides, mounts=origins, watch=watch).image(source.reference, [tag])
                    told = reference.tagged(tag)
                    lines.append(str(told) if quiet else f"{tag}: digest: {manifest.digest} size: {manifest.size}")


async def _sources(
    places: Places, reference: Reference, path: str | None, *, all_tags: bool
) -> list[tuple[str, Place]]:
    """What is to be pushed, each with its tag."""
    from lading.cli.client.places import Place

    if path is not None:
        return [(reference.reference, await places.source(_place(path), like=reference))]
    store = places.store()
    tags = [one.tag for one, _ in store.images() if one.name == reference.name]
    if all_tags and not tags:
        return await _all_of_engine(places, reference)
    if all_tags:
        return [(tag, Place(store, reference.name, tag)) for tag in tags]
    if reference.reference in tags:
        return [(reference.reference, Place(store, reference.name, reference.reference))]
    return [(reference.reference, await _of_engine(places, reference, tags))]


async def _all_of_engine(places: Places, reference: Reference) -> list[tuple[str, Place]]:
    from lading.remotes.engine import socket_of

    missing = f"this machine has no image {reference}; see lading images"
    if socket_of(os.environ) is None:
        raise ManifestUnknown(f"{missing}. No docker engine is running here that might have some")
    if found := await places.engine_tags(reference):
        return list(found.items())
    raise ManifestUnknown(f"{missing}. The docker engine does not have any either")


async def _of_engine(places: Places, reference: Reference, tags: list[str]) -> Place:
    from lading.remotes.engine import socket_of

    there = f"; it has {', '.join(sorted(tags)[:5])}" if tags else ""
    missing = f"this machine has no image {reference.tagged(reference.reference)}{there}; see lading images"
    if socket_of(os.environ) is None:
        raise ManifestUnknown(f"{missing}. No docker engine is running here that might have it")
    try:
        return await places.engine(reference)
    except ManifestUnknown:
        raise ManifestUnknown(f"{missing}. The docker engine does not have it either") from None


def _place(text: str) -> str:
    """A file or folder as a place, also with the name of an image in it; other places may be written as for a copy."""
    from lading.cli.client.places import split
    from lading.remotes import files

    if text == "-":
        return "archive:-"
    whole, named = Path(text), Path(text.partition(":")[0])
    with files.told(f"read {text}"):
        if path := next((one for one in (whole, named) if one.name and one.exists()), None):
            return f"{'oci' if path.is_dir() else 'archive'}:{text}"
    if split(text)[0] != "registry":
        return text
    raise LocalError(f"there is no file or folder {text}; between two registries, it is lading copy")
