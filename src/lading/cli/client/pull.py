"""``lading pull``: an image from a registry to this machine, a folder or an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lading.cli.client import options
from lading.cli.client.completion import files
from lading.errors import Invalid
from lading.oci.reference import DEFAULT_TAG, Reference

if TYPE_CHECKING:
    from lading.oci.manifest import Platform
    from lading.remotes.store import Store


@click.command()
@click.argument("name")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    shell_complete=files,
    help="Write an OCI folder, or an archive for docker load if PATH ends in .tar or is - (standard output).",
)
@click.option("-A", "--all-tags", is_flag=True, help="Pull every tag of the repository.")
@options.platforms
@options.quiet
@options.reach
def pull(
    name: str,
    output: str | None,
    all_tags: bool,
    platform: str | None,
    all_platforms: bool,
    quiet: bool,
    plain_http: bool,
    insecure: bool,
) -> None:
    """Pull the image NAME to the images of this machine, or with --output to a folder or a tar archive.

    Of an image for several platforms, the one for this machine is taken unless --platform or --all-platforms say
    otherwise.
    """
    from lading.cli.client import output as told
    from lading.cli.client.places import run

    reference = Reference.parse(name)
    if all_tags and (reference.tag or reference.digest):
        raise click.UsageError("--all-tags goes with a name that has neither tag nor digest")
    if platform and all_platforms:
        raise click.UsageError("--platform and --all-platforms exclude each other")
    with told.lines(partly=output is None, err=output == "-") as lines:  # a file is there when all of it is
        work = _pull(
            lines,
            reference,
            output,
            all_tags=all_tags,
            platform=platform,
            all_platforms=all_platforms,
            quiet=quiet,
            plain_http=plain_http,
            insecure=insecure,
        )
        run(work)


async def _pull(
    lines: list[str],
    reference: Reference,
    output: str | None,
    *,
    all_tags: bool,
    platform: str | None,
    all_platforms: bool,
    quiet: bool,
    plain_http: bool,
    insecure: bool,
) -> None:
    from lading.cli.client.places import Places
    from lading.cli.client.progress import watching
    from lading.cli.client.wishes import few_left, machine, missing_tag, wanted
    from lading.errors import ManifestUnknown
    from lading.remotes.copy import Copy, Side

    async with Places(plain_http=plain_http, insecure=insecure) as places:
        source = places.at(reference)
        tags = [tag async for tag in source.client.tags(source.repository)] if all_tags else [""]
        place = _target(reference, output)
        target = await places.target(place, reference)
        chosen = None if all_platforms else wanted(platform) if platform else machine()
        with watching("pull", quiet=quiet) as watch:
            sides = Side(source.client, source.repository), Side(target.client, target.repository)
            copy = Copy(
                *sides,
                wanted=chosen,
                exact=platform is not None,
                complete=place.startswith("archive:"),
                thorough=output is None,
                watch=watch,
            )
            for tag in tags:
                told = reference.tagged(tag) if tag else reference
                name = (
                    output
                    if output and output != "-"
                    else str(told if told.digest or told.tag else told.tagged(DEFAULT_TAG))
                )
                if not quiet:
                    click.echo(f"{told.tag or told.digest or DEFAULT_TAG}: Pulling from {told.repository}", err=True)
                store = places.store() if output is None else None
                try:
                    at = await source.client.resolve(source.repository, told.reference) if store else None
                    if store and at and await _is_here(store, told, at.digest, chosen, exact=copy.exact):
                        lines += [] if quiet else [f"Digest: {at.digest}", f"Status: Image is up to date for {name}"]
                        lines.append(name)
                        continue
                    manifest = await copy.image(told.reference, [tag or target.reference])
                except ManifestUnknown as error:
                    raise await missing_tag(error, source.client, told) from None
                if store:
                    store.keep(told, manifest, _origin(at.digest if at else manifest.digest, chosen))
                lines += [] if quiet else [f"Digest: {manifest.digest}", f"Status: Downloaded newer image for {name}"]
                lines.append(name)
        if warning := few_left(places.registry(reference.host).session.limits):
            click.echo(f"lading: {reference.host} {warning}", err=True)


async def _is_here(store: Store, told: Reference, digest: str, chosen: Platform | None, *, exact: bool) -> bool:
    """Whether what would come was pulled before, and is still here with all that belongs to it."""
    from lading.remotes import choice

    found = await store.whole(told) if store.origin(told) == _origin(digest, chosen) else None
    if found and chosen and exact:  # it came without --platform perhaps, when a lone image is taken as it is
        await choice.check(store, "", found, chosen)
    return found is not None


def _origin(digest: str, chosen: Platform | None) -> str:
    """What a pull took: asked for again, it need not come again."""
    from lading.oci.platform import written

    return f"{digest} {written(chosen) if chosen else 'all'}"


def _target(reference: Reference, output: str | None) -> str:
    if output is None:
        return f"local:{reference}"
    if output == "-":
        return "archive:-"
    if output.endswith((".tgz", ".gz", ".zst", ".xz", ".bz2")):
        raise Invalid(f"{output!r}: an archive is written as .tar; the layers in it are compressed already")
    if ":" in output:
        raise Invalid(
            f"{output!r}: the path of a folder or an archive has no colon in it here; see lading copy for oci:"
        )
    return f"archive:{output}" if output.endswith(".tar") else f"oci:{output}"
