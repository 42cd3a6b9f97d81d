"""``lading inspect``, ``lading manifest``: what an image is, without pulling it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lading.cli.client import options

if TYPE_CHECKING:
    from lading.cli.client.places import Place
    from lading.oci.manifest import Manifest


@click.command()
@click.argument("name")
@click.option("--platform", metavar="OS/ARCH", help="Of an index, describe this platform's image.")
@click.option("--config", "only_config", is_flag=True, help="Print the image's configuration as it is stored.")
@click.option("--format", "template", metavar="TEMPLATE", help="Print by a template, such as '{{.Digest}}'.")
@options.reach
def inspect(
    name: str, platform: str | None, only_config: bool, template: str | None, plain_http: bool, insecure: bool
) -> None:
    """Describe the image NAME: digest, platform, layers, configuration, and the platforms there are.

    NAME may also be oci:FOLDER, archive:FILE.tar or local:NAME.
    """
    from lading.cli.client import output
    from lading.cli.client.places import run

    row, config = run(_inspect(name, platform, plain_http=plain_http, insecure=insecure))
    if only_config:
        click.echo(config, nl=False)
    else:
        output.show_one(row, template)


async def _inspect(
    name: str, platform: str | None, *, plain_http: bool, insecure: bool
) -> tuple[dict[str, Any], bytes]:
    from lading.cli.client.places import Places
    from lading.oci.platform import written
    from lading.remotes import choice
    from lading.remotes.fetch import content

    async with Places(plain_http=plain_http, insecure=insecure) as places:
        place = await places.source(name)
        top = await find(place, name)
        children = [child async for child in choice.images(place.client, place.repository, top)]
        image = await image_of(place, top, platform)
        config = await content(place.client, place.repository, image.config) if image.config else b""
    row: dict[str, Any] = {
        "Name": place.title,
        "Digest": top.digest,
        "MediaType": top.media_type,
        "ArtifactType": top.artifact_type,
        "Platforms": [written(child.platform) for child in children if child.platform],
        "ImageDigest": image.digest,
        "Size": sum(blob.size for blob in image.blobs()),
        "Annotations": top.annotations,
        "Layers": [{"MediaType": one.media_type, "Digest": one.digest, "Size": one.size} for one in image.layers],
    }
    return {**row, **_of_config(config)}, config


async def find(place: Place, text: str) -> Manifest:
    """The manifest that ``text`` named; where there is none, the error has the tags that are like it."""
    from lading.cli.client.wishes import missing_tag
    from lading.errors import ManifestUnknown
    from lading.oci.reference import Reference

    try:
        return await place.client.manifest(place.repository, place.reference)
    except ManifestUnknown as error:
        raise (await missing_tag(error, place.client, Reference.parse(text)) if place.host else error) from None


async def image_of(place: Place, top: Manifest, platform: str | None) -> Manifest:
    """The image that is meant: of an index, that of the platform, or the first where this machine's is not there."""
    from lading.cli.client.wishes import machine, wanted
    from lading.errors import ManifestUnknown
    from lading.remotes import choice

    at = place.client, place.repository
    if not top.children:
        if platform:
            await choice.check(*at, top, wanted(platform))
        return top
    try:
        return await choice.chosen(*at, top, wanted(platform) if platform else machine())
    except ManifestUnknown:
        if platform:
            raise
    return await choice.child_of(*at, await anext(choice.images(*at, top), top.children[0]))


def _of_config(raw: bytes) -> dict[str, Any]:
    import json

    try:
        config = json.loads(raw)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or "rootfs" not in config:
        return {}
    inner = config.get("config") if isinstance(config.get("config"), dict) else {}
    return {
        "Os": config.get("os", ""),
        "Architecture": config.get("architecture", ""),
        "Variant": config.get("variant", ""),
        "Created": config.get("created", ""),
        "Author": config.get("author", ""),
        "Labels": (inner or {}).get("Labels") or {},
        "Config": inner,
    }


@click.command()
@click.argument("name")
@click.option("--platform", metavar="OS/ARCH", help="Of an index, print this platform's manifest.")
@click.option("--digest", "only_digest", is_flag=True, help="Print the digest only.")
@options.reach
def manifest(name: str, platform: str | None, only_digest: bool, plain_http: bool, insecure: bool) -> None:
    """Print the manifest of NAME exactly as it is stored, or its digest."""
    from lading.cli.client.places import run

    found = run(_read(name, platform, plain_http=plain_http, insecure=insecure))
    if only_digest:
        click.echo(found.digest)
    else:
        click.echo(found.raw, nl=False)


async def _read(name: str, platform: str | None, *, plain_http: bool, insecure: bool) -> Manifest:
    from lading.cli.client.places import Places

    async with Places(plain_http=plain_http, insecure=insecure) as places:
        place = await places.source(name)
        top = await find(place, name)
        return await image_of(place, top, platform) if platform else top
