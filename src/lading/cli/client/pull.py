"""``lading pull``: an image from a registry to this machine, a folder or an archive."""

from __future__ import annotations

import click

from lading.cli.client import options
from lading.errors import Invalid
from lading.oci.reference import DEFAULT_TAG, Reference


@click.command()
@click.argument("name")
@click.option(
    "-o", "--output", metavar="PATH", help="Write an OCI folder, or an archive for docker load if PATH ends in .tar."
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
    from lading.cli.client.places import run

    reference = Reference.parse(name)
    if all_tags and (reference.tag or reference.digest):
        raise click.UsageError("--all-tags goes with a name that has neither tag nor digest")
    if platform and all_platforms:
        raise click.UsageError("--platform and --all-platforms exclude each other")
    work = _pull(
        reference,
        output,
        all_tags=all_tags,
        platform=platform,
        all_platforms=all_platforms,
        quiet=quiet,
        plain_http=plain_http,
        insecure=insecure,
    )
    for line in run(work):
        click.echo(line)


async def _pull(
    reference: Reference,
    output: str | None,
    *,
    all_tags: bool,
    platform: str | None,
    all_platforms: bool,
    quiet: bool,
    plain_http: bool,
    insecure: bool,
) -> list[str]:
    from lading.cli.client.places import Places
    from lading.cli.client.progress import watching
    from lading.cli.client.wishes import machine, missing_tag, wanted
    from lading.errors import ManifestUnknown
    from lading.remotes.copy import Copy, Side
    from lading.remotes.layout import described
    from lading.remotes.store import Store

    lines: list[str] = []
    async with Places(plain_http=plain_http, insecure=insecure) as places:
        source = places.at(reference)
        tags = [tag async for tag in source.client.tags(source.repository)] if all_tags else [""]
        target = await places.target(_target(reference, output), reference)
        with watching("pull", quiet=quiet) as watch:
            sides = Side(source.client, source.repository), Side(target.client, target.repository)
            chosen = wanted(platform) if platform else machine()
            copy = Copy(*sides, wanted=None if all_platforms else chosen, watch=watch)
            for tag in tags:
                told = reference.tagged(tag) if tag else reference
                if not quiet:
                    click.echo(f"{told.tag or told.digest or DEFAULT_TAG}: Pulling from {told.repository}", err=True)
                try:
                    manifest = await copy.image(told.reference, [tag or target.reference])
                except ManifestUnknown as error:
                    raise await missing_tag(error, source.client, told) from None
                if output is None:
                    places.store().point(Store.named(told), described(manifest))
                lines += [] if quiet else [f"Digest: {manifest.digest}"]
                lines.append(output or (str(told) if told.digest or told.tag else str(told.tagged(DEFAULT_TAG))))
    return lines


def _target(reference: Reference, output: str | None) -> str:
    if output is None:
        return f"local:{reference}"
    if ":" in output:
        raise Invalid(
            f"{output!r}: the path of a folder or an archive has no colon in it here; see lading copy for oci:"
        )
    return f"archive:{output}" if output.endswith(".tar") else f"oci:{output}"
