"""``lading delete``: take a tag, or a manifest with all its tags, out of a registry."""

from __future__ import annotations

import sys

import click

from lading.cli.client import options
from lading.errors import Invalid, LadingError, ManifestUnknown, Unsupported
from lading.oci.reference import Reference


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--manifest", "whole", is_flag=True, help="Delete what the tag stands for, with every tag it has.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@options.quiet
@options.reach
def delete(names: tuple[str, ...], whole: bool, yes: bool, quiet: bool, plain_http: bool, insecure: bool) -> None:
    """Delete NAME:TAG, or NAME@DIGEST with every tag it has, from its registry.

    The registry gives the space back when it collects garbage. What cannot be deleted keeps no other from it.
    """
    from lading.cli.client.places import run

    references = [_named(name) for name in names]
    many = [one for one in references if one.digest or whole]
    if many and not yes:
        _ask(f"Delete {', '.join(map(str, many))} with every tag that leads there?")
    first: LadingError | None = None
    for reference in references:
        try:
            done = run(_delete(reference, whole=whole, plain_http=plain_http, insecure=insecure))
        except LadingError as error:
            if first is None:
                first = error  # what the command ends with; the others may go all the same
            else:
                click.echo(f"lading: {error.message}", err=True)
        else:
            click.echo(str(reference) if quiet else f"Deleted: {done}")
    if first:
        raise first


def _ask(question: str) -> None:
    unasked = Invalid("nothing was deleted, since nobody said yes; --yes goes on without asking")
    if sys.stdin is None:
        raise unasked
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)  # after the question
        raise unasked from None


def _named(name: str) -> Reference:
    reference = Reference.parse(name)
    if not reference.tag and not reference.digest:
        raise Invalid(f"{name!r}: name a tag or a digest; what is deleted is never guessed")
    return reference


async def _delete(reference: Reference, *, whole: bool, plain_http: bool, insecure: bool) -> Reference:
    from lading.cli.client.places import Places
    from lading.cli.client.wishes import missing_tag
    from lading.remotes.adapters.vendors import adapter

    async with Places(plain_http=plain_http, insecure=insecure) as places:
        registry = places.registry(reference.host)
        if whole and not reference.digest:
            found = await registry.resolve(reference.repository, reference.reference)
            if found is None:
                missing = ManifestUnknown(f"{reference.host} does not have {reference}")
                raise await missing_tag(missing, registry, reference)
            reference = reference.at(found.digest)
        try:
            if reference.digest:
                await (await adapter(registry)).delete_manifest(reference.repository, reference.digest)
            else:
                await (await adapter(registry)).delete_tag(reference.repository, reference.tag)
        except ManifestUnknown as error:
            raise await missing_tag(error, registry, reference) from None
        except (Unsupported, Invalid) as error:
            if reference.digest:
                raise
            raise Unsupported(
                f"{error.message}. It may delete no tag alone: lading delete --manifest {reference} deletes what it "
                "stands for, with every tag that leads there"
            ) from None
        return reference
