"""A registry:2 volume as it lies on disk: what of it can be served, and what is broken.

Read by ``adopt``, which takes the sound part into the index, and by ``export``, which must not remove what was never
taken. Everything here blocks and is run in threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from lading.errors import DigestInvalid, ManifestInvalid, StoreError
from lading.oci import mediatypes
from lading.oci.digest import Digest
from lading.oci.manifest import Manifest, parse
from lading.oci.reference import is_name, is_tag
from lading.stores.blobs.layout import Layout
from lading.stores.blobs.links import Link, Links

_MANIFESTS_AT_ONCE = 500
_BYTES_AT_ONCE = 16 << 20
_BLOBS_AT_ONCE = 4000
_LARGEST_MANIFEST = 64 << 20

_MENTIONED = re.compile(rb"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")


class Problem(msgspec.Struct, frozen=True):
    """Something broken in a volume; ``what`` is the tag, digest or name it is about.

    ``kind`` is one of ``bad-name``, ``bad-tag``, ``bad-link``, ``no-data``, ``not-a-manifest``, ``schema-1``,
    ``wrong-digest``, ``missing-layer``, ``missing-child``, ``tag-without-manifest``, ``unreadable``, ``damaged``.
    """

    kind: str
    repository: str
    what: str
    detail: str


class BrokenError(Exception):
    """A manifest that cannot be taken over; ``mentions`` are the digests in its bytes."""

    def __init__(self, kind: str, detail: str, mentions: frozenset[str] = frozenset()) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.mentions = mentions


@dataclass
class Found:
    """A sound manifest; ``missing`` are the blobs it names whose bytes are not there, with the size it says."""

    manifest: Manifest
    pushed_at: int
    blobs: tuple[str, ...]
    missing: dict[str, int]


@dataclass
class Part:
    """A piece of a repository, small enough for one transaction; the ``last`` one ends it.

    ``visible`` are blobs, ``tags`` have their name, digest and when they were moved. ``problems`` and ``mended`` (how
    many blobs a manifest names had lost their link) come with the last one.
    """

    repository: str
    manifests: list[Found] = field(default_factory=list)
    visible: list[str] = field(default_factory=list)
    tags: list[tuple[str, str, int]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    mended: int = 0
    last: bool = False


def check(layout: Layout) -> None:
    """Raise :class:`StoreError`, saying what is wrong, unless ``layout`` is that of a registry:2 volume."""
    root = layout.root
    if not root.is_dir():
        raise StoreError(f"there is no directory {root}")
    if layout.repositories.is_dir() or layout.blobs.is_dir():
        return
    outer = next((above for above in root.resolve().parents if (above / "docker" / "registry" / "v2").is_dir()), None)
    if outer is not None:
        raise StoreError(f"{root} lies inside the volume of a registry; name the volume itself: {outer}")
    below = root / "docker" / "registry"
    if below.is_dir() and (versions := sorted(entry.name for entry in below.iterdir())):
        raise StoreError(
            f"{root} has a layout Lading does not know: in {below} there is {', '.join(versions[:5])}, and no v2 with "
            "repositories and blobs"
        )
    raise StoreError(
        f"{root} is not the volume of a registry: it has no docker/registry/v2. Name the directory that registry:2 "
        "knows as storage.filesystem.rootdirectory (/var/lib/registry in its image)"
    )


@contextlib.contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Hold the volume against any other adoption or export; :class:`StoreError` if one is at work."""
    try:
        layout.own.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(layout.own / "volume.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot write to {layout.own}: {error.strerror}. Run this as a user who can") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"another adoption or export is at work on {layout.root}; wait until it is done") from None
        yield
    finally:
        os.close(descriptor)


def manifest_of(tree: Links, digest: str) -> Manifest:
    """The manifest whose bytes lie under a digest; :class:`BrokenError` if it cannot be served."""
    raw = tree.content(digest, _LARGEST_MANIFEST)
    if raw is None:
        raise BrokenError("no-data", "its bytes are not in the volume")
    if len(raw) > _LARGEST_MANIFEST:
        raise BrokenError("not-a-manifest", f"it is larger than {_LARGEST_MANIFEST >> 20} MiB")
    mentions = frozenset(found.decode() for found in _MENTIONED.findall(raw))
    algorithm = digest.partition(":")[0]
    if Digest.of(raw, algorithm) != digest:
        raise BrokenError("wrong-digest", "its bytes are damaged: they have another digest", mentions)
    try:
        return parse(raw, "", algorithm)
    except ManifestInvalid as error:
        kind = "schema-1" if "schema 1" in error.message else "not-a-manifest"
        raise BrokenError(kind, error.message, mentions) from None


class Reader:
    """Reads the links of a tree that were written after ``since``, in milliseconds."""

    def __init__(self, tree: Links, since: int) -> None:
        self._tree = tree
        self._since = since

    def parts(self, repository: str) -> Iterator[Part]:
        """What there is of a repository, in parts."""
        if not is_name(repository):
            problem = Problem("bad-name", repository, repository, "no repository may have this name; it was left alone")
            yield Part(repository, problems=[problem], last=True)
            return
        yield from _Repository(self._tree, repository, self._since).parts()


