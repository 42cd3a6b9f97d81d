"""Disks that fail: each kind of call that writes is refused at each of its turns; no inodes are left; all is read-only.

The calls are those of the real server, made to fail by ``strace``. Whatever fails, the answer is a clear 503, what was
there is served as it was, and the next push succeeds without a restart once the disk is well again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.integration.workers import children
from tests.support.counts import Count
from tests.support.http import Client
from tests.support.images import Image, digest_of, image
from tests.support.lading import Lading
from tests.support.packages import program
from tests.support.patience import eventually

CALLS = ("pwritev2", "pwritev", "pwrite64", "fdatasync", "fsync", "rename", "mkdir", "ftruncate", "unlink", "unlinkat")
KEPT = image("kept", (4000,))


@contextlib.contextmanager
def failing(worker: int, call: str, error: str, first: int) -> Iterator[None]:
    """From its ``first`` turn on (in each thread), a call of this process fails."""
    fault = f"inject={call}:error={error}:when={first}+"
    words = [program("strace"), "-f", "-q", "-p", str(worker), "-e", f"trace={call}", "-e", fault, "-o", os.devnull]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tracer:
        try:
            eventually(lambda: all(traced(worker)), what="every thread is traced")
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(20)
    eventually(lambda: not any(traced(worker)), what="no thread is traced")


def traced(worker: int) -> list[bool]:
    found = []
    for task in Path(f"/proc/{worker}/task").iterdir():
        with contextlib.suppress(OSError):
            found.append("TracerPid:\t0\n" not in (task / "status").read_text())
    return found


def is_clear(answer: httpx2.Response) -> bool:
    """Whether it is no failure; one must say that it is the registry's, and when to come back."""
    if answer.status_code < 500:
        return True
    assert answer.status_code in (503, 507), f"{answer.status_code} {answer.text}"
    [error] = answer.json()["errors"]
    assert error["code"] == "UNAVAILABLE"
    assert error["message"]
    assert int(answer.headers["retry-after"]) > 0
    return False


def attempt(client: Client, made: Image, tag: str, told: set[str]) -> bool:
    """Push, whatever comes; whether all of it was taken. ``told`` are the digests that were answered 201."""
    clear = True
    first, *rest = made.blobs
    done = client.post("/v2/a/blobs/uploads/", params={"digest": first.digest}, content=first.data)
    clear &= is_clear(done)
    if done.status_code == 201:
        told.add(first.digest)
    for blob in rest:
        begun = client.post("/v2/a/blobs/uploads/")
        clear &= is_clear(begun)
        if begun.status_code != 202:
            continue
        sent = client.patch(begun.headers["location"], content=blob.data)
        clear &= is_clear(sent)
        if sent.status_code != 202:
            continue
        target = httpx2.URL(sent.headers["location"]).copy_merge_params({"digest": blob.digest})
        done = client.put(target)
        clear &= is_clear(done)
        if done.status_code == 201:
            told.add(blob.digest)
    headers = {"content-type": made.manifest.media_type}
    done = client.put(f"/v2/a/manifests/{tag}", content=made.manifest.data, headers=headers)
    return is_clear(done) and done.status_code == 201 and clear


def served(client: Client, made: Image, tag: str) -> None:
    assert client.manifest("a", tag).content == made.manifest.data
    for blob in made.blobs:
        assert client.get(f"/v2/a/blobs/{blob.digest}").content == blob.data


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_call_that_writes_fails(tmp_path: Path, long: bool, count: Count) -> None:
    turns = range(1, 9) if long else (1, 3)
    errors = ("ENOSPC", "EIO", "EROFS", "EDQUOT") if long else ("ENOSPC", "EIO")
    tried: Counter[str] = Counter()
    refused = 0
    with Lading(tmp_path) as registry, Client(registry, verify=False) as client:
        client.push("a", KEPT, "kept")
        [worker] = children(registry.pid)
        for call, error, first in itertools.product(CALLS, errors, turns):
            made, tag, told = image(f"{call}-{error}-{first}", (1500, 2500)), f"{call}-{error}-{first}", set[str]()
            client.push_manifest("a", KEPT.manifest, "going")
            with failing(worker, call, error, first):
                refused += not attempt(client, made, tag, told)
                served(client, KEPT, "kept")
                gone = client.delete("/v2/a/manifests/going")
                assert is_clear(gone) == (gone.status_code == 202)
            found = client.manifest("a", "going").status_code
            assert found == 404 if gone.status_code == 202 else found in (200, 404)
            for digest in told:
                assert digest_of(client.get(f"/v2/a/blobs/{digest}").content) == digest, f"{call} {error} {first}"
            assert attempt(client, made, tag, told), "it goes on without a restart"
            served(client, made, tag)
            tried[error] += 1
        assert children(registry.pid) == {worker}
        assert "Everything can be served" in registry.run("verify").stdout
        assert "Traceback" not in registry.output
    assert refused > len(CALLS)
    named = ", ".join(f"{n} {error}" for error, n in tried.items())
    count(
        f"disk: {tried.total()} faults in {len(CALLS)} system calls ({named}), {refused} of which a push met; 0 damaged"
    )


@contextlib.contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    """A file system in memory; only root can make one."""
    if os.geteuid() != 0:
        pytest.fail("a file system of its own is something only root can mount: run the tests as root", False)
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "lading-test", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_no_inodes(tmp_path: Path) -> None:
    late = image("late")
    with mounted(tmp_path / "disk", "size=16m,nr_inodes=120") as place:
        with Lading(place / "one") as registry, Client(registry, verify=False) as client:
            client.push("a", KEPT, "kept")
            filler = place / "filler"
            filler.mkdir()
            with contextlib.suppress(OSError):
                for number in range(200):
                    (filler / str(number)).touch()
            assert os.statvfs(place).f_favail == 0
            assert not attempt(client, late, "late", set())
            served(client, KEPT, "kept")
            for path in filler.iterdir():
                path.unlink()
            assert attempt(client, late, "late", set())
            served(client, late, "late")
            assert "Traceback" not in registry.output


def test_a_store_that_became_read_only(tmp_path: Path) -> None:
    late = image("late")
    settings = {"database": {"url": f"sqlite:///{tmp_path / 'index.sqlite'}"}}
    with mounted(tmp_path / "disk", "size=16m") as place:
        with Lading(place / "one", settings) as registry, Client(registry, verify=False) as client:
            client.push("a", KEPT, "kept")
            with bound(registry.storage):
                assert not attempt(client, late, "late", set())
                served(client, KEPT, "kept")
            assert attempt(client, late, "late", set())
            served(client, late, "late")
            assert "Traceback" not in registry.output


@contextlib.contextmanager
def bound(folder: Path) -> Iterator[None]:
    """What lies there can be read, and not written."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
