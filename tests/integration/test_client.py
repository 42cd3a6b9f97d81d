"""The client's commands as a user types them, against Lading and registry:2."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.access import certificates, write_htpasswd
from tests.support.client import User
from tests.support.http import Client
from tests.support.lading import PROGRAM, Lading
from tests.support.peer import Peer
from tests.support.process import run
from tests.support.scripted import Answer, Asked, Scripted, json_answer
from tests.support.server import RegistryServer

PASSWORD = "wonder land?ü"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lading]:
    with Lading(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(params=["lading", pytest.param("registry:2", marks=pytest.mark.peer)], scope="module")
def secure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """TLS by an authority nobody knows, and passwords."""
    folder = tmp_path_factory.mktemp("secure")
    made = certificates(folder / "tls")
    accounts = write_htpasswd(folder / "htpasswd", {"alice": PASSWORD})
    settings = {
        "auth": {"htpasswd": {"realm": "tests", "path": str(accounts)}},
        "http": {"tls": {"certificate": str(made.certificate), "key": str(made.key)}},
    }
    kind = Lading if request.param == "lading" else Peer
    with kind(folder / "server", settings, ca=made.ca) as server:
        yield server


def trust(user: User, server: RegistryServer) -> None:
    """As docker is told of an authority."""
    folder = user.home / ".docker" / "certs.d" / server.host
    folder.mkdir(parents=True)
    assert server.ca
    shutil.copy(server.ca, folder / "ca.crt")


def blobs(user: User) -> int:
    return len(list((user.store / "blobs").rglob("*")))


def test_an_image_goes_out_comes_in_and_is_removed(user: User, name: str, tmp_path: Path) -> None:
    image = images.image(name, (3000, 2_000_000), docker=True)
    layout = images.write_layout(tmp_path / "layout", {"x": image})
    assert user("push", layout, f"{name}:v1") == f"v1: digest: {image.digest} size: {image.manifest.size}\n"
    for status in ("Downloaded newer image for", "Image is up to date for"):
        said = user("pull", f"{name}:v1").splitlines()
        assert said == [f"Digest: {image.digest}", f"Status: {status} {name}:v1", f"{name}:v1"]
    listed = user("images").splitlines()
    assert listed[0].split() == ["REPOSITORY", "TAG", "ID", "CREATED", "SIZE"]
    assert listed[1].split()[:3] == [name, "v1", image.config.digest[7:19]]
    assert user("images", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}") == f"{name}:v1 {image.digest}\n"
    assert json.loads(user("images", "--json"))[0]["Size"] == "2.01MB"
    assert user("images", "-q", "--no-trunc") == f"{image.config.digest}\n"
    user("tag", f"{name}:v1", f"{name}:v2")
    user("tag", f"{name}:v1", f"{name}-more:v3")
    assert user("push", "--all-tags", "--quiet", name).splitlines() == [f"{name}:v1", f"{name}:v2"]
    assert user("push", f"{name}-more:v3").startswith("v3: digest:")
    assert user("tags", name).split() == ["v1", "v2"]
    user("rmi", f"{name}:v1", f"{name}:v2")
    assert blobs(user) > 3
    user("rmi", image.config.digest[7:19])
    assert user("images", "-q") == ""
    assert blobs(user) == 1
    assert "no image" in user("rmi", f"{name}:v1", status=3)
    assert "no image" in user("rmi", image.config.digest[7:], status=3)
    assert f"has no {name}:v1; it has nothing" in user("tag", f"{name}:v1", "x", status=3)


def test_many_platforms(user: User, name: str, tmp_path: Path) -> None:
    platforms = ("linux/amd64", "linux/arm64/v8", "linux/riscv64")
    index = images.index(name, platforms)
    user("push", images.write_layout(tmp_path / "in", {"x": index}), name)
    assert index.images[2].digest in user("pull", "--platform", "linux/riscv64", name)
    assert f"Digest: {index.digest}\nStatus: Image is up to date" in user("pull", "--platform", "linux/riscv64", name)
    assert "Downloaded newer" in user("pull", "--platform", "linux/amd64", name)
    said = user("pull", "--platform", "linux/s390x", name, status=3)
    assert "there is linux/amd64, linux/arm64/v8, linux/riscv64" in said
    user("pull", "--all-platforms", "--output", tmp_path / "out", name)
    assert json.loads((tmp_path / "out" / "index.json").read_text())["manifests"][0]["digest"] == index.digest
    found = json.loads(user("inspect", "--platform", "linux/arm64", name))
    assert found["Digest"] == index.digest
    assert found["ImageDigest"] == index.images[1].digest
    assert found["Platforms"] == list(platforms)
    assert found["Labels"] == {"seed": f"{name}/linux/arm64/v8"}
    assert user("inspect", "--format", "{{.Os}} {{json .Platforms}}", name) == f"linux {json.dumps(platforms)}\n"
    for template, printed in (
        ('{{index .Labels "seed"}}', f"{name}/linux/amd64"),
        ('{{index .Labels "other"}}', ""),
        ("{{index .Platforms 1}}", "linux/arm64/v8"),
        (r'{{join .Platforms "\n"}}', "\n".join(platforms)),
        ("{{len .Layers}} {{upper .Os}} {{json .Os}}", '1 LINUX "linux"'),
    ):
        assert user("inspect", "--platform", "linux/amd64", "--format", template, name) == f"{printed}\n"
    for template in (
        "{{range .Layers}}",
        "{{len}}",
        "{{index .Platforms 9}}",
        "{{index .Labels x}}",
        "{{.Os | upper}}",
    ):
        assert template in user("inspect", "--format", template, name, status=1)
    assert user("manifest", name).encode() == index.manifest.data
    assert user("manifest", "--digest", "--platform", "arm64", name) == f"{index.images[1].digest}\n"
    assert user("inspect", "--config", "--platform", "arm64", name).encode() == index.images[1].config.data


def test_every_tag_of_a_repository_is_copied_by_mounting(
    user: User, registry: Lading, name: str, tmp_path: Path
) -> None:
    image = images.image(name, (300_000,))
    signature = images.artifact(name, image.manifest.descriptor())
    with Client(registry) as client:
        for tag in ("v1.0", "v1.1", "v2.0", "latest"):
            client.push(name.partition("/")[2], image if tag == "v1.0" else images.image(tag), tag)
        client.push(name.partition("/")[2], signature)
    said = user("copy", "--referrers", "--tags", "v1.*", name, f"{name}-copy")
    assert "2 of 2 tags copied" in said
    assert "0 blobs copied (0B)" in said
    assert user("tags", f"{name}-copy").split() == ["v1.0", "v1.1"]
    with Client(registry) as client:
        listed = client.get(f"/v2/{name.partition('/')[2]}-copy/referrers/{image.digest}").json()["manifests"]
        assert [one["digest"] for one in listed] == [signature.digest]
    assert "2 of 4 tags copied, 2 were there" in user("copy", "--all-tags", name, f"{name}-copy")
    assert user("tags", "--like", "v1.*", f"{name}-copy").split() == ["v1.0", "v1.1"]
    assert f"{name.partition('/')[2]}-copy\n" in user("repos", registry.host)
    assert user("repos", f"{registry.host}/nobody") == ""
    assert user("copy", f"{name}:v1.0", f"oci:{tmp_path}/folder:here", "--quiet") == f"{image.digest}\n"
    assert user("copy", f"oci:{tmp_path}/folder:here", f"archive:{tmp_path}/a.tar:x/y:1", "-q") == f"{image.digest}\n"
    assert user("inspect", f"archive:{tmp_path}/a.tar", "--format", "{{.Digest}}") == f"{image.digest}\n"
    assert "no tag like" in user("copy", "--tags", "x*", name, f"{name}-copy", status=3)
    assert "neither tag nor digest" in user("copy", "--all-tags", f"{name}:v1.0", f"{name}-copy", status=2)
    for target in (f"{name}-copy:v2", f"oci:{tmp_path}/folder:v2"):
        assert "tags keep their names" in user("copy", "--all-tags", name, target, status=2)


def test_what_docker_save_wrote_is_pushed_compressed(user: User, name: str, tmp_path: Path) -> None:
    image = images.image(name, (3000, 300_000), docker=True)
    saved = images.write_docker_archive(tmp_path / "saved.tar", image, ["local/app:1"])
    user("push", saved, f"{name}:1")
    user("copy", "--all-tags", f"archive:{saved}", f"oci:{tmp_path}/tags")
    assert user("tags", f"oci:{tmp_path}/tags") == "1\n"
    found = json.loads(user("inspect", f"{name}:1"))
    assert user("inspect", "--config", f"{name}:1").encode() == image.config.data
    assert all(layer["MediaType"].endswith("tar.gzip") for layer in found["Layers"])
    user("pull", f"{name}:1", "-o", tmp_path / "back.tar")
    with tarfile.open(tmp_path / "back.tar") as tar:
        [listed] = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert listed["RepoTags"] == [f"{name}:1"]
    assert len(listed["Layers"]) == 2


def test_what_came_from_a_registry_is_not_sent_there(user: User, registry: Lading, name: str) -> None:
    """What was pulled from one of its repositories, and pushed to another under a new name."""
    with Client(registry) as client:
        client.push(name.partition("/")[2], images.image(name, (3000, 2_000_000)), "1")
    user("pull", f"{name}:1")
    user("tag", f"{name}:1", f"{name}-own:2")
    user("push", f"{name}-own:2")
    asked = [one for one in registry.access_log() if "-own/blobs/uploads/" in one.path]
    assert [(one.method, one.status) for one in asked] == [("POST", 201)] * 3
    assert user("inspect", f"{name}-own:2", "--format", "{{.Digest}}")


def test_an_archive_of_every_tag(user: User, registry: Lading, name: str, tmp_path: Path) -> None:
    """Each image has the names that lead to it, and no other."""
    one, two, index = images.image("one"), images.image("two"), images.index("index", ("linux/amd64", "linux/arm64"))
    with Client(registry) as client:
        for tag, content in (("v1", one), ("same", one), ("v2", two), ("many", index)):
            client.push(name.partition("/")[2], content, tag)
    user("pull", "--all-tags", "--all-platforms", "--output", tmp_path / "pulled.tar", name)
    user("copy", "--all-tags", name, f"archive:{tmp_path}/copied.tar")
    for file in ("pulled.tar", "copied.tar"):
        with tarfile.open(tmp_path / file) as tar:
            listed = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        user("copy", "--tags", "v*", f"archive:{tmp_path}/{file}", f"oci:{tmp_path}/{file}-folder")
        user("copy", "--all-tags", f"oci:{tmp_path}/{file}-folder", f"{name}-{file[:6]}")
        assert user("tags", f"oci:{tmp_path}/{file}-folder") == user("tags", f"{name}-{file[:6]}") == "v1\nv2\n"
        called = {entry["Config"][-64:]: sorted(entry["RepoTags"]) for entry in listed}
        assert called == {
            one.config.digest[7:]: [f"{name}:same", f"{name}:v1"],
            two.config.digest[7:]: [f"{name}:v2"],
            index.images[0].config.digest[7:]: [f"{name}:many"],
            index.images[1].config.digest[7:]: [],
        }


def test_what_differs(user: User, name: str, tmp_path: Path) -> None:
    for tag in ("one", "two"):
        user("push", images.write_layout(tmp_path / tag, {"x": images.image(tag)}), f"{name}:{tag}")
    assert user("diff", f"{name}:one", f"{name}:one").startswith("The same image")
    said = user("diff", f"{name}:one", f"{name}:two")
    assert '- config.Labels.seed: "one"' in said
    assert '+ config.Labels.seed: "two"' in said
    user("diff", "--exit-code", f"{name}:one", f"{name}:two", status=1)


def test_deleting(user: User, name: str, tmp_path: Path) -> None:
    image = images.image(name)
    layout = images.write_layout(tmp_path / "in", {"x": image})
    for tag in ("a", "b", "c"):
        user("push", layout, f"{name}:{tag}")
    user("delete", f"{name}:a")
    assert user("tags", name).split() == ["b", "c"]
    assert "never guessed" in user("delete", name, status=1)
    assert "--yes goes on without asking" in user("delete", "--manifest", f"{name}:b", status=1)
    user("delete", "--yes", "--manifest", f"{name}:b")
    assert user("tags", name) == ""
    user("push", layout, f"{name}:d")
    assert "x-is-not" in user("delete", f"{name}:x-is-not", f"{name}:d", f"{name}-neither:x", status=3)
    assert user("tags", name) == ""


def test_searching(user: User, registry: Lading, name: str, tmp_path: Path) -> None:
    user("push", images.write_layout(tmp_path / "in", {"x": images.image(name)}), name)
    registry.run("describe", "--stars=5", "--description=A thing", name.partition("/")[2])
    found = user("search", "--format", "{{.Name}}|{{.Description}}|{{.StarCount}}", f"{registry.host}/test-searching")
    assert found == "test-searching|A thing|5\n"
    assert user("search", "-f", "stars=6", "--format", "{{.Name}}", f"{registry.host}/test-searching") == ""
    assert "is not known" in user("search", "-f", "x=1", f"{registry.host}/x", status=1)


def test_errors_say_what_to_do(user: User, name: str, tmp_path: Path) -> None:
    user("push", images.write_layout(tmp_path / "in", {"x": images.image("x")}), f"{name}:1.24.1")
    said = user("pull", f"{name}:1.24.10", status=3)
    assert said.endswith("there is 1.24.1\n")
    assert "no image" in user("push", f"{name}:nothing", status=3)
    assert "cannot reach" in user("pull", "127.0.0.1:1/x", status=5)
    assert "lower-case: library/foo" in user("pull", "Foo", status=1)
    assert f"write {name}\n" in user("pull", f"https://{name}", status=1)
    assert "no file or folder" in user("push", tmp_path / "nothing", name, status=1)
    assert "no OCI image layout" in user("push", tmp_path, name, status=1)
    assert "exclude each other" in user("pull", "-a", "--platform", "x", name, status=2)
    assert "no field 'Nme'" in user("inspect", "--format", "{{.Nme}}", f"{name}:1.24.1", status=1)


def test_what_a_registry_says_moves_no_terminal(user: User) -> None:
    """Texts of others' in a table, and numbers that are none."""
    counts: tuple[Any, ...] = ("many", 1e999, [], 7)
    found = [{"name": "a\x1b[31m", "description": "x\x1b]0;y\x07", "star_count": count} for count in counts]
    with Scripted(lambda asked: json_answer({"results": found})) as far_side:
        said = user("search", f"{far_side.host}/x")
        assert "\x1b" not in said
        assert [line.split()[2] for line in said.splitlines()[1:]] == ["0", "0", "0", "7"]
        assert len(user("search", "-f", "stars=7", f"{far_side.host}/x").splitlines()) == 2
        assert "is not known" in user("search", "-f", "stars=²", f"{far_side.host}/x", status=1)


