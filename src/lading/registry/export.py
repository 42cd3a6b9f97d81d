"""Export: write the link files that let a registry:2 serve the volume again.

First whatever registry:2 wrote into the tree since the last adoption is taken over, so that nothing of it is lost.
Then the tree is made to say what the index says: links are written where they are missing or hold something else, and
those of tags, manifests and blobs that were deleted are removed. What the index never had because it could not be
taken over (:func:`~lading.registry.volume.manifest_of` tells) is left alone.

Each link is written beside its place and renamed into it, with the time the index knows, so that a later adoption sees
which of two moves of a tag came last. Running it twice changes nothing the second time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from lading.oci.digest import Digest
from lading.oci.reference import is_name, is_tag
from lading.registry.adopt import Counts, Progress, Watch, synchronised, take_over
from lading.registry.adopt import Report as Adopted
from lading.registry.blobs import Blobs
from lading.registry.manifests import Manifests
from lading.registry.repositories import Repositories
from lading.registry.tags import Tags
from lading.registry.volume import BrokenError, Problem, alone, is_digest, manifest_of
from lading.stores.blobs import links
from lading.stores.blobs.layout import Layout
from lading.stores.blobs.links import Link, Tree
from lading.stores.metadata.transaction import Metadata, Transaction

_WRITERS = 4
_AT_ONCE = 32


@dataclass
class Report:
    """What an export did.

    ``counts`` is what registry:2 can serve now; ``written`` and ``removed`` how many links had to be, ``kept`` what
    was left alone. ``adopted`` is what registry:2 had written since the last adoption.
    """

    counts: Counts = field(default_factory=Counts)
    written: int = 0
    removed: int = 0
    kept: list[Problem] = field(default_factory=list)
    adopted: Adopted = field(default_factory=Adopted)


@dataclass
class _Wanted:
    """What the index says of a repository."""

    layers: set[str] = field(default_factory=set)
    revisions: dict[str, int] = field(default_factory=dict)
    tags: dict[str, tuple[str, int]] = field(default_factory=dict)


async def export(metadata: Metadata, layout: Layout, watch: Watch = lambda progress: None) -> Report:
    """Make the tree below ``layout`` say what the index says; see the module.

    Nobody else may change index or tree meanwhile. Raises :class:`~lading.errors.StoreError` when another adoption or
    export is at work on the volume.
    """
    report = Report()
    with alone(layout), ThreadPoolExecutor(_WRITERS, thread_name_prefix="export") as threads:
        report.adopted = await take_over(metadata, layout, watch)
        loop, tree = asyncio.get_running_loop(), Tree(layout)
        names = set(await metadata.scan(lambda tx: Repositories(tx).all()))
        if layout.repositories.is_dir():
            names.update(await loop.run_in_executor(threads, lambda: set(tree.repositories())))
        progress = Progress("export", len(names), counts=report.counts)
        watch(progress)
        waiting = iter(sorted(names))
        while batch := list(islice(waiting, _AT_ONCE)):
            done = [
                loop.run_in_executor(
                    threads, _Repository(tree, name, await _wanted(metadata, name), metadata.now()).write
                )
                for name in batch
                if is_name(name)
            ]
            for repository in await asyncio.gather(*done):
                repository.add_to(report)
            progress.done += len(batch)
            watch(progress)
        await loop.run_in_executor(threads, os.sync)
        await synchronised(metadata)
    return report


async def _wanted(metadata: Metadata, name: str) -> _Wanted:
    async def read(tx: Transaction) -> _Wanted:
        own = await Repositories(tx).find(name)
        if own is None:
            return _Wanted()
        return _Wanted(await Blobs(tx).of(own), await Manifests(tx).of(own), await Tags(tx).of(own))

    return await metadata.scan(read)


class _Repository:
    """One repository's links; its methods block."""

    def __init__(self, tree: Tree, name: str, wanted: _Wanted, now: int) -> None:
        self._tree = tree
        self._layout = tree.layout
        self._name = name
        self._wanted = wanted
        self._now = now
        self._broken: set[str] = set()
        self._spared: set[str] = set()
        self._written = 0
        self._removed = 0
        self._kept: list[Problem] = []

    def write(self) -> _Repository:
        """Write and remove what is to be; itself."""
        self._write_revisions()
        self._write_tags()
        self._write_layers()
        return self

    def add_to(self, report: Report) -> None:
        """Add what was done to a report."""
        wanted = self._wanted
        report.counts.add(Counts(bool(wanted.revisions), len(wanted.revisions), len(wanted.tags), len(wanted.layers)))
        report.written += self._written
        report.removed += self._removed
        report.kept += self._kept

    def _write_revisions(self) -> None:
        for link in self._sound(self._tree.revisions(self._name), self._wanted.revisions):
            try:
                manifest_of(self._tree, link.name)
            except BrokenError as error:
                if error.kind != "no-data":
                    self._keep(error.kind, link.name, error.detail)
                    self._broken.add(link.name)
                    self._spared |= error.mentions
                    continue
            self._remove(self._layout.revision_link(self._name, Digest(link.name)).parent)
        for digest, pushed_at in self._wanted.revisions.items():
            self._link(self._layout.revision_link(self._name, Digest(digest)), digest, pushed_at)

    def _write_tags(self) -> None:
        for link in list(self._tree.tags(self._name)):
            if link.name in self._wanted.tags:
                continue
            if link.error or not is_tag(link.name) or not is_digest(link.target):
                self._keep("bad-tag", link.name, link.error or "no tag that Lading could have had")
            elif link.target in self._broken:
                self._keep("tag-without-manifest", link.name, f"its manifest {link.target} cannot be served by Lading")
            else:
                self._remove(self._layout.tag(self._name, link.name))
        for tag, (digest, moved_at) in self._wanted.tags.items():
            folder = self._layout.tag(self._name, tag)
            algorithm, _, encoded = digest.partition(":")
            self._link(folder / "index" / algorithm / encoded / "link", digest, moved_at)
            self._link(folder / "current" / "link", digest, moved_at)

    def _write_layers(self) -> None:
        for link in self._sound(self._tree.layers(self._name), self._wanted.layers):
            if link.name not in self._spared:
                self._remove(self._layout.layer_link(self._name, Digest(link.name)).parent)
        for digest in self._wanted.layers:
            self._link(self._layout.layer_link(self._name, Digest(digest)), digest, self._now)
        folder = self._layout.repository(self._name)
        if self._wanted.revisions:
            # registry:2 lists what has this folder
            (folder / "_layers").mkdir(parents=True, exist_ok=True)
        elif not self._wanted.layers:
            links.prune(folder / "_manifests")
            links.prune(folder / "_layers")

    def _sound(self, found: Iterator[Link], wanted: set[str] | dict[str, int]) -> Iterator[Link]:
        """The links that are not wanted; those that make no sense are left alone."""
        for link in list(found):
            if link.name in wanted:
                continue
            if link.error or not is_digest(link.name) or not is_digest(link.target):
                self._keep("bad-link", link.name, link.error or "no link that Lading could have had")
            else:
                yield link

    def _link(self, path: Path, digest: str, written_at: int) -> None:
        self._written += links.write(path, digest, written_at)

    def _remove(self, folder: Path) -> None:
        links.remove(folder)
        self._removed += 1

    def _keep(self, kind: str, what: str, detail: str) -> None:
        self._kept.append(Problem(kind, self._name, what, detail))
