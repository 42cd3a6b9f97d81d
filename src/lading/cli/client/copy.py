"""``lading copy``: images between any two places, whole repositories too."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import click

from lading.cli.client import options
from lading.errors import Invalid, LadingError, ManifestUnknown

if TYPE_CHECKING:
    from lading.cli.client.places import Place
    from lading.remotes.copy import Copy


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("--platform", metavar="OS/ARCH", help="Copy this platform's image only; without, an index goes whole.")
@click.option("-a", "--all-platforms", is_flag=True, help="Copy an index whole, which is the default here.")
@click.option("--all-tags", is_flag=True, help="Copy every tag of the repository SOURCE.")
@click.option(
    "--tags", "patterns", multiple=True, metavar="PATTERN", help="Copy the tags like PATTERN, such as 'v1.*'."
)
@click.option("--referrers", is_flag=True, help="Take along what refers to an image: signatures, SBOMs, attestations.")
@click.option("--src-plain-http", is_flag=True, help="Speak HTTP without TLS to the source.")
@click.option("--dest-plain-http", is_flag=True, help="Speak HTTP without TLS to the target.")
@click.option("--src-insecure", is_flag=True, help="Do not check the source's certificate.")
@click.option("--dest-insecure", is_flag=True, help="Do not check the target's certificate.")
@options.create
@options.quiet
def copy(
    source: str,
    target: str,
    platform: str | None,
    all_platforms: bool,
    all_tags: bool,
    patterns: tuple[str, ...],
    referrers: bool,
    create: bool,
    quiet: bool,
    **ways: bool,
) -> None:
    """Copy SOURCE to TARGET.

    Each is a name in a registry, or oci:FOLDER[:NAME], archive:FILE.tar[:NAME], local:NAME (the images of this
    machine); SOURCE may be engine:NAME (a running docker engine). As FILE.tar, - is standard input or output. Within one
    registry nothing travels: blobs are mounted. Bytes that are there already are left alone, and a copy that was broken
    off goes on where it was.
    """
    from lading.cli.client import output
    from lading.cli.client.places import run, split

    if platform and all_platforms:
        raise click.UsageError("--platform and --all-platforms exclude each other")
    several = ("*",) if all_tags else patterns
    kind, rest = split(target)
    with output.lines(partly=kind != "archive", err=kind == "archive" and rest.partition(":")[0] == "-") as lines:
        run(_copy(lines, source, target, platform, several, ways, referrers=referrers, create=create, quiet=quiet))


async def _copy(
    lines: list[str],
    source: str,
    target: str,
    platform: str | None,
    patterns: tuple[str, ...],
    ways: dict[str, bool],
    *,
    referrers: bool,
    create: bool,
    quiet: bool,
) -> None:
    from lading.cli.client.places import Places, split
    from lading.cli.client.progress import watching
    from lading.cli.client.wishes import missing_tag, prepared, wanted
    from lading.oci.reference import Reference
    from lading.remotes.copy import Copy, Side

    reading = Places(plain_http=ways["src_plain_http"], insecure=ways["src_insecure"])
    writing = Places(plain_http=ways["dest_plain_http"], insecure=ways["dest_insecure"])
    async with reading, writing:
        here = await reading.source(source, several=bool(patterns))
        named = Reference.parse(source) if here.host else None
        if patterns and named and (named.tag or named.digest):
            raise click.UsageError("--all-tags and --tags go with a SOURCE that has neither tag nor digest")
        if patterns and _is_tagged(target):
            raise click.UsageError(
                "with --all-tags and --tags, TARGET has neither tag nor digest: tags keep their names"
            )
        there = await writing.target(target, named)
        same = bool(here.host) and here.host == there.host
        made = prepared(writing.registry(there.host) if there.host else None, there.repository, create=create)
        with watching("copy", quiet=quiet) as watch:
            work = Copy(
                Side(here.client, here.repository),
                # one client for both sides of a registry: one login, one set of connections
                Side(here.client if same and _alike(ways) else there.client, there.repository),
                wanted=wanted(platform) if platform else None,
                exact=True,
                same=same,
                referrers=referrers,
                beside=referrers,
                complete=split(target)[0] == "archive",
                watch=watch,
            )
            async with made:
                if patterns:
                    await _several(lines, work, here, there, patterns)
                    return
                try:
                    manifest = await work.image(here.reference, [there.reference])
                except ManifestUnknown as error:
                    raise (await missing_tag(error, here.client, named) if named else error) from None
    lines += [manifest.digest, *([] if quiet else [_summary(work)])]


def _is_tagged(target: str) -> bool:
    """Whether a target that holds many images names one of them."""
    from lading.cli.client.places import split
    from lading.oci.reference import Reference

    kind, rest = split(target)
    if kind in {"oci", "archive"}:
        rest = rest.partition(":")[2]
    if kind == "oci" or not rest:
        return bool(rest)
    named = Reference.parse(rest)
    return bool(named.tag or named.digest)


async def _several(lines: list[str], work: Copy, here: Place, there: Place, patterns: tuple[str, ...]) -> None:
    """Every tag that is like a pattern; those that are the same on both sides are left alone."""
    from fnmatch import fnmatchcase

    from lading.cli.client.places import each

    tags = [name async for name in here.client.tags(here.repository)]
    chosen = [name for name in tags if any(fnmatchcase(_tag(name), pattern) for pattern in patterns)]
    if not chosen:
        raise ManifestUnknown(f"{here.title} has no tag like {' or '.join(patterns)}; it has {len(tags):,} others")
    await _apart(here, chosen)
    compared = [] if work.wanted or work.referrers else await each(partial(_is_same, work), chosen)
    changed = [name for name, same in zip(chosen, compared, strict=True) if not same] if compared else chosen
    await _together(lines, work, there, changed)
    same = len(chosen) - len(changed)
    lines.append(f"{len(changed):,} of {len(chosen):,} tags copied, {same:,} were there. {_summary(work)}")


async def _together(lines: list[str], work: Copy, there: Place, names: list[str]) -> None:
    """A few images at a time; after a failure none is begun any more. Told is what is there, and named there."""
    from lading.cli.client.places import each

    done: dict[str, str] = {}
    failed: list[LadingError] = []

    async def one(name: str) -> None:
        if failed:
            return
        try:
            done[name] = (await work.image(name, [_tag(name)])).digest
        except LadingError as error:
            failed.append(error)

    try:
        with _named_at_once(there):
            await each(one, names)
    except LadingError:  # the names could not be written
        done.clear()
        raise
    finally:
        lines += [f"{_tag(name)}: {done[name]}" for name in names if name in done]
    if failed:
        raise failed[0]


def _named_at_once(there: Place) -> AbstractContextManager[None]:
    """Where names are in one file, that is written once for all of them."""
    if there.host:
        return nullcontext()
    from lading.remotes.layout import Layout

    return there.client.together() if isinstance(there.client, Layout) else nullcontext()


async def _is_same(work: Copy, name: str) -> bool:
    """Whether a tag stands for the same on both sides."""
    there = await work.target.client.resolve(work.target.repository, _tag(name))
    here = await work.source.client.resolve(work.source.repository, name) if there else None
    return here is not None and there is not None and here.digest == there.digest


async def _apart(here: Place, names: list[str]) -> None:
    """Refuse where two different images, each with a whole name, would end up under the same tag."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(_tag(name), name)
        if other == name:
            continue
        found = [await here.client.resolve(here.repository, one) for one in (other, name)]
        if len({one.digest for one in found if one}) > 1:
            raise Invalid(f"{other} and {name} would both become {_tag(name)}; copy each by its name")


def _tag(name: str) -> str:
    """The tag in what an image is called; in a folder or an archive that may be its whole name."""
    from lading.oci.reference import Reference, is_tag

    return name if is_tag(name) else Reference.parse(name).reference


def _summary(work: Copy) -> str:
    from lading.cli.client.output import size

    report = work.report
    return f"{report.moved} blobs copied ({size(report.bytes)}), {report.mounted} mounted, {report.there} were there"


def _alike(ways: dict[str, bool]) -> bool:
    return ways["src_plain_http"] == ways["dest_plain_http"] and ways["src_insecure"] == ways["dest_insecure"]