def test_an_image_of_schema_1(user: User) -> None:
    """Who pulls is told what makes it readable; pushing is nothing that they can do."""
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    with Scripted(lambda asked: Answer(200, b'{"schemaVersion": 1, "fsLayers": []}', {"content-type": kind})) as far:
        said = user("pull", f"{far.host}/old:1", status=1)
    assert "the image must be pushed once more with Docker 1.10 or later" in said
    assert "skopeo copy --format v2s2" in said


def test_a_configuration_without_end(user: User) -> None:
    """JSON that is nested deeper than anybody reads is a blob like others; it is kept, and told nothing of."""
    deep = images.Blob(images.CONFIG, b'{"rootfs": {}, "a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    document = {"schemaVersion": 2, "mediaType": images.MANIFEST, "config": deep.descriptor(), "layers": []}
    raw = json.dumps(document).encode()

    def answer(asked: Asked) -> Answer:
        if "/manifests/" in asked.path:
            return Answer(200, raw, {"content-type": images.MANIFEST})
        return Answer(200, deep.data)

    with Scripted(answer) as far_side:
        assert json.loads(user("inspect", f"{far_side.host}/x"))["Layers"] == []
        assert "The same image" in user("diff", f"{far_side.host}/x", f"{far_side.host}/x:1")
        user("pull", f"{far_side.host}/x")
    assert len(user("images").splitlines()) == 2


def test_words_that_are_no_login(user: User, registry: Lading) -> None:
    login = ["login", registry.host, "--password-stdin", "-u"]
    assert "no colon" in user(*login, "a:b", stdin="x", status=1)
    assert "UTF-8" in user(*login, os.fsdecode(b"\xff"), stdin="x", status=1)
    for command, said in (
        (rf"printf '\xff' | {PROGRAM} {' '.join(login)} a", "UTF-8"),
        (f"{PROGRAM} login {registry.host} <&-", "no standard input"),
        (f"{PROGRAM} delete {registry.host}/x@sha256:{'0' * 64} <&-", "--yes goes on"),
    ):
        done = run(["bash", "-c", command], environment=user.shell, check=False)
        assert (done.returncode, done.stderr.startswith("lading: ")) == (1, True)
        assert said in done.stderr


@pytest.mark.parametrize("command", ["repos {host} --json", "manifest {host}/out:1"])
def test_output_that_cannot_be_written(user: User, registry: Lading, tmp_path: Path, command: str) -> None:
    user("push", images.write_layout(tmp_path / "in", {"x": images.image("out")}), f"{registry.host}/out:1")
    words = f"{PROGRAM} {command.format(host=registry.host)}"
    for target, status, said in ((" > /dev/full", 1, "No space left"), (" >&-", 0, ""), (" | true", 0, "")):
        done = run(["bash", "-c", words + target], environment=user.shell, check=False)
        assert done.returncode == status
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert "ignored" not in done.stderr


def test_a_login_to_a_registry_whose_certificate_must_be_trusted_first(
    user: User, secure: RegistryServer, tmp_path: Path
) -> None:
    image = images.image("secure")
    layout = images.write_layout(tmp_path / "in", {"x": image})
    name = f"{secure.host}/secure/{tmp_path.name}"
    said = user("login", "-u", "alice", "--password-stdin", secure.host, stdin=PASSWORD, status=5)
    assert f"/etc/docker/certs.d/{secure.host}/ca.crt" in said
    trust(user, secure)
    assert f"lading login {secure.host}" in user("push", layout, name, status=4)
    config = user.home / ".docker" / "config.json"
    assert "wrong" not in user("login", "-u", "alice", "--password-stdin", secure.host, stdin="wrong", status=4)
    assert not config.exists()
    assert user("login", "-u", "alice", "--password-stdin", secure.host, stdin=f"{PASSWORD}\n") == "Login Succeeded\n"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert user("push", layout, name)
    assert user("pull", name).splitlines()[0] == f"Digest: {image.digest}"
    assert "Removed" in user("logout", f"https://{secure.host}/v2/")
    assert "Not logged in" in user("logout", secure.host)
    assert "lading login" in user("pull", name, status=4)


def test_a_certificate_in_ssl_cert_file_and_not_looking_at_all(user: User, secure: RegistryServer) -> None:
    user.environment["SSL_CERT_FILE"] = str(secure.ca)
    assert "lading login" in user("tags", f"{secure.host}/x", status=4)
    user.environment["SSL_CERT_FILE"] = os.devnull
    assert "is not trusted" in user("tags", f"{secure.host}/x", status=5)
    assert "lading login" in user("tags", "--insecure", f"{secure.host}/x", status=4)
    assert "a login is needed to delete x:1" in user("delete", "--insecure", f"{secure.host}/x:1", status=4)


def test_a_password_is_asked_for_or_warned_about(user: User, secure: RegistryServer) -> None:
    trust(user, secure)
    done = user.run("login", "-u", "alice", "-p", PASSWORD, secure.host)  # as a program, with its real streams
    assert "use --password-stdin" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert done.returncode == 0
    user("logout", secure.host)
    prompted = user.run("login", secure.host, stdin=f"alice\n{PASSWORD}\n")
    assert prompted.stdout.endswith("Login Succeeded\n"), prompted.stderr
    assert "needs --username" in user("login", "--password-stdin", secure.host, stdin="x", status=2)
    user("logout", secure.host)
    for given in ("", "alice\n"):
        assert "give the password to --password-stdin" in user.run("login", secure.host, stdin=given).stderr


def test_a_login_that_is_there_is_tried_first(user: User, secure: RegistryServer) -> None:
    trust(user, secure)
    user("login", "-u", "alice", "--password-stdin", secure.host, stdin=PASSWORD)
    done = user.run("login", secure.host)
    assert (done.returncode, done.stdout) == (0, "Login Succeeded\n"), done.stderr
    assert "Authenticating with the login of alice that is here already" in done.stderr
    assert "does not know this user" in user("login", "-u", "bob", "--password-stdin", secure.host, stdin="x", status=4)
    file = user.home / ".docker" / "config.json"
    old = base64.b64encode(b"alice:old").decode()
    file.write_text(json.dumps({"auths": {secure.host: {"auth": old}}}))
    asked = user.run("login", secure.host, stdin=f"alice\n{PASSWORD}\n")
    assert asked.returncode == 0
    assert "does not know this user with this password\n" in asked.stderr
    assert json.loads(file.read_text())["auths"][secure.host]["auth"] != old


def test_a_logout_that_a_helper_refuses(user: User, tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-holds"
    helper.write_text("""#!/bin/sh
cat > /dev/null
case $1 in get) echo '{"Username": "alice", "Secret": "secret"}';; *) echo locked; exit 1;; esac
""")
    helper.chmod(0o755)
    user.environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    (user.home / ".docker").mkdir(parents=True)
    (user.home / ".docker" / "config.json").write_text('{"credsStore": "holds", "auths": {"r.lab": {}}}')
    for _ in range(2):
        assert "docker-credential-holds did not erase it: locked" in user("logout", "r.lab", status=1)


def test_a_login_that_stays_after_a_logout(user: User) -> None:
    """podman's file is read, and left to podman."""
    file = user.home / "run" / "containers" / "auth.json"
    file.parent.mkdir(parents=True)
    file.write_text(text := '{"auths": {"r.lab": {"auth": "YWxpY2U6c2VjcmV0"}}}')
    done = user.run("logout", "r.lab")
    assert (done.returncode, done.stdout) == (0, "")
    assert (
        done.stderr == f"lading: {file} has a login to r.lab that goes on being used; podman logout r.lab forgets it\n"
    )
    assert file.read_text() == text
    user.environment["DOCKER_AUTH_CONFIG"] = text
    assert "DOCKER_AUTH_CONFIG has a login" in user.run("logout", "r.lab").stderr
    assert user("logout", "other.lab") == "Not logged in to other.lab\n"


def test_a_login_is_kept_in_the_file_that_was_named(user: User, registry: Lading) -> None:
    """As podman does: what is read first is also what a new login changes."""
    file = user.home / "auth.json"
    user("login", "-u", "docker", "--password-stdin", registry.host, stdin="secret")
    user.environment["REGISTRY_AUTH_FILE"] = str(file)
    for name in ("alice", "bob"):
        user("login", "-u", name, "--password-stdin", registry.host, stdin="secret")
        pair = json.loads(file.read_text())["auths"][registry.host]["auth"]
        assert base64.b64decode(pair).decode() == f"{name}:secret"
    done = user.run("logout", registry.host)
    assert done.stdout == f"Removed the login to {registry.host}\n"
    assert f"config.json has a login to {registry.host} that goes on being used; docker logout" in done.stderr
    assert json.loads(file.read_text())["auths"] == {}


def test_a_broken_config_is_told_before_a_password_travels(user: User, registry: Lading) -> None:
    folder = user.home / ".docker"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"auths": ')
    said = user("login", "-u", "a", "--password-stdin", registry.host, stdin="b", status=1)
    assert "is not JSON (line 1" in said
    assert (folder / "config.json").read_text() == '{"auths": '


def test_a_pull_that_is_counted_is_not_made_twice_and_a_limit_that_is_near_is_told(user: User) -> None:
    """A HEAD costs nothing where pulls are counted; what is here already needs no more than that."""
    image = images.image("limited")
    blobs = {one.digest: one.data for one in image.blobs}
    limits = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "7;w=21600"}

    def answer(asked: Asked) -> Answer:
        kind, _, reference = asked.path.rpartition("/")
        if kind.endswith("/manifests"):
            headers = {"content-type": images.MANIFEST, "docker-content-digest": image.digest, **limits}
            return Answer(200, image.manifest.data, headers)
        return Answer(200, blobs.get(reference, b""))

    with Scripted(answer) as far_side:
        done = user.run("pull", f"{far_side.host}/x")
        assert "allows 7 more pulls from here in the next 6 hours" in done.stderr
        assert "up to date" in user("pull", f"{far_side.host}/x")
        assert len([path for path in far_side.paths("GET") if "/manifests/" in path]) == 1
        assert len([path for path in far_side.paths("HEAD") if "/manifests/" in path]) == 2


@pytest.mark.parametrize("words", [["--version"], ["tags", "--help"], ["images", "-q"], ["pull", "--help"]])
def test_a_command_starts_without_what_it_does_not_need(user: User, words: list[str]) -> None:
    """What makes a start slow is imports; their number does not depend on how busy a machine is."""
    user.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    done = user.run(*words)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "click" in imported
    assert not imported & {"httpx2", "rich", "uvicorn", "sqlalchemy", "pydantic", "cryptography", "lading.registry"}
    assert not imported & {"asyncio", "uvloop", "tarfile"}
    assert len(imported) < 400


def test_a_request_is_made_without_what_it_does_not_need(user: User, registry: Lading) -> None:
    """A command over the network: its loop, an HTTP client, and nothing that only others need."""
    user.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    done = user.run("tags", f"{registry.host}/nothing/here")
    assert done.returncode == 3
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert {"asyncio", "httptools"} <= imported
    roots = {name.partition(".")[0] for name in imported}
    assert not roots & {"httpx2", "httpcore2", "h11", "anyio", "uvloop", "email", "http"}
    assert not roots & {"rich", "pydantic", "cryptography", "sqlalchemy", "uvicorn", "alembic", "msal", "botocore"}
    assert not imported & {"tarfile", "lading.registry", "lading.config", "lading.stores"}
