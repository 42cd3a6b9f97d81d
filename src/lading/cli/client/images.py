"""``lading images``, ``lading tag``, ``lading rmi``: the images of this machine."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click

from lading.cli.client import options
from lading.cli.client.completion import images as complete_images
from lading.errors import Invalid, LadingError, ManifestUnknown
from lading.oci.reference import Reference

if TYPE_CHECKING:
    from lading.oci.manifest import Descriptor, Manifest
    from lading.remotes.store import Store

_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


@click.command()
@click.argument("name", required=False)
@click.option("-a", "--all", is_flag=True, expose_value=False, help="As without it: nothing is hidden here.")
@click.option("-q", "--quiet", is_flag=True, help="Print the IDs only.")
@click.option("--digests", is_flag=True, help="Show digests, too.")
@click.option("--no-trunc", is_flag=True, help="Show IDs in full.")
@options.shape
def images(
    name: str | None,
    quiet: bool,
    digests: bool,
    no_trunc: bool,
    template: str | None,
    as_json: bool,
) -> None:
    """List the images of this machine, or those of the repository NAME, which may be a pattern, such as 'team/*'."""
    from lading.cli.client import output
    from lading.cli.client.places import here

    rows = here(_images(name, no_trunc=no_trunc))
    if quiet:
        for one in dict.fromkeys(row["ID"] for row in rows):
            click.echo(one)
        return
    columns = ["Repository", "Tag", *(["Digest"] if digests else []), "ID", "Created", "Size"]
    output.show(rows, columns, template, as_json=as_json)


async def _images(name: str | None, *, no_trunc: bool) -> list[dict[str, Any]]:
    from lading.cli.client.places import Places

    async with Places() as places:
        store = places.store()
        listed = store.images()
        if name is not None and set(name) & {"*", "?", "["}:
            listed = [one for one in listed if _is_like(one[0], name)]
        elif name is not None:
            named = Reference.parse(name)
            listed = [one for one in listed if one[0].name == named.name and named.tag in {"", one[0].tag}]
        return [await _row(store, reference, entry, no_trunc=no_trunc) for reference, entry in listed]


def _is_like(reference: Reference, pattern: str) -> bool:
    """As docker has it: the repository with or without its tag, and no star goes over a slash."""
    from fnmatch import fnmatchcase

    wanted = pattern.split("/")
    for text in (reference.short, f"{reference.short}:{reference.tag}"):
        words = text.split("/")
        if len(words) == len(wanted) and all(map(fnmatchcase, words, wanted)):
            return True
    return False


async def _row(store: Store, reference: Reference, entry: Descriptor, *, no_trunc: bool) -> dict[str, Any]:
    from lading.cli.client import output

    manifest = None
    try:
        manifest = await store.manifest(reference.name, entry.digest)
    except LadingError as error:
        hint = f"pull it again, or: lading rmi {reference}"
        click.echo(f"lading: {reference} is damaged here: {error.message}; {hint}", err=True)
    ident = manifest.config.digest if manifest and manifest.config else entry.digest
    return {
        "Repository": reference.short,
        "Tag": reference.tag or "<none>",
        "Digest": entry.digest,
        "ID": ident if no_trunc else ident.partition(":")[2][:12],
        "Created": await _created(store, manifest) if manifest else "",
        "Size": output.size(await _size(store, manifest)) if manifest else "",
    }


async def _created(store: Store, manifest: Manifest) -> str:
    import json

    from lading.remotes.fetch import content

    try:
        config = json.loads(await content(store, "", manifest.config)) if manifest.config else {}
        return str(config.get("created") or "")[:19]
    except (LadingError, ValueError, AttributeError, RecursionError):
        return ""


async def _size(store: Store, manifest: Manifest) -> int:
    """The bytes of a manifest's blobs and of those below it, each once; some platforms' may not be here."""
    found: dict[str, Manifest] = {manifest.digest: manifest}
    waiting = [manifest]
    blobs: dict[str, int] = {}
    while waiting:
        part = waiting.pop()
        blobs |= {blob.digest: blob.size for blob in part.blobs()}
        for child in part.children:
            try:
                if child.digest not in found:
                    found[child.digest] = await store.manifest("", child.digest)
                    waiting.append(found[child.digest])
            except LadingError:
                continue
    return manifest.size + sum(blobs.values())


@click.command()
@click.argument("source", shell_complete=complete_images)
@click.argument("target")
def tag(source: str, target: str) -> None:
    """Give the image SOURCE of this machine, a name or an ID, the further name TARGET."""
    from lading.cli.client.places import here

    here(_tag(source, Reference.parse(target)))


async def _tag(source: str, target: Reference) -> None:
    from lading.cli.client.places import Places
    from lading.remotes.layout import described

    if target.digest:
        raise Invalid("TARGET is a name with a tag, not a digest")
    async with Places() as places:
        store = places.store()
        digests = {entry.digest for _, entry in store.images() if await _has_id(store, entry, source)}
        if len(digests) > 1:
            raise Invalid(f"{source} is the ID of several images here; name the one that is meant")
        if digests:
            manifest = await store.manifest("", digests.pop())
        else:
            named = Reference.parse(source)
            manifest = await store.manifest(named.name, named.reference)
        store.point(store.named(target), described(manifest))


@click.command()
@click.argument("names", nargs=-1, required=True, shell_complete=complete_images)
@click.option("-f", "--force", is_flag=True, help="Do not fail for images that are not here.")
def rmi(names: tuple[str, ...], force: bool) -> None:
    """Remove images from this machine, by NAME or by ID. What no name leads to any more is deleted."""
    from lading.cli.client.places import here

    failed = False
    for name in names:
        try:
            for line in here(_remove(name)):
                click.echo(line)
        except ManifestUnknown as error:
            click.echo(f"lading: {error.message}", err=True)
            failed = not force
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
    idents = [entry.digest]
    try:
        if config := (await store.manifest("", entry.digest)).config:
            idents.append(config.digest)
    except LadingError:
        pass  # it is damaged, and must be removable all the same
    return any(ident.partition(":")[2].startswith(digits) for ident in idents)


async def _sweep() -> None:
    from lading.cli.client.output import size
    from lading.remotes.store import Store, place

    freed = await Store(place(os.environ)).sweep()
    if freed:
        click.echo(f"Deleted: {size(freed)}")
