"""Engines behind the mirror: dockerd with ``registry-mirrors``, containerd with hosts.toml; the upstream goes away."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.conftest import PEER
from tests.e2e.engine import Containerd, Engine
from tests.e2e.test_containerd import forget, holds, target
from tests.support import images
from tests.support.accounts import PASSWORD
from tests.support.http import Client
from tests.support.lading import Lading
from tests.support.peer import Peer
from tests.support.replication import Replicating, made

pytestmark = pytest.mark.skipif(PEER, reason="registry:2's own mirror is not what is tested")

OFFICIAL = images.index("official", layers=(5000, 200_000), docker=True)


class Mirrored(NamedTuple):
    """A mirror and what it mirrors, in place of Docker Hub."""

    hub: Peer
    near: Lading
    daemon: str


@pytest.fixture(params=["proxy", "mirrors"])
def mirrored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mirrored]:
    """registry:2 with an official image, and a mirror of it that believes no tag for long; its address for dockerd."""
    with Peer(tmp_path / "hub") as hub, Client(hub) as client:
        client.push("library/official", OFFICIAL, "1")
        upstream = {"remoteurl": hub.url, "revalidate": "1ms"}
        beside = {"prefix": "docker.io", "namespaces": ["docker.io"], "hosts": ["localhost"]}
        mirrors = [{**upstream, **beside}, {"prefix": "quay.io", "remoteurl": "http://127.0.0.1:9"}]
        settings = {"proxy": upstream} if request.param == "proxy" else {"mirrors": mirrors}
        with Lading(tmp_path / "near", settings, workers=2) as near:
            yield Mirrored(
                hub, near, f"http://{'localhost' if request.param == 'mirrors' else '127.0.0.1'}:{near.port}"
            )


def fetched(hub: Peer) -> list[str]:
    """The blobs that were asked of it, each time."""
    return [one.path for one in hub.access_log() if one.method == "GET" and "/blobs/" in one.path]


@pytest.mark.peer
def test_dockerd_pulls_an_official_image_also_when_the_hub_is_away(engine: Engine, mirrored: Mirrored) -> None:
    known = {"auths": {"https://index.docker.io/v1/": {"auth": base64.b64encode(b"whale:of-the-daemon").decode()}}}
    client = engine.home.path / "client/config.json"
    with engine.settings({"registry-mirrors": [mirrored.daemon]}):
        client.parent.mkdir(exist_ok=True)
        client.write_text(json.dumps(known))
        try:
            engine.docker("pull", "official:1")
            assert engine.image_id("official:1") == OFFICIAL.images[0].config.digest
            engine.forget("official:1")
            assert len(fetched(mirrored.hub)) == len(set(fetched(mirrored.hub))) == 3
            mirrored.hub.stop()
            for name in ("official:1", f"official@{OFFICIAL.digest}"):
                engine.docker("pull", name)
                assert engine.image_id(name) == OFFICIAL.images[0].config.digest
                engine.forget(name)
        finally:
            client.unlink()
    for server in (mirrored.hub, mirrored.near):
        assert "of-the-daemon" not in server.output
        assert known["auths"]["https://index.docker.io/v1/"]["auth"] not in server.output


@pytest.mark.peer
def test_engines_pull_through_a_proxy_project(engine: Engine, containerd: Containerd, tmp_path: Path) -> None:
    """As they do through Harbor's: dockerd by the project's name, containerd by a path that it is told."""
    elsewhere = {"mirrors": [{"prefix": "quay.io", "remoteurl": "http://127.0.0.1:9"}]}
    with Peer(tmp_path / "hub") as hub, Replicating(tmp_path / "near", elsewhere, workers=2) as near:
        with Client(hub) as client:
            client.push("library/official", OFFICIAL, "1")
        far = near.endpoint("far", hub.url, type="docker-registry", credential=None)
        made(near.operator.post("/projects", json={"project_name": "hub", "registry_id": far}))
        near.user("alice")
        near.member("hub", "alice", "developer")
        name = f"{near.host}/hub/library/official:1"
        assert "denied" in engine.docker("pull", name, check=False).stderr
        engine.docker("login", "--password-stdin", "--username=alice", near.host, stdin=PASSWORD)
        engine.docker("pull", name)
        assert engine.image_id(name) == OFFICIAL.images[0].config.digest
        pushed = engine.docker("push", name, check=False)
        assert (pushed.returncode != 0, "proxy" in pushed.stderr + pushed.stdout) == (True, True), pushed.stderr
        engine.forget(name)
        engine.docker("logout", near.host)

        assert near.operator.put("/projects/hub", json={"metadata": {"public": "true"}}).status_code == 200
        folder, name = tmp_path / "certs.d", f"{hub.host}/library/official:1"
        (folder / hub.host).mkdir(parents=True)
        told = f'[host."{near.url}/v2/hub"]\n  capabilities = ["pull", "resolve"]\n  override_path = true\n'
        (folder / hub.host / "hosts.toml").write_text(f'server = "{hub.url}"\n{told}')
        hub.stop()
        containerd.ctr("images", "pull", "--hosts-dir", folder, "--platform=linux/amd64", name)
        assert target(containerd, name) == OFFICIAL.digest
        forget(containerd, name)
        assert [one for one in near.access_log() if "ns=" in one.path], "containerd says whose name it asks for"


@pytest.mark.peer
def test_containerd_pulls_through_its_hosts_file(containerd: Containerd, mirrored: Mirrored, tmp_path: Path) -> None:
    folder, name = tmp_path / "certs.d", "docker.io/library/official:1"
    (folder / "docker.io").mkdir(parents=True)
    capable = f'[host."{mirrored.near.url}"]\n  capabilities = ["pull", "resolve"]\n'
    (folder / "docker.io/hosts.toml").write_text(f'server = "{mirrored.hub.url}"\n{capable}')
    for hub_is_there in (True, False):
        if not hub_is_there:
            mirrored.hub.stop()
        containerd.ctr("images", "pull", "--hosts-dir", folder, "--platform=linux/arm64", name)
        assert target(containerd, name) == OFFICIAL.digest
        assert all(holds(containerd, layer.digest) for layer in OFFICIAL.images[1].layers)
        forget(containerd, name)
    asked = {one.path for one in mirrored.near.access_log() if "library/official" in one.path}
    assert asked
    assert all(path.endswith("?ns=docker.io") for path in asked), asked
