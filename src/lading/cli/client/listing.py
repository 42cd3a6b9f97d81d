"""``lading tags``, ``lading repos``, ``lading search``: what a registry has, one a line."""

from __future__ import annotations

from typing import Any

import click

from lading.cli.client import options
from lading.errors import Invalid
from lading.oci.reference import DEFAULT_HOST, is_host, is_name


@click.command()
@click.argument("repository")
@click.option("--like", metavar="PATTERN", default="*", help="Print the tags like PATTERN, such as 'v1.*'.")
@click.option("--digests", is_flag=True, help="Print each tag's digest, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.reach
def tags(repository: str, like: str, digests: bool, as_json: bool, plain_http: bool, insecure: bool) -> None:
    """List the tags of REPOSITORY, one a line."""
    from lading.cli.client.places import run

    rows = run(_tags(repository, like, digests=digests, plain_http=plain_http, insecure=insecure))
    if as_json:
        _json(rows if digests else [row["Tag"] for row in rows])
        return
    for row in rows:
        click.echo("  ".join(row.values()))


async def _tags(text: str, like: str, *, digests: bool, plain_http: bool, insecure: bool) -> list[dict[str, str]]:
    from fnmatch import fnmatchcase
    from functools import partial

    from lading.cli.client.places import Places, each

    async with Places(plain_http=plain_http, insecure=insecure) as places:
        place = await places.source(text, several=True)
        found = [tag async for tag in place.client.tags(place.repository) if fnmatchcase(tag, like)]
        if not digests:
            return [{"Tag": tag} for tag in found]
        resolved = await each(partial(place.client.resolve, place.repository), found)
        return [{"Tag": tag, "Digest": at.digest if at else ""} for tag, at in zip(found, resolved, strict=True)]


@click.command()
@click.argument("host", metavar="HOST[/NAMESPACE]")
@click.option("--like", metavar="PATTERN", default="*", help="Print the repositories like PATTERN, such as 'team/*'.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.reach
def repos(host: str, like: str, as_json: bool, plain_http: bool, insecure: bool) -> None:
    """List the repositories of the registry HOST, or those below NAMESPACE, one a line, as far as it tells."""
    from lading.cli.client.login import server_name
    from lading.cli.client.places import run

    namespace = host.partition("://")[2].partition("/")[2] if "://" in host else host.partition("/")[2]
    work = _repos(server_name(host), namespace.strip("/"), like, plain_http=plain_http, insecure=insecure)
    names = run(work)
    if as_json:
        _json(names)
        return
    for name in names:
        click.echo(name)


async def _repos(host: str, namespace: str, like: str, *, plain_http: bool, insecure: bool) -> list[str]:
    from fnmatch import fnmatchcase

    from lading.cli.client.places import Places
    from lading.remotes.adapters.vendors import adapter

    async with Places(plain_http=plain_http, insecure=insecure) as places:
        listed = (await adapter(places.registry(host))).repositories(namespace)
        return [name async for name in listed if is_name(name) and fnmatchcase(name, like)]


@click.command()
@click.argument("term")
@click.option("--limit", default=25, type=click.IntRange(1, 100), show_default=True, help="The most results.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="is-official=true, stars=3.")
@click.option("--no-trunc", is_flag=True, help="Show descriptions in full.")
@options.shape
@options.reach
def search(
    term: str,
    limit: int,
    filters: tuple[str, ...],
    no_trunc: bool,
    template: str | None,
    as_json: bool,
    plain_http: bool,
    insecure: bool,
) -> None:
    """Search docker.io for TERM, or the registry HOST when it is written HOST/TERM."""
    from lading.cli.client import output
    from lading.cli.client.places import run

    first, slash, rest = term.partition("/")
    named = slash and is_host(first) and ("." in first or ":" in first or first == "localhost")
    host, text = (first, rest) if named else (DEFAULT_HOST, term)
    keep = [_filter(one) for one in filters]
    found = run(_search(host, text, limit, plain_http=plain_http, insecure=insecure))
    rows = [_row(one, no_trunc=no_trunc) for one in found if all(keeps(one) for keeps in keep)]
    output.show(rows, ["Name", "Description", "StarCount", "IsOfficial"], template, as_json=as_json)


async def _search(host: str, text: str, limit: int, *, plain_http: bool, insecure: bool) -> list[dict[str, Any]]:
    from lading.cli.client.places import Places
    from lading.remotes.adapters.vendors import adapter

    async with Places(plain_http=plain_http, insecure=insecure) as places:
        return await (await adapter(places.registry(host))).search(text, limit)


def _filter(text: str) -> Any:
    key, _, value = text.partition("=")
    if key == "is-official" and value in {"true", "false"}:
        return lambda one: bool(one.get("is_official")) == (value == "true")
    if key == "stars" and value.isascii() and value.isdigit() and len(value) < 10:
        return lambda one: _stars(one) >= int(value)
    raise Invalid(f"the filter {text!r} is not known; write is-official=true, is-official=false or stars=NUMBER")


def _row(one: dict[str, Any], *, no_trunc: bool) -> dict[str, Any]:
    words = " ".join(str(one.get("description") or "").split())
    return {
        "Name": str(one.get("name", "")),
        "Description": words if no_trunc or len(words) <= 45 else words[:44] + "…",
        "StarCount": _stars(one),
        "IsOfficial": "[OK]" if one.get("is_official") else "",
    }


def _stars(one: dict[str, Any]) -> int:
    """How many, where that is said as a number."""
    count = one.get("star_count")
    return count if isinstance(count, int) and not isinstance(count, bool) else 0


def _json(value: Any) -> None:
    import json

    click.echo(json.dumps(value, indent=2))
