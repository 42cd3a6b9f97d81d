"""Accounts as real clients use them: users, robots and identity tokens; and a registry:2 that trusts our tokens."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.containers import HTTP, Tool
from tests.e2e.engine import Engine
from tests.support import images
from tests.support.access import Certificates
from tests.support.accounts import PASSWORD, WithAccounts
from tests.support.clientcertificates import ClientAuthority
from tests.support.http import Client
from tests.support.packages import program
from tests.support.peer import Peer
from tests.support.process import run

pytestmark = pytest.mark.timeout(120)


class Place(NamedTuple):
    """A server with a private project ``team`` and a public one ``open``; alice develops, bob is nobody in them."""

    server: WithAccounts
    robot: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with WithAccounts(tmp_path_factory.mktemp("accounts"), workers=2) as server:
        server.user("alice", "bob")
        server.project("team")
        server.project("open", public=True)
        for project in ("team", "open"):
            server.member(project, "alice", "developer")
        yield Place(server, server.robot("ci", "team", "repository:pull", "repository:push"))


@pytest.fixture(scope="module")
def image() -> images.Image:
    return images.image("accounts", (5000, 40_000), docker=True)


def test_docker(place: Place, engine: Engine, image: images.Image, tmp_path: Path) -> None:
    host = place.server.host
    private, public = f"{host}/team/app:1", f"{host}/open/app:1"
    archive = images.write_docker_archive(tmp_path / "image.tar", image, [private, public])
    engine.docker("load", "--input", archive)
    login = ("login", "--password-stdin", host, "--username")
    assert "denied" in engine.docker("push", private, check=False).stderr
    wrong = engine.docker(*login, "alice", stdin="wrong", check=False)
    assert wrong.returncode != 0
    assert "wrong user name or password" in wrong.stderr
    engine.docker(*login, "alice", stdin=PASSWORD)
    kept = json.loads((engine.home.path / "client" / "config.json").read_text())["auths"][host]
    assert kept["identitytoken"].startswith("lading_rft_")
    assert PASSWORD not in base64.b64decode(kept["auth"]).decode()
    for reference in (private, public):
        engine.docker("push", reference)
        engine.forget(reference)
        engine.docker("pull", reference)
        assert engine.image_id(reference) == image.config.digest
        engine.forget(reference)
    found = engine.docker("search", f"{host}/app").stdout
    assert "team/app" in found
    assert "open/app" in found
    absent = engine.docker("tag", image.config.digest, f"{host}/nothere/app:1", check=False)
    assert absent.returncode != 0 or "denied" in engine.docker("push", f"{host}/nothere/app:1", check=False).stderr
    engine.docker("logout", host)

    engine.docker(*login, "bob", stdin=PASSWORD)
    assert engine.docker("pull", private, check=False).returncode != 0
    engine.docker("pull", public)
    engine.forget(public)
    engine.docker("logout", host)

    engine.docker("pull", public)
    assert engine.docker("pull", private, check=False).returncode != 0
    engine.forget(public)

    engine.docker(*login, "robot$team+ci", stdin=place.robot)
    engine.docker("pull", private)
    engine.docker("push", private)
    engine.docker("logout", host)
    engine.forget(private)


def test_podman(place: Place, image: images.Image, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    podman = Tool("podman", tmp_path_factory.mktemp("podman"))
    host = place.server.host
    podman("load", "--quiet", "--input", images.write_docker_archive(tmp_path / "in.tar", image, ["localhost/it:1"]))
    remote = f"{host}/team/podman:1"
    assert podman("push", HTTP, "localhost/it:1", f"docker://{remote}", check=False).returncode != 0
    wrong = podman("login", HTTP, "--username=alice", "--password-stdin", host, stdin="wrong", check=False)
    assert wrong.returncode != 0
    podman("login", HTTP, "--username=robot@team+ci", "--password-stdin", host, stdin=place.robot)
    podman("push", HTTP, "localhost/it:1", f"docker://{remote}")
    podman("rmi", "--force", "localhost/it:1")
    podman("pull", "--quiet", HTTP, remote)
    assert podman.image_id(remote) == image.config.digest
    assert "team/podman" in podman("search", HTTP, f"{host}/podman").stdout
    podman("logout", host)
    podman("rmi", "--force", remote)
    assert podman("pull", "--quiet", HTTP, remote, check=False).returncode != 0


def test_skopeo_over_verified_tls(authority: Certificates, tmp_path: Path) -> None:
    """A copy between two repositories asks for both scopes, in repeated fields of a chunked form or of the query."""
    tls = {"certificate": str(authority.certificate), "key": str(authority.key)}
    with WithAccounts(tmp_path / "server", configuration={"http": {"tls": tls}}, ca=authority.ca) as server:
        server.user("alice")
        for project in ("one", "two"):
            server.project(project, owner="alice")
        pat = server.personal_token("alice", "repository:one/*:pull")
        certs = f"{authority.ca.parent}/trusted"
        auth = tmp_path / "auth.json"
        layout = f"oci:{images.write_layout(tmp_path / 'layout', {'v1': images.image('layout')})}:v1"
        one, two = (f"docker://{server.host}/{project}/app:1" for project in ("one", "two"))

        def skopeo(*words: str, stdin: str = "", check: bool = True) -> int:
            environment = {"REGISTRY_AUTH_FILE": str(auth)}
            return run([program("skopeo"), *words], stdin=stdin, check=check, environment=environment).returncode

        both = (f"--src-cert-dir={certs}", f"--dest-cert-dir={certs}")
        login = ("login", f"--cert-dir={certs}", "--password-stdin", server.host)
        assert skopeo("copy", "--quiet", f"--dest-cert-dir={certs}", layout, one, check=False) != 0
        skopeo(*login, "--username=alice", stdin=PASSWORD)
        skopeo("copy", "--quiet", f"--dest-cert-dir={certs}", layout, one)
        skopeo("copy", "--quiet", *both, one, two)
        skopeo("delete", f"--cert-dir={certs}", two)
        answer = server.ask("alice", PASSWORD, offline_token="true").json()
        identity = {"auth": base64.b64encode(b"<token>:").decode(), "identitytoken": answer["refresh_token"]}
        auth.write_text(json.dumps({"auths": {server.host: identity}}))
        skopeo("copy", "--quiet", *both, one, two)
        skopeo("logout", server.host)
        skopeo(*login, "--username=alice", stdin=pat)
        skopeo("inspect", f"--cert-dir={certs}", one)
        assert skopeo("copy", "--quiet", f"--dest-cert-dir={certs}", layout, one.replace(":1", ":2"), check=False) != 0
        assert skopeo("inspect", f"--cert-dir={certs}", two, check=False) != 0


@pytest.mark.parametrize("over", ["http", "tls"])
def test_robots_and_identity_tokens_with_podman_and_skopeo(
    over: str, authority: Certificates, image: images.Image, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each as a robot and by an identity token, and as nobody after the logout; with TLS both verify the certificate."""
    tls = {"certificate": str(authority.certificate), "key": str(authority.key)}
    http, ca = ({"http": {"tls": tls}}, authority.ca) if over == "tls" else ({}, None)
    podman, auth = Tool("podman", tmp_path_factory.mktemp("podman")), tmp_path / "auth.json"
    archive = images.write_docker_archive(tmp_path / "in.tar", image, ["localhost/it:1"])
    podman("load", "--quiet", "--input", archive)

    def skopeo(*words: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        return run([program("skopeo"), *words], stdin=stdin, check=check, environment={"REGISTRY_AUTH_FILE": str(auth)})

    with WithAccounts(tmp_path / "server", configuration=http, ca=ca) as server:
        server.user("alice")
        server.project("team", owner="alice")
        robot = server.robot("ci", "team", "repository:pull", "repository:push")
        remote = f"{server.host}/team/app:1"
        certs = f"--cert-dir={authority.ca.parent}/trusted"
        trust, into = (certs, f"--dest-{certs[2:]}") if over == "tls" else (HTTP, f"--dest-{HTTP[2:]}")
        login = ("login", trust, "--username=robot@team+ci", "--password-stdin", server.host)
        from_here = f"docker-archive:{archive}"
        if over == "tls":
            stranger = podman("login", *login[2:], check=False, stdin=robot)
            assert "certificate" in stranger.stderr, "nobody vouches for it without the folder"

        podman(*login, stdin=robot)
        podman("push", trust, "localhost/it:1", f"docker://{remote}")
        podman("pull", "--quiet", trust, remote)
        assert podman.image_id(remote) == image.config.digest
        podman("logout", server.host)
        assert podman("pull", "--quiet", trust, remote, check=False).returncode != 0
        skopeo(*login, stdin=robot)
        skopeo("copy", "--quiet", into, from_here, f"docker://{remote}")
        skopeo("inspect", trust, f"docker://{remote}")
        skopeo("logout", server.host)
        assert skopeo("inspect", trust, f"docker://{remote}", check=False).returncode != 0

        refresh = server.ask("alice", PASSWORD, offline_token="true").json()["refresh_token"]
        identity = {"auth": base64.b64encode(b"<token>:").decode(), "identitytoken": refresh}
        for place in (podman.home / "auth.json", auth):
            place.write_text(json.dumps({"auths": {server.host: identity}}))
        podman("push", trust, "localhost/it:1", f"docker://{server.host}/team/app:2")
        podman("pull", "--quiet", trust, f"{server.host}/team/app:2")
        skopeo("copy", "--quiet", into, from_here, f"docker://{server.host}/team/app:3")
        skopeo("inspect", trust, f"docker://{server.host}/team/app:3")


def test_skopeo_with_a_client_certificate(authority: Certificates, tmp_path: Path) -> None:
    """No login at all: the folder of certificates that docker and podman have too."""
    clients = ClientAuthority(tmp_path / "clients")
    folder = clients.issue(emails=["alice@example.com"])
    (folder / "ca.crt").write_bytes(authority.ca.read_bytes())
    tls = {"certificate": str(authority.certificate), "key": str(authority.key), "clientcas": [str(clients.ca)]}
    tls["clientauth"] = "verify-client-cert-if-given"
    rules = {"certificates": {"rules": [{"email": "*@example.com", "user": "*"}]}}
    with WithAccounts(tmp_path / "server", rules, configuration={"http": {"tls": tls}}, ca=authority.ca) as server:
        server.user("alice")
        server.project("team", owner="alice")
        layout = f"oci:{images.write_layout(tmp_path / 'layout', {'v1': images.image('layout')})}:v1"
        remote = f"docker://{server.host}/team/app:1"
        run([program("skopeo"), "copy", "--quiet", f"--dest-cert-dir={folder}", layout, remote])
        run([program("skopeo"), "inspect", f"--cert-dir={folder}", remote])
        (folder / "client.cert").unlink()
        (folder / "client.key").unlink()
        assert run([program("skopeo"), "inspect", f"--cert-dir={folder}", remote], check=False).returncode != 0


def test_a_registry2_trusts_our_tokens(place: Place, tmp_path: Path) -> None:
    with WithAccounts(tmp_path / "ours", {"services": ["peer"]}) as server, Client(server) as ours:
        server.user("alice")
        server.project("team", owner="alice")
        bundle = tmp_path / "bundle.pem"
        bundle.write_text(ours.get("/service/certificates.pem").text)
        settings = {"realm": f"{server.url}/service/token", "service": "peer", "issuer": "lading"}
        with Peer(tmp_path / "peer", {"auth": {"token": {**settings, "rootcertbundle": str(bundle)}}}) as peer:
            arguments = {"service": "peer", "scope": "repository:team/app:pull,push"}
            answer = ours.get("/service/token", params=arguments, auth=("alice", PASSWORD))
            bearer = {"authorization": f"Bearer {answer.json()['token']}"}
            with Client(peer, headers=bearer) as theirs:
                theirs.push("team/app", images.image("trusted"), "1")
                assert theirs.manifest("team/app", "1").status_code == 200
                assert theirs.manifest("team/other", "1").status_code == 401
            assert ours.get("/v2/", headers=bearer).status_code == 401
