"""Adopting a volume that a real registry:2 (Debian's docker-registry) wrote from real pushes."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.http import Client
from tests.support.images import Blob
from tests.support.lading import PROGRAM, Lading
from tests.support.packages import program
from tests.support.peer import Peer
from tests.support.process import Process, run
from tests.support.snapshot import Served, snapshot
from tests.support.volume import Volume

pytestmark = pytest.mark.peer


@dataclass
class Written:
    """A volume, what registry:2 served from it, and what it had deleted."""

    storage: Path
    served: dict[str, Any]
    untagged: list[tuple[str, str]]
    deleted: list[tuple[str, str]]
    images: dict[str, images.Image | images.Index] = field(default_factory=dict)


def skopeo(*words: str | Path) -> str:
    return run([program("skopeo"), *words]).stdout


def adopt(*words: str | Path, check: bool = True) -> str:
    done = run([PROGRAM, "adopt", *words], check=check, environment={"REGISTRY_CONFIGURATION_PATH": ""})
    return done.stdout + done.stderr


def push_everything(peer: Peer, work: Path) -> Written:
    """Every kind of content registry:2 takes, with what happens to a registry over the years."""
    plain, docker, other = images.image("plain"), images.image("docker", docker=True), images.image("other")
    multi, docker_multi = images.index("multi"), images.index("docker-multi", docker=True)
    artifact = images.artifact("sbom", plain.manifest.descriptor())
    no_layers = images.image_manifest(Blob("application/vnd.oci.empty.v1+json", b"{}"), ())
    empty = Blob(images.LAYER, b"")
    empty_layer = images.image_manifest(plain.config, (empty,))
    nested = Blob(
        images.INDEX,
        images.encode({"schemaVersion": 2, "mediaType": images.INDEX, "manifests": [multi.manifest.descriptor()]}),
    )
    untyped = Blob(
        images.MANIFEST,
        images.encode(
            {
                "schemaVersion": 2,
                "config": plain.config.descriptor(),
                "layers": [layer.descriptor() for layer in plain.layers],
            }
        ),
    )
    data = b"addressed by another algorithm"
    sha512 = f"sha512:{hashlib.sha512(data).hexdigest()}"
    by_sha512 = Blob(
        images.MANIFEST,
        images.encode(
            {
                "schemaVersion": 2,
                "mediaType": images.MANIFEST,
                "config": plain.config.descriptor(),
                "layers": [{"mediaType": images.LAYER, "digest": sha512, "size": len(data)}],
            }
        ),
    )
    with Client(peer) as client:
        for tag in ("1", "1.0", "latest"):
            client.push("nginx", plain, tag)
        client.push("nginx", artifact)
        client.push("team/app", multi, "multi")
        client.push("team/app", docker_multi, "docker-multi")
        client.push_manifest("team/app", nested, "nested")
        client.push("a/very/deeply/nested/name_with.dots-and__more", docker, "v1")
        client.push("team", other, "parent-of-others")
        client.push("team/moving", plain, "latest")
        client.push("team/moving", other, "latest")
        client.push_blob("odd", Blob("", b"{}"))
        client.push_manifest("odd", no_layers, "no-layers")
        client.push_blob("odd", empty)
        client.push_blob("odd", plain.config)
        client.push_manifest("odd", empty_layer, "empty-layer")
        for layer in plain.layers:
            client.push_blob("odd", layer)
        client.push_manifest("odd", untyped, "untyped")
        client.push_blob("odd", data, sha512)
        client.push_manifest("odd", by_sha512, "sha512")
        # mounted, never uploaded
        for blob in docker.blobs:
            source = "a/very/deeply/nested/name_with.dots-and__more"
            mounted = client.post("/v2/mounted/blobs/uploads/", params={"mount": blob.digest, "from": source})
            assert mounted.status_code == 201
        client.push_manifest("mounted", docker.manifest, "here")
        # deleted: a manifest with its tags
        for tag in ("old", "older"):
            client.push("team/deleted", plain, tag)
        client.push("team/deleted", docker, "kept")
        assert client.delete(f"/v2/team/deleted/manifests/{plain.digest}").status_code == 202
        # a repository with blobs alone, and one with nothing left
        client.push_blob("only/blobs", b"nobody refers to this")
        client.push("only/deleted", plain, "x")
        assert client.delete(f"/v2/only/deleted/manifests/{plain.digest}").status_code == 202
        # tags removed by hand, as cleaning scripts do
        client.push("team/scripted", docker, "gone")
        client.push("team/scripted", docker, "stays")
    shutil.rmtree(peer.storage / "docker/registry/v2/repositories/team/scripted/_manifests/tags/gone")
    layout = images.write_layout(work / "layout", {"v1": images.image("skopeo", (3000, 70_000))})
    for form in ("oci", "v2s2"):
        target = f"docker://{peer.host}/by/skopeo:{form}"
        skopeo("copy", "-q", "--dest-tls-verify=false", "--format", form, f"oci:{layout}:v1", target)
    untagged = [("nginx", artifact.digest), ("team/moving", plain.digest)]
    deleted = [
        ("team/deleted", plain.digest),
        ("team/deleted", "old"),
        ("team/deleted", "older"),
        ("team/scripted", "gone"),
        ("only/deleted", plain.digest),
    ]
    known: dict[str, images.Image | images.Index] = {"plain": plain, "docker": docker, "multi": multi}
    return Written(peer.storage, snapshot(peer, untagged), untagged, deleted, known)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    root = tmp_path_factory.mktemp("peer")
    with Peer(root) as peer:
        made = push_everything(peer, root)
    yield made
    shutil.rmtree(root)


@pytest.fixture
def volume(written: Written, tmp_path: Path) -> Iterator[Path]:
    """A copy of the volume, at the place where a ``Lading(tmp_path)`` stores; times and all."""
    copy = tmp_path / "storage"
    shutil.copytree(written.storage, copy, copy_function=shutil.copy2)
    yield copy
    shutil.rmtree(copy)


def assert_served_alike(registry: Lading, written: Written) -> None:
    served = snapshot(registry, written.untagged)
    expected = dict(written.served)
    # registry:2 lists repositories that hold no manifest any more
    empty = {"only/blobs", "only/deleted"}
    expected["catalog"] = [name for name in expected["catalog"] if name not in empty]
    for name in empty:
        expected.pop(f"{name} tags")
    assert served == expected
    with Client(registry) as client:
        for repository, reference in written.deleted:
            assert client.manifest(repository, reference).status_code == 404, f"{repository} {reference} came back"


def test_what_registry2_served_is_served_byte_for_byte(written: Written, volume: Path, tmp_path: Path) -> None:
    assert sum(isinstance(answer, Served) and answer.status == 200 for answer in written.served.values()) > 50
    before = Volume(volume).links()
    said = adopt(volume)
    assert "broken" not in said
    assert Volume(volume).links() == before, "the tree was changed"
    with Lading(tmp_path) as registry:
        assert_served_alike(registry, written)
        plain = written.images["plain"]
        with Client(registry) as client:
            referrers = client.get(f"/v2/nginx/referrers/{plain.digest}").json()["manifests"]
            assert [one["digest"] for one in referrers] == [written.untagged[0][1]]
            assert client.get("/v2/only/blobs/blobs/" + images.digest_of(b"nobody refers to this")).status_code == 200


def test_skopeo_copies_all_of_it_out(written: Written, volume: Path, tmp_path: Path) -> None:
    adopt(volume)
    with Lading(tmp_path) as registry, Client(registry) as client:
        for repository in written.served["catalog"]:
            for tag in written.served[f"{repository} tags"]:
                if tag in {"nested", "sha512"}:
                    continue  # skopeo itself cannot
                out = tmp_path / "out"
                skopeo(
                    "copy", "-q", "--all", "--src-tls-verify=false", "--preserve-digests",
                    f"docker://{registry.host}/{repository}:{tag}", f"dir:{out}",
                )  # fmt: skip
                assert (out / "manifest.json").read_bytes() == client.manifest(repository, tag).content
                shutil.rmtree(out)


def test_the_server_adopts_by_itself(written: Written, volume: Path, tmp_path: Path) -> None:
    with Lading(tmp_path) as registry:
        assert_served_alike(registry, written)
        assert "Adopted" in registry.output
        registry.restart()
        assert registry.output.count("Adopted") == 1, "it adopted again at the second start"
        assert_served_alike(registry, written)


def test_the_collector_leaves_what_was_adopted(written: Written, volume: Path, tmp_path: Path) -> None:
    adopt(volume)
    run([PROGRAM, "collect"], environment={"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(volume)})
    with Lading(tmp_path) as registry:
        assert_served_alike(registry, written)


def test_adopting_again_brings_what_registry2_wrote_meanwhile(written: Written, volume: Path, tmp_path: Path) -> None:
    adopt(volume)
    plain, docker = written.images["plain"], written.images["docker"]
    new = images.image("new")
    with Lading(tmp_path) as registry, Client(registry) as client:
        client.push("nginx", new, "by-lading")
        client.push("team/app", new, "multi")
        assert client.delete("/v2/nginx/manifests/1.0").status_code == 202
    time.sleep(0.05)
    with Peer(tmp_path) as peer, Client(peer) as client:
        client.push("nginx", docker, "by-registry2")
        client.push("nginx", docker, "latest")
        client.push("brand/new", plain, "1")
    said = adopt(volume)
    assert "new since the last adoption: 2 repositories" in said
    assert "broken" not in said
    with Lading(tmp_path) as registry, Client(registry) as client:
        assert client.tags("nginx") == ["1", "by-lading", "by-registry2", "latest"], "1.0 was deleted in Lading"
        assert client.manifest("nginx", "latest").content == docker.manifest.data
        assert client.manifest("team/app", "multi").content == new.manifest.data, "Lading moved it last"
        assert client.manifest("brand/new", "1").content == plain.manifest.data
    assert "0 repositories, 0 manifests, 0 tags" in adopt(volume)


def test_everything_brings_back_what_was_deleted(volume: Path, tmp_path: Path) -> None:
    adopt(volume)
    with Lading(tmp_path) as registry, Client(registry) as client:
        assert client.delete("/v2/nginx/manifests/1.0").status_code == 202
    adopt("--everything", volume)
    with Lading(tmp_path) as registry, Client(registry) as client:
        assert client.tags("nginx") == ["1", "1.0", "latest"]


def facts(volume: Path) -> dict[str, Any]:
    """What the index remembers of adoptions."""
    path = volume / "lading" / "index.sqlite"
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path, timeout=10)) as index:
        try:
            row = index.execute("SELECT value FROM facts WHERE name = 'adopted'").fetchone()
        except sqlite3.OperationalError:
            return {}  # its tables are not there yet
    return json.loads(row[0]) if row else {}


def rows(volume: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(volume / "lading" / "index.sqlite", timeout=10)) as index:
        return index.execute(statement).fetchall()


def kill_in_the_middle(root: Path, work: Path) -> str:
    """Start an adoption and kill it between its first and its last transaction; the last repository it finished."""
    for attempt in range(5):
        shutil.rmtree(root / "lading", ignore_errors=True)
        process = Process([PROGRAM, "adopt", root], log=work / f"killed-{attempt}.log").start()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.alive and not facts(root).get("run"):
            time.sleep(0.002)
        process.kill9()
        run_ = facts(root).get("run")
        if run_:
            return run_["done"]
    pytest.fail("the adoption was never caught in the middle")


def test_an_adoption_that_was_killed_goes_on(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "storage")
    shared = images.image("shared")
    for number in range(400):
        name = f"g{number % 7}/app{number}"
        volume.push(name, shared, "base")
        for tag in range(3):
            volume.push_manifest(
                name, images.image_manifest(Blob(images.CONFIG, b"{}"), (shared.layers[0],), docker=tag == 1), f"v{tag}"
            )
    bad = volume.push_manifest("g0/app0", Blob(images.MANIFEST, b"not JSON"), "bad")
    done = kill_in_the_middle(volume.root, tmp_path)
    finished = rows(volume.root, "SELECT id, digest, touched_at, pushed_at FROM manifests ORDER BY id")
    assert 0 < len(finished) < 1200
    said = adopt(volume.root)
    assert "Went on with" in said
    assert f"not-a-manifest: g0/app0 {bad}" in said, "what the first run found broken is in the report of the second"
    assert "400 repositories, 1,200 manifests, 1,600 tags" in said
    again = rows(volume.root, "SELECT id, digest, touched_at, pushed_at FROM manifests ORDER BY id")
    assert again[: len(finished)] == finished, f"repositories up to {done} were done twice"
    with Lading(tmp_path) as registry, Client(registry) as client:
        assert len(client.get("/v2/_catalog", params={"n": 1000}).json()["repositories"]) == 400
        assert client.tags("g6/app6") == ["base", "v0", "v1", "v2"]


def test_a_server_goes_on_with_an_adoption_that_was_killed(written: Written, tmp_path: Path) -> None:
    volume = Volume(tmp_path / "storage")
    shutil.copytree(written.storage, volume.root, copy_function=shutil.copy2, dirs_exist_ok=True)
    for number in range(400):
        for seed in range(3):
            manifest = Blob(images.MANIFEST, images.encode({"schemaVersion": 2, "mediaType": images.MANIFEST, "n": seed,
                "config": Blob(images.CONFIG, b"{}").descriptor(), "layers": []}))  # fmt: skip
            volume.push_manifest(f"many/{number}", manifest, f"v{seed}")
    kill_in_the_middle(volume.root, tmp_path)
    with Lading(tmp_path) as registry, Client(registry) as client:
        assert client.tags("many/399") == ["v0", "v1", "v2"]
        assert client.tags("nginx") == ["1", "1.0", "latest"]


def test_a_damaged_volume_is_adopted_and_reported(written: Written, volume: Path, tmp_path: Path) -> None:
    tree = Volume(volume)
    plain, docker = written.images["plain"], written.images["docker"]
    multi = written.images["multi"]
    assert isinstance(plain, images.Image)
    assert isinstance(docker, images.Image)
    assert isinstance(multi, images.Index)
    tree.data(plain.layers[0].digest).unlink()
    tree.data(docker.manifest.digest).write_bytes(docker.manifest.data + b" ")
    tree.revision("team/app", multi.images[1].digest).unlink()
    tree.tag("nginx", "1").write_bytes(b"")
    schema1 = Blob("", b'{"schemaVersion": 1, "name": "old", "tag": "x", "fsLayers": [], "history": []}')
    tree.push_manifest("nginx", schema1, "schema-1")
    (tree.base / "repositories" / "UPPER" / "_manifests" / "tags").mkdir(parents=True)
    lines = tmp_path / "report.jsonl"
    said = adopt(volume, "--report", lines)
    problems = [json.loads(line) for line in lines.read_text().splitlines()]
    found = {(one["kind"], one["repository"], one["what"]) for one in problems}
    assert ("missing-layer", "nginx", plain.digest) in found
    assert ("no-data", "nginx", plain.layers[0].digest) in found
    assert ("wrong-digest", "mounted", docker.digest) in found
    assert ("tag-without-manifest", "mounted", "here") in found
    assert ("missing-child", "team/app", multi.digest) in found
    assert ("bad-link", "nginx", "1") in found
    assert ("schema-1", "nginx", schema1.digest) in found
    assert ("bad-name", "UPPER", "UPPER") in found
    assert f"{len(problems)} things found broken" in said
    with Lading(tmp_path) as registry, Client(registry) as client:
        assert client.tags("nginx") == ["1.0", "latest"]
        assert client.manifest("nginx", "latest").content == plain.manifest.data
        assert client.get(f"/v2/nginx/blobs/{plain.layers[0].digest}").status_code == 404
        assert client.manifest("mounted", "here").status_code == 404
        assert client.manifest("team/app", "multi").content == multi.manifest.data
        # pushing the image again mends it
        client.push("nginx", plain, "latest")
        assert client.get(f"/v2/nginx/blobs/{plain.layers[0].digest}").content == plain.layers[0].data


def test_verify_finds_damaged_bytes_and_a_push_mends_them(written: Written, volume: Path, tmp_path: Path) -> None:
    plain = written.images["plain"]
    assert isinstance(plain, images.Image)
    layer = plain.layers[0]
    Volume(volume).data(layer.digest).write_bytes(b"x" * layer.size)
    assert "broken" not in adopt(volume), "without --verify no layer is read"
    said = adopt("--verify", volume)
    assert "1 thing found broken" in said
    assert f"damaged: {layer.digest}" in said
    with Lading(tmp_path) as registry, Client(registry) as client:
        assert client.head(f"/v2/nginx/blobs/{layer.digest}").status_code == 404
        client.push("nginx", plain, "latest")
        assert client.get(f"/v2/nginx/blobs/{layer.digest}").content == layer.data


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        ("", "there is no directory"),
        ("empty", "is not the volume of a registry"),
        ("empty/docker/registry/v1/blobs", "has a layout Lading does not know"),
        ("volume/docker/registry/v2/repositories/x", "lies inside the volume of a registry"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path: Path, make: str, complaint: str) -> None:
    if make:
        (tmp_path / make).mkdir(parents=True)
    where = tmp_path / make if make.startswith("volume") else tmp_path / "empty"
    refused = run([PROGRAM, "adopt", where], check=False)
    assert refused.returncode == 1
    assert complaint in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (where / "lading").exists()


def test_two_at_once_are_refused(volume: Path) -> None:
    import fcntl

    (volume / "lading").mkdir()
    with (volume / "lading" / "volume.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = run([PROGRAM, "adopt", volume], check=False)
    assert refused.returncode == 1
    assert "another adoption or export is at work" in refused.stderr


def test_the_configuration_says_which_volume(volume: Path, tmp_path: Path) -> None:
    root = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(volume)}}}
    config = tmp_path / "config.yml"
    config.write_text(json.dumps(root | {"database": {"url": f"sqlite:///{tmp_path}/elsewhere.sqlite"}}))
    said = adopt("--config", config)
    assert f"Adopted {volume}" in said
    assert (tmp_path / "elsewhere.sqlite").exists()
    refused = run([PROGRAM, "adopt", tmp_path, "--config", config], check=False)
    assert refused.returncode == 1
    assert "belongs to the volume" in refused.stderr