class _Repository:
    def __init__(self, tree: Links, name: str, since: int) -> None:
        self._tree = tree
        self._name = name
        self._since = since
        self._problems: list[Problem] = []
        self._sizes: dict[str, int | None] = {}
        self._layers: dict[str, Link] = {}

    def parts(self) -> Iterator[Part]:
        try:
            yield from self._parts()
        except OSError as error:
            self._problem("unreadable", error.filename or self._name, f"{error.strerror}; the rest was not read")
            yield Part(self._name, problems=self._problems, last=True)

    def _parts(self) -> Iterator[Part]:
        revisions = {link.target: link.written_at for link in self._sound(self._tree.revisions(self._name))}
        tags = self._tags(revisions)
        self._layers = {link.name: link for link in self._sound(self._tree.layers(self._name), aliases=True)}
        for link in self._layers.values():
            if link.name != link.target and self._tree.size(link.target) is not None:
                self._tree.alias(Digest(link.name), Digest(link.target))
        spared: set[str] = set()
        named: set[str] = set()
        part, size = Part(self._name), 0
        for found in self._manifests(revisions, tags, spared):
            named.update(found.blobs)
            part.manifests.append(found)
            size += found.manifest.size
            if len(part.manifests) == _MANIFESTS_AT_ONCE or size >= _BYTES_AT_ONCE:
                yield part
                part, size = Part(self._name), 0
        part.mended = sum(1 for digest in named if digest not in self._layers)
        visible = self._visible(spared - named)
        while len(visible) > _BLOBS_AT_ONCE:
            part.visible, visible = visible[:_BLOBS_AT_ONCE], visible[_BLOBS_AT_ONCE:]
            yield part
            part = Part(self._name, mended=part.mended)
        part.visible, part.tags, part.problems, part.last = visible, tags, self._problems, True
        yield part

    def _problem(self, kind: str, what: str, detail: str) -> None:
        self._problems.append(Problem(kind, self._name, str(what), detail))

    def _sound(self, links: Iterator[Link], *, aliases: bool = False) -> Iterator[Link]:
        """The links that hold the digest they should; ``aliases`` may hold another one, under which the bytes lie."""
        for link in links:
            if link.error:
                self._problem("unreadable" if link.target == "" else "bad-link", link.name, link.error)
                continue
            try:
                name, target = Digest.parse(link.name), Digest.parse(link.target)
            except DigestInvalid as error:
                self._problem("bad-link", link.name, error.message)
                continue
            if name == target or (aliases and name.algorithm != target.algorithm):
                yield link
            else:
                self._problem("bad-link", name, f"the link holds another digest: {target}")

    def _tags(self, revisions: dict[str, int]) -> list[tuple[str, str, int]]:
        tags = []
        for link in self._tree.tags(self._name):
            if link.written_at <= self._since and not link.error:
                continue
            if not is_tag(link.name):
                self._problem("bad-tag", link.name, "no tag may have this name; it was left alone")
            elif link.error:
                self._problem("unreadable", link.name, link.error)
            elif link.target in revisions:
                tags.append((link.name, link.target, link.written_at))
            elif is_digest(link.target):
                self._problem("tag-without-manifest", link.name, f"the repository has no manifest {link.target}")
            else:
                self._problem("bad-link", link.name, "the tag's link holds no digest")
        return tags

    def _manifests(
        self, revisions: dict[str, int], tags: list[tuple[str, str, int]], spared: set[str]
    ) -> Iterator[Found]:
        """The sound manifests; what broken ones name goes to ``spared``, and tags on them out of ``tags``."""
        waiting = deque(digest for digest, written_at in revisions.items() if written_at > self._since)
        waiting.extend(digest for _, digest, _ in tags)
        seen: set[str] = set()
        broken: set[str] = set()
        while waiting:
            digest = waiting.popleft()
            if digest in seen:
                continue
            seen.add(digest)
            try:
                manifest = manifest_of(self._tree, digest)
            except BrokenError as error:
                self._problem(error.kind, digest, error.detail)
                spared |= error.mentions
                broken.add(digest)
                continue
            # what an index names is needed with it, however old the link
            waiting.extend(child.digest for child in manifest.children if child.digest in revisions)
            yield self._found(manifest, revisions)
        for name, digest, _ in tags:
            if digest in broken:
                self._problem("tag-without-manifest", name, f"its manifest {digest} cannot be served")
        tags[:] = [tag for tag in tags if tag[1] not in broken]

    def _found(self, manifest: Manifest, revisions: dict[str, int]) -> Found:
        blobs: list[str] = []
        missing: dict[str, int] = {}
        for descriptor in (*([manifest.config] if manifest.config else []), *manifest.layers):
            digest = descriptor.digest
            # what may lie elsewhere was not checked when it was pushed: it is not this repository's without a link
            elsewhere = bool(descriptor.urls) or mediatypes.is_foreign(descriptor.media_type)
            if elsewhere and digest not in self._layers:
                continue
            if self._size(digest) is not None:
                blobs.append(digest)
            elif not elsewhere:
                missing[digest] = descriptor.size
                self._problem("missing-layer", manifest.digest, f"its blob {digest} is not in the volume")
        for child in manifest.children:
            if child.digest not in revisions:
                self._problem("missing-child", manifest.digest, f"its manifest {child.digest} is not in the repository")
        return Found(manifest, revisions[manifest.digest], tuple(dict.fromkeys(blobs)), missing)

    def _visible(self, spared: set[str]) -> list[str]:
        visible = []
        for digest, link in self._layers.items():
            if link.written_at <= self._since or digest in spared:
                continue
            if self._size(digest) is not None:
                visible.append(digest)
            else:
                self._problem("no-data", digest, "a layer link, but its bytes are not in the volume")
        return visible

    def _size(self, digest: str) -> int | None:
        if digest not in self._sizes:
            self._sizes[digest] = self._tree.size(digest)
        return self._sizes[digest]


def is_digest(text: str) -> bool:
    """Whether this is a digest that content is stored by."""
    try:
        Digest.parse(text)
    except DigestInvalid:
        return False
    return True
