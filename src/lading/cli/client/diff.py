"""``lading diff``: in what two images differ, told from manifests and configurations; no layer is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lading.cli.client import options

if TYPE_CHECKING:
    from lading.oci.manifest import Manifest


@click.command()
@click.argument("one")
@click.argument("other")
@click.option("--platform", metavar="OS/ARCH", help="Of an index, compare this platform's image.")
@click.option("--exit-code", is_flag=True, help="End with 1 when they differ.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.reach
def diff(
    one: str, other: str, platform: str | None, exit_code: bool, as_json: bool, plain_http: bool, insecure: bool
) -> None:
    """Show in what the images ONE and OTHER differ: layers, configuration, platform.

    Each may be a name in a registry, oci:FOLDER, archive:FILE.tar or local:NAME.
    """
    import json

    from lading.cli.client.places import run

    found = run(_diff(one, other, platform, plain_http=plain_http, insecure=insecure))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for line in _told(found):
            click.echo(line)
    if exit_code and not found["Same"]:
        raise SystemExit(1)


async def _diff(one: str, other: str, platform: str | None, *, plain_http: bool, insecure: bool) -> dict[str, Any]:
    from lading.cli.client.places import Places

    async with Places(plain_http=plain_http, insecure=insecure) as places:
        first, config = await _read(places, one, platform)
        second, config_of_other = await _read(places, other, platform)
    return compare(first, config, second, config_of_other)


async def _read(places: Any, text: str, platform: str | None) -> tuple[Manifest, dict[str, Any]]:
    import json

    from lading.cli.client.inspect import find, image_of
    from lading.remotes.fetch import content

    place = await places.source(text)
    top = await find(place, text)
    image = await image_of(place, top, platform)
    raw = await content(place.client, place.repository, image.config) if image.config else b"{}"
    try:
        config = json.loads(raw)
    except (ValueError, RecursionError):
        config = {}
    return image, config if isinstance(config, dict) else {}


def compare(one: Manifest, config: dict[str, Any], other: Manifest, config_of_other: dict[str, Any]) -> dict[str, Any]:
    """What differs, as JSON: shared layers, layers of each alone (digest and size in bytes), changed settings."""
    here = {layer.digest: layer.size for layer in one.layers}
    there = {layer.digest: layer.size for layer in other.layers}
    before, after = flat(config), flat(config_of_other)
    return {
        "Same": one.digest == other.digest,
        "Digests": [one.digest, other.digest],
        "Shared": [{"Digest": digest, "Size": here[digest]} for digest in here if digest in there],
        "Removed": [{"Digest": digest, "Size": here[digest]} for digest in here if digest not in there],
        "Added": [{"Digest": digest, "Size": there[digest]} for digest in there if digest not in here],
        "Config": {
            name: [before.get(name), after.get(name)]
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        },
    }


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration's settings by dotted name; variables and labels one by one; no history and no layers."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name in {"history", "rootfs"}:
            continue
        if name in {"config", "container_config"} and isinstance(value, dict):
            for key, inner in value.items():
                found.update(_settings(f"{name}.{key}", key, inner))
        else:
            found[name] = value
    return found


def _settings(path: str, key: str, value: Any) -> dict[str, Any]:
    if key == "Env" and isinstance(value, list):
        pairs = [str(one).partition("=") for one in value]
        return {f"{path}.{name}": text for name, _, text in pairs}
    if isinstance(value, dict):
        return {f"{path}.{name}": inner for name, inner in value.items()}
    return {path: value}


def _told(found: dict[str, Any]) -> list[str]:
    import json

    from lading.cli.client.output import size

    if found["Same"]:
        return [f"The same image, {found['Digests'][0]}"]
    shared = found["Shared"]
    lines = [f"  {len(shared)} layers in both ({size(sum(layer['Size'] for layer in shared))})"]
    lines += [f"- layer {layer['Digest']} {size(layer['Size'])}" for layer in found["Removed"]]
    lines += [f"+ layer {layer['Digest']} {size(layer['Size'])}" for layer in found["Added"]]
    for name, (before, after) in found["Config"].items():
        lines += [] if before is None else [f"- {name}: {json.dumps(before)}"]
        lines += [] if after is None else [f"+ {name}: {json.dumps(after)}"]
    return lines
