"""Back up a registry while it serves, and restore it somewhere else.

**A backup is consistent** because of its order: the collector is held (:mod:`~lading.registry.holds`), then the index is
copied as of one moment, then the blobs that this copy calls present. Blobs never change, and none of them is deleted
while the hold is out; what is pushed meanwhile is not in this snapshot. It is *incremental* because blobs are kept by
digest, once for all snapshots, and *verified* because each is compared with its digest as it is copied.

**A restore** puts the blobs in place first and the index last, by a rename: until then there is no index, and a server
started too early finds a store it knows nothing of; the index it made is not written over. Run again it goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from lading import __version__
from lading.errors import StoreError
from lading.oci.digest import Digest
from lading.registry.adopt import Progress, Watch
from lading.registry.bundle import Bundle, DamagedError, Snapshot, bring
from lading.registry.holds import hold
from lading.registry.soundness import Pace
from lading.registry.volume import Problem
from lading.stores.blobs.disk import sync_folder
from lading.stores.blobs.layout import Layout
from lading.stores.metadata.snapshot import contents, counts, integrity, put_in_place, snapshot, without_leases
from lading.stores.metadata.transaction import Metadata

_THREADS = 4
_AT_ONCE = 64

Blob = tuple[Digest, int]
Places = Callable[[Digest], Path | str]
"""Where each blob lies."""


@dataclass
class Report:
    """What a backup or restore did; ``copied`` blobs of ``bytes``, ``kept`` were there already, ``freed`` bytes.

    ``broken`` are blobs the snapshot should have and that could not be had: they were damaged or gone before.
    """

    snapshot: Snapshot
    copied: int = 0
    bytes: int = 0
    kept: int = 0
    freed: int = 0
    broken: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class How:
    """How bytes are moved: by hard ``link``s, at ``rate`` bytes a second; ``again``: also read what is there already."""

    link: bool = False
    rate: int | None = None
    again: bool = False


async def backup(
    metadata: Metadata,
    index: Path,
    layout: Layout,
    bundle: Bundle,
    *,
    how: How | None = None,
    keep: int | None = None,
    watch: Watch = lambda progress: None,
) -> Report:
    """Add a snapshot to ``bundle`` of the ``index`` and the blobs below ``layout``, and leave the newest ``keep``.

    Raises :class:`StoreError` where it cannot be written, or another backup is at work on it. Blobs that were damaged
    or gone are told in the report; the snapshot has everything else.
    """
    bundle.create()
    with bundle.alone():
        async with hold(metadata, "backup"):
            moment = metadata.now()
            name = datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
            copy = bundle.begin(name)
            await asyncio.to_thread(_snapshot, index, copy)
            had = await asyncio.to_thread(counts, copy)
            report = Report(Snapshot(name, moment, __version__, *had))
            mover = _Mover(report, how or How(), watch, Progress("backup", had[-1]), bundle.root)
            await mover.move(_blobs(copy), layout.blob, bundle.blob)
        await asyncio.to_thread(bundle.finish, report.snapshot)
        if keep is not None:
            report.freed = await asyncio.to_thread(_forget, bundle, keep)
    return report


async def restore(
    bundle: Bundle,
    name: str | None,
    index: Path,
    layout: Layout,
    *,
    how: How | None = None,
    watch: Watch = lambda progress: None,
) -> Report:
    """Put the snapshot ``name`` (None: the newest) in place below ``layout``, its index at ``index``.

    Raises :class:`StoreError` where there is an index already, and where the snapshot's own is damaged.
    """
    if index.exists():
        raise StoreError(
            f"there is an index at {index}; restore into an empty place, or move that index and its -wal and -shm away "
            "first (the server stopped). Blobs that are there already are used"
        )
    chosen, source = await asyncio.to_thread(_checked, bundle, name)
    report = Report(chosen)
    mover = _Mover(report, how or How(), watch, Progress("restore", chosen.bytes), layout.root)
    await mover.move(_blobs(source), bundle.blob, layout.blob)
    await asyncio.to_thread(_install, source, index)
    return report


async def check(bundle: Bundle, name: str | None, *, rate: int | None, watch: Watch = lambda progress: None) -> Report:
    """Read a snapshot and everything it needs, and write nothing; ``kept`` counts what is sound."""
    chosen, source = await asyncio.to_thread(_checked, bundle, name)
    report = Report(chosen)
    mover = _Mover(report, How(rate=rate, again=True), watch, Progress("verify", chosen.bytes), bundle.root)
    await mover.move(_blobs(source), None, bundle.blob)
    return report


class _Mover:
    """Brings blobs from one place to another below ``root``, some at a time."""

    def __init__(self, report: Report, how: How, watch: Watch, progress: Progress, root: Path) -> None:
        self._report = report
        self._how = how
        self._pace = Pace(how.rate)
        self._watch = watch
        self._progress = progress
        self._root = root

    async def move(self, wanted: Iterable[Blob], source: Places | None, target: Places) -> None:
        """Have every blob at its target; what is there is left alone. Without a source it is only read."""
        self._watch(self._progress)
        folders: set[Path] = set()
        waiting = iter(wanted)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="backup") as threads:
            while batch := await loop.run_in_executor(threads, lambda: list(islice(waiting, _AT_ONCE))):
                moving = [loop.run_in_executor(threads, self._move, blob, source, target) for blob in batch]
                for blob, folder in zip(batch, await asyncio.gather(*moving), strict=True):
                    self._progress.done += blob[1]
                    if folder is not None:
                        folders.add(folder)
                self._watch(self._progress)
            above = {up for folder in folders for up in folder.parents if up.is_relative_to(self._root)}
            await asyncio.gather(*(loop.run_in_executor(threads, sync_folder, one) for one in folders | above))

    def _move(self, blob: Blob, source: Places | None, target: Places) -> Path | None:
        """Bring one blob; the folder whose name for it may not be durable yet, or None."""
        digest, size = blob
        place = Path(target(digest))
        if self._is_there(place, digest, size):
            self._report.kept += 1
            # a run that was killed may have put it there, and not synced it
            return None if source is None else place.parent
        if source is None:
            self._report.broken.append(Problem("damaged", "", digest, "the backup lacks it, or has other bytes for it"))
            return None
        self._pace.wait(size)
        try:
            written = bring(Path(source(digest)), place, digest, link=self._how.link)
        except FileNotFoundError:
            self._report.broken.append(Problem("no-data", "", digest, "its bytes are gone"))
            return None
        except DamagedError as error:
            self._report.broken.append(Problem("damaged", "", digest, str(error)))
            return None
        except OSError as error:
            if error.filename is not None and Path(error.filename) == Path(source(digest)) and not self._how.link:
                self._report.broken.append(Problem("unreadable", "", digest, str(error.strerror)))
                return None
            advice = "; leave --link out to copy" if self._how.link else ""
            raise StoreError(f"cannot write {place}: {error.strerror}{advice}") from error
        self._report.copied += 1
        self._report.bytes += written
        return place.parent

    def _is_there(self, place: Path, digest: Digest, size: int) -> bool:
        try:
            if place.stat().st_size != size:
                return False
            return not self._how.again or self._is_sound(place, digest, size)
        except OSError:
            return False

    def _is_sound(self, place: Path, digest: Digest, size: int) -> bool:
        self._pace.wait(size)
        with place.open("rb") as file:
            return hashlib.file_digest(file, digest.algorithm).hexdigest() == digest.hex


def _snapshot(index: Path, copy: Path) -> None:
    snapshot(index, copy)
    without_leases(copy)
    if said := integrity(copy):
        raise StoreError(f"the index {index} is damaged: {said[0]}. Run lading verify")


def _checked(bundle: Bundle, name: str | None) -> tuple[Snapshot, Path]:
    bundle.check()
    chosen = bundle.find(name)
    source = bundle.index(chosen.name)
    if said := integrity(source):
        raise StoreError(f"the index of snapshot {chosen.name} is damaged: {said[0]}; take another one (--snapshot)")
    return chosen, source


def _blobs(index: Path) -> Iterator[Blob]:
    for digest, size in contents(index):
        yield Digest(digest), size


def _install(source: Path, index: Path) -> None:
    index.parent.mkdir(parents=True, exist_ok=True)
    temporary = index.with_name(f".{index.name}.restoring")
    try:
        shutil.copyfile(source, temporary)
        put_in_place(temporary, index)
    finally:
        temporary.unlink(missing_ok=True)


def _forget(bundle: Bundle, keep: int) -> int:
    """Take all but the newest snapshots away, and the blobs that none of those left needs; bytes freed."""
    there = bundle.snapshots()
    old = there[: max(0, len(there) - keep)]
    if not old:
        return 0
    for each in old:
        bundle.remove(each.name)
    wanted: set[str] = set()
    for each in bundle.snapshots():
        try:
            wanted.update(digest for digest, _ in contents(bundle.index(each.name)))
        except sqlite3.Error as error:
            raise StoreError(
                f"the index of snapshot {each.name} cannot be read ({error}), so which blobs are still needed is not known: "
                f"none is deleted. Remove {bundle.folder(each.name)} if it is of no use"
            ) from error
    return bundle.sweep(wanted)
