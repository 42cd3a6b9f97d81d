"""Giving a volume back: what ``lading export`` writes is served by a real registry:2 (Debian's docker-registry)."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests.support import images
from tests.support.http import Client
from tests.support.images import Blob
from tests.support.lading import PROGRAM, Lading
from tests.support.packages import program
from tests.support.peer import Peer
from tests.support.process import run
from tests.support.snapshot import snapshot
from tests.support.volume import Volume

pytestmark = pytest.mark.peer

PLAIN = images.image("plain")
DOCKER = images.image("docker", docker=True)
OTHER = images.image("other")
MULTI = images.index("multi")
DATA = b"addressed by another algorithm"
SHA512 = f"sha512:{hashlib.sha512(DATA).hexdigest()}"
BY_SHA512 = Blob(
    images.MANIFEST,
    images.encode(
        {
            "schemaVersion": 2,
            "mediaType": images.MANIFEST,
            "config": PLAIN.config.descriptor(),
            "layers": [{"mediaType": images.LAYER, "digest": SHA512, "size": len(DATA)}],
        }
    ),
)


def lading(command: str, *words: str | Path, check: bool = True) -> str:
    done = run([PROGRAM, command, *words], check=check)
    return done.stdout + done.stderr


def push(client: Client) -> None:
    """What both registries take."""
    for tag in ("1", "latest"):
        client.push("nginx", PLAIN, tag)
    client.push("team/app", MULTI, "multi")
    client.push("a/b/c/d", DOCKER, "v1")
    client.push("team/moving", PLAIN, "latest")
    client.push("team/moving", OTHER, "latest")
    client.push("nginx", images.artifact("sbom", PLAIN.manifest.descriptor()), "sbom")


def assert_same_again(root: Path, expected: dict[str, object]) -> None:
    """A registry:2 on the volume serves what Lading served, and can still collect garbage and take pushes."""
    with Peer(root) as peer:
        assert snapshot(peer) == expected
        with Client(peer) as client:
            client.push("nginx", images.image("pushed to registry:2 again"), "again")
    peer.collect_garbage()
    with Peer(root) as peer:
        served = snapshot(peer)
        assert {path: served.get(path) for path in expected if path != "nginx tags"} == {
            path: answer for path, answer in expected.items() if path != "nginx tags"
        }


def test_a_volume_that_lading_began_is_served_by_registry2(tmp_path: Path) -> None:
    with Lading(tmp_path) as registry, Client(registry) as client:
        push(client)
        client.push_blob("odd", DATA, SHA512)
        client.push_blob("odd", PLAIN.config)
        client.push_manifest("odd", BY_SHA512, "sha512")
        raw = PLAIN.manifest.data
        by_digest = f"sha512:{hashlib.sha512(raw).hexdigest()}"
        answer = client.put(f"/v2/nginx/manifests/{by_digest}", content=raw, headers={"content-type": images.MANIFEST})
        assert answer.status_code == 201
        expected = snapshot(registry)
    said = lading("export", registry.storage)
    assert "0 removed" in said
    with Peer(tmp_path) as peer, Client(peer) as client:
        assert client.manifest("nginx", by_digest).content == raw, "registry:2 serves what is stored by sha512"
        assert client.get(f"/v2/odd/blobs/{SHA512}").content == DATA
    assert_same_again(tmp_path, expected)


def test_there_and_back(tmp_path: Path) -> None:
    with Peer(tmp_path) as peer, Client(peer) as client:
        push(client)
    volume = Volume(peer.storage)
    lading("adopt", volume.root)
    with Lading(tmp_path) as registry, Client(registry) as client:
        client.push("nginx", OTHER, "new")
        client.push("team/moving", MULTI, "latest")
        client.push("born/here", DOCKER, "1")
        assert client.delete("/v2/nginx/manifests/1").status_code == 202
        assert client.delete(f"/v2/a/b/c/d/manifests/{DOCKER.digest}").status_code == 202
        expected = snapshot(registry)
    said = lading("export", volume.root)
    assert "left alone" not in said
    assert not volume.tag("nginx", "1").parents[1].exists()
    assert not volume.revision("a/b/c/d", DOCKER.digest).exists()
    links = volume.links()
    assert "0 links written, 0 removed" in lading("export", volume.root)
    assert volume.links() == links
    with Peer(tmp_path) as peer:
        served = snapshot(peer)
        # registry:2 lists a repository as long as a blob is visible in it
        assert set(served["catalog"]) - set(expected["catalog"]) == {"a/b/c/d"}
        served["catalog"].remove("a/b/c/d")
        served.pop("a/b/c/d tags")
        assert served == expected
        skopeo = [program("skopeo"), "copy", "-q", "--all", "--src-tls-verify=false"]
        run([*skopeo, f"docker://{peer.host}/team/moving:latest", f"dir:{tmp_path}/out"])
        with Client(peer) as client:
            client.push("nginx", DOCKER, "by-registry2")
    assert (tmp_path / "out" / "manifest.json").read_bytes() == MULTI.manifest.data
    # and forth again
    assert "1 manifest, 1 tag" in lading("adopt", volume.root)
    with Lading(tmp_path) as registry, Client(registry) as client:
        assert client.tags("nginx") == ["by-registry2", "latest", "new", "sbom"]


def test_what_registry2_wrote_since_is_not_lost(tmp_path: Path) -> None:
    with Peer(tmp_path) as peer, Client(peer) as client:
        client.push("nginx", PLAIN, "1")
    lading("adopt", peer.storage)
    with peer, Client(peer) as client:
        client.push("nginx", DOCKER, "2")
    said = lading("export", peer.storage)
    assert "registry:2 had written 1 manifest and 1 tag since" in said
    with peer, Client(peer) as client:
        assert sorted(client.tags("nginx")) == ["1", "2"]


def test_what_could_not_be_adopted_is_left_alone(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "storage")
    volume.push("old", PLAIN, "fine")
    layer = Blob("", b"a layer of an old image")
    volume.push_blob("old", layer)
    schema1 = {"schemaVersion": 1, "name": "old", "fsLayers": [{"blobSum": layer.digest}], "history": []}
    ancient = Blob("", json.dumps(schema1).encode())
    volume.push_manifest("old", ancient, "ancient")
    volume.push("UPPER", PLAIN, "1")
    before = volume.links()
    lading("adopt", volume.root)
    with Lading(tmp_path) as registry, Client(registry) as client:
        assert client.tags("old") == ["fine"]
        assert client.delete(f"/v2/old/manifests/{PLAIN.digest}").status_code == 202
    collect = {
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(volume.root),
        "REGISTRY_COLLECT_GRACE": "0s",
        "REGISTRY_COLLECT_UNTAGGED": "0s",
    }
    for _ in range(2):
        run([PROGRAM, "collect"], environment=collect)
    assert not volume.data(PLAIN.layers[0].digest).exists(), "nothing was collected, so nothing is shown"
    report = tmp_path / "report.jsonl"
    said = lading("export", volume.root, "--report", report)
    assert "schema-1" in said
    kept = {(one["kind"], one["what"]) for one in map(json.loads, report.read_text().splitlines())}
    assert kept == {("schema-1", ancient.digest), ("tag-without-manifest", "ancient")}
    ours = {str(Path("old/_manifests/tags/fine/current/link"))} | {
        str(path.relative_to(volume.base / "repositories"))
        for path in (
            volume.revision("old", PLAIN.digest),
            *(volume.layer("old", blob.digest) for blob in PLAIN.blobs),
        )
    }
    assert volume.links() == {path: digest for path, digest in before.items() if path not in ours}
    assert volume.data(layer.digest).read_bytes() == layer.data
    assert volume.data(ancient.digest).read_bytes() == ancient.data


def test_an_emptied_repository_is_not_listed(tmp_path: Path) -> None:
    with Peer(tmp_path) as peer, Client(peer) as client:
        client.push("kept", PLAIN, "1")
        client.push("emptied", OTHER, "1")
    lading("adopt", peer.storage)
    with Lading(tmp_path) as registry, Client(registry) as client:
        client.delete(f"/v2/emptied/manifests/{OTHER.digest}")
        for blob in OTHER.blobs:
            client.delete(f"/v2/emptied/blobs/{blob.digest}")
    lading("export", peer.storage)
    with peer, Client(peer) as client:
        assert client.get("/v2/_catalog").json()["repositories"] == ["kept"]


def test_what_has_no_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused = run([PROGRAM, "export", tmp_path / "empty"], check=False)
    assert refused.returncode == 1
    assert "there is no index" in refused.stderr
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_registry_in_memory_has_nothing_to_export(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(json.dumps({"version": 0.1, "storage": {"inmemory": {}}}))
    refused = run([PROGRAM, "export", "--config", config], check=False)
    assert refused.returncode == 1
    assert "in memory" in refused.stderr


def test_an_export_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    with Lading(tmp_path) as registry, Client(registry) as client:
        push(client)
        expected = snapshot(registry)
    lading("export", registry.storage)
    repositories = registry.storage / "docker/registry/v2/repositories"
    whole = Volume(registry.storage).links()
    # as if it had been killed before these were written, and while one was
    shutil.rmtree(repositories / "team/app")
    shutil.rmtree(repositories / "nginx/_manifests/tags")
    torn = repositories / "a/b/c/d/_manifests/tags/v1/current"
    (torn / ".0123456789abcdef").write_text("sha256:00")
    (torn / "link").unlink()
    assert "0 removed" in lading("export", registry.storage)
    assert Volume(registry.storage).links() == whole
    with Peer(tmp_path) as peer:
        assert snapshot(peer) == expected
