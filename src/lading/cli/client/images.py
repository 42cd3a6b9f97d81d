"""``lading images``, ``lading tag``, ``lading rmi``: the images of this machine."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click

from lading.cli.client import options
from lading.errors import Invalid, ManifestUnknown
from lading.oci.reference import Reference

if TYPE_CHECKING:
    from lading.oci.manifest import Descriptor
    from lading.remotes.store import Store

_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


@click.command()
@click.argument("name", required=False)
@click.option("-q", "--quiet", is_flag=True, help="Print the IDs only.")
@click.option("--digests", is_flag=True, help="Show digests, too.")
@click.option("--no-trunc", is_flag=True, help="Show IDs in full.")
@options.shape
def images(name: str | None, quiet: bool, digests: bool, no_trunc: bool, template: str | None, as_json: bool) -> None:
    """List the images of this machine, or those of the repository NAME."""
    from lading.cli.client import output
    from lading.cli.client.places import here

    rows = here(_images(Reference.parse(name) if name else None, no_trunc=no_trunc))
    if quiet:
        for one in dict.fromkeys(row["ID"] for row in rows):
            click.echo(one)
        return
    columns = ["Repository", "Tag", *(["Digest"] if digests else []), "ID", "Created", "Size"]
    output.show(rows, columns, template, as_json=as_json)


async def _images(named: Reference | None, *, no_trunc: bool) -> list[dict[str, Any]]:
    from lading.cli.client.places import Places

    async with Places() as places:
        store = places.store()
        listed = store.images()
        if named is not None:
            listed = [one for one in listed if one[0].name == named.name and named.tag in {"", one[0].tag}]
        return [await _row(store, reference, entry, no_trunc=no_trunc) for reference, entry in listed]


async def _row(store: Store, reference: Reference, entry: Descriptor, *, no_trunc: bool) -> dict[str, Any]:
    import json

    from lading.cli.client import output
    from lading.errors import LadingError
    from lading.remotes.fetch import content

    manifest = await store.manifest(reference.name, entry.digest)
    sizes, created, ident = manifest.size, "", entry.digest
    parts = [manifest]
    for child in manifest.children:
        try:
            parts.append(await store.manifest(reference.name, child.digest))
        except LadingError:
            continue
    for part in parts:
        sizes += sum(blob.size for blob in part.blobs())
    if manifest.config is not None:
        ident = manifest.config.digest
        try:
            config = json.loads(await content(store, "", manifest.config))
            created = str(config.get("created") or "")[:19]
        except (LadingError, ValueError, AttributeError, RecursionError):
            created = ""
    return {
        "Repository": reference.short,
        "Tag": reference.tag or "<none>",
        "Digest": entry.digest,
        "ID": ident if no_trunc else ident.partition(":")[2][:12],
        "Created": created,
        "Size": output.size(sizes),
    }


@click.command()
@click.argument("source")
@click.argument("target")
def tag(source: str, target: str) -> None:
    """Give the image SOURCE of this machine the further name TARGET."""
    from lading.cli.client.places import here

    here(_tag(Reference.parse(source), Reference.parse(target)))


async def _tag(source: Reference, target: Reference) -> None:
    from lading.cli.client.places import Places
    from lading.remotes.layout import described

    if target.digest:
        raise Invalid("TARGET is a name with a tag, not a digest")
    async with Places() as places:
        store = places.store()
        manifest = await store.manifest(source.name, source.reference)
        store.point(store.named(target), described(manifest))


@click.command()
@click.argument("names", nargs=-1, required=True)
def rmi(names: tuple[str, ...]) -> None:
    """Remove images from this machine, by NAME or by ID. What no name leads to any more is deleted."""
    from lading.cli.client.places import here

    failed = False
    for name in names:
        try:
            for line in here(_remove(name)):
                click.echo(line)
        except ManifestUnknown as error:
            click.echo(f"lading: {error.message}", err=True)
            failed = True
    here(_sweep())
    if failed:
        raise SystemExit(3)


async def _remove(name: str) -> list[str]:
    from lading.cli.client.places import Places

    async with Places() as places:
        store = places.store()
        known = store.images()
        by_id = [one for one, entry in known if await _has_id(store, entry, name)]
        if by_id:
            doomed = by_id
        elif _ID.fullmatch(name.removeprefix("sha256:")):
            doomed = []
        else:
            reference = Reference.parse(name)
            doomed = [one for one, entry in known if _is_meant(one, entry, reference)]
        if not doomed:
            raise ManifestUnknown(f"this machine has no image {name}; see lading images")
        for one in doomed:
            store.forget(one)
        return [f"Untagged: {one}" for one in doomed]


def _is_meant(one: Reference, entry: Descriptor, reference: Reference) -> bool:
    if one.name != reference.name:
        return False
    return entry.digest == reference.digest if reference.digest else one.tag == reference.reference


async def _has_id(store: Store, entry: Descriptor, text: str) -> bool:
    digits = text.removeprefix("sha256:")
    if len(digits) < 12 or set(digits) - set("0123456789abcdef"):
        return False
    manifest = await store.manifest("", entry.digest)
    idents = [manifest.digest, *([manifest.config.digest] if manifest.config else [])]
    return any(ident.partition(":")[2].startswith(digits) for ident in idents)


async def _sweep() -> None:
    from lading.cli.client.output import size
    from lading.remotes.store import Store, place

    freed = await Store(place(os.environ)).sweep()
    if freed:
        click.echo(f"Deleted: {size(freed)}")
