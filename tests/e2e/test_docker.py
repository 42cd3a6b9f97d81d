"""docker: an engine of the tests' own pushes to the registry, forgets, and pulls back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import PASSWORD, USER, Shelf, not_in_the_peer
from tests.e2e.engine import Engine, docker_clients
from tests.support import images
from tests.support.access import TokenServer
from tests.support.http import Client
from tests.support.packages import program
from tests.support.process import run
from tests.support.server import RegistryServer

Load = Callable[..., images.Image]

clients = pytest.mark.parametrize("client", docker_clients())


@pytest.fixture
def load(engine: Engine, tmp_path: Path) -> Iterator[Load]:
    """Load an image into the engine under the names given; afterwards they are removed."""
    known: list[str] = []

    def loaded(seed: object, *names: str, layers: tuple[int, ...] = (5000, 80_000), platform: str = "") -> images.Image:
        image = images.image(seed, layers, platform=platform or "linux/amd64", docker=True)
        archive = images.write_docker_archive(tmp_path / "load.tar", image, names)
        engine.docker("load", "--quiet", "--input", archive)
        known.extend(names)
        return image

    yield loaded
    if known:
        engine.docker("image", "rm", "--force", *known, check=False)


def pushed_digest(push: subprocess.CompletedProcess[str]) -> str:
    """The digest ``docker push`` says at its end."""
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", push.stdout)
    assert found, push.stdout
    return found[1]


@clients
def test_push_then_pull_by_tag_and_by_digest(
    registry: RegistryServer, engine: Engine, load: Load, name: str, client: str
) -> None:
    tagged = f"{registry.host}/{name}:1.0"
    image = load(name, tagged)
    digest = pushed_digest(engine.docker("push", tagged, client=client))
    engine.forget(tagged)

    engine.docker("pull", tagged, client=client)
    assert engine.image_id(tagged) == image.config.digest
    engine.forget(tagged)

    pinned = f"{registry.host}/{name}@{digest}"
    engine.docker("pull", pinned, client=client)
    assert engine.image_id(pinned) == image.config.digest
    engine.forget(pinned)


def test_pulled_content_is_what_was_pushed(
    registry: RegistryServer, engine: Engine, load: Load, name: str, tmp_path: Path
) -> None:
    tagged = f"{registry.host}/{name}:1"
    image = load(name, tagged, layers=(10, 0, 300_000))
    engine.docker("push", tagged)
    engine.forget(tagged)
    engine.docker("pull", tagged)
    engine.docker("create", "--name", tmp_path.name, tagged, "/none")
    try:
        engine.docker("cp", f"{tmp_path.name}:/content/2.bin", tmp_path / "2.bin")
    finally:
        engine.docker("rm", tmp_path.name)
    assert (tmp_path / "2.bin").read_bytes() == b"".join(images.noise(f"{name}/2", 300_000))
    assert engine.image_id(tagged) == image.config.digest


def test_all_tags_are_pushed_and_pulled(registry: RegistryServer, engine: Engine, load: Load, name: str) -> None:
    repository = f"{registry.host}/{name}"
    names = [f"{repository}:{tag}" for tag in ("1", "2", "latest")]
    for each in names:
        load(each, each)
    ids = [engine.image_id(each) for each in names]
    engine.docker("push", "--all-tags", repository)
    engine.forget(*names)
    engine.docker("pull", "--all-tags", repository)
    assert [engine.image_id(each) for each in names] == ids


def test_a_second_push_sends_no_layer(registry: RegistryServer, engine: Engine, load: Load, name: str) -> None:
    first, second = f"{registry.host}/{name}:1", f"{registry.host}/{name}:2"
    image = load(name, first, second)
    engine.docker("push", first)
    before = len(registry.access_log())
    said = engine.docker("push", second).stdout
    assert said.count("Layer already exists") == len(image.layers)
    later = registry.access_log()[before:]
    assert not [line for line in later if "/blobs/uploads/" in line.path]
    assert [line.status for line in later if line.method == "PUT"] == [201]


def test_another_repository_mounts_the_layers(registry: RegistryServer, engine: Engine, load: Load, name: str) -> None:
    source, target = f"{registry.host}/{name}/from:1", f"{registry.host}/{name}/to:1"
    image = load(name, source, target)
    engine.docker("push", source)
    said = engine.docker("push", target).stdout
    assert said.count(f"Mounted from {name}/from") == len(image.layers)
    sent = [line for line in registry.access_log() if line.path.startswith(f"/v2/{name}/to/blobs/uploads/")]
    mounts = [line for line in sent if "mount=" in line.path]
    assert [line.status for line in mounts] == [201] * len(image.layers)
    assert [line.method for line in sent].count("PUT") == 1, "more than the configuration was uploaded again"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_layer_of_a_gigabyte(registry: RegistryServer, engine: Engine, name: str, tmp_path: Path) -> None:
    """Docker pulls what skopeo pushed, and pushes it under another host name, so that it has to send the bytes."""
    digest = images.write_big_layout(tmp_path / "big", name, 1_000_000_000)
    skopeo = (program("skopeo"), "copy", "--quiet", "--dest-tls-verify=false")
    run([*skopeo, f"oci:{tmp_path}/big:latest", f"docker://{registry.host}/{name}:big"])
    shutil.rmtree(tmp_path / "big")
    pinned, again = f"{registry.host}/{name}@{digest}", f"localhost:{registry.port}/{name}/again:big"
    engine.docker("pull", pinned, timeout=120)
    engine.docker("tag", pinned, again)
    try:
        engine.docker("push", again, timeout=120)
    finally:
        engine.forget(pinned, again)
    with Client(registry) as client:
        manifest = client.manifest(f"{name}/again", "big").json()
    assert manifest["layers"][0]["size"] > 1_000_000_000
    sent = [line.method for line in registry.access_log() if line.path.startswith(f"/v2/{name}/again/blobs/uploads/")]
    assert sent.count("PATCH") == 2, "the layer and the configuration"


@clients
def test_an_index_made_by_docker_manifest(
    registry: RegistryServer, engine: Engine, load: Load, name: str, client: str
) -> None:
    multi = f"{registry.host}/{name}:multi"
    platforms = ("linux/amd64", "linux/arm64")
    parts = [f"{multi}-{platform.partition('/')[2]}" for platform in platforms]
    loaded = [load(part, part, platform=platform) for part, platform in zip(parts, platforms, strict=True)]
    for part in parts:
        engine.docker("push", part, client=client)
    engine.docker("manifest", "create", "--insecure", multi, *parts, client=client)
    engine.docker("manifest", "annotate", "--variant", "v8", multi, parts[1], client=client)
    pushed = engine.docker("manifest", "push", "--insecure", "--purge", multi, client=client).stdout.strip()
    engine.forget(*parts)

    seen = json.loads(engine.docker("manifest", "inspect", "--insecure", multi, client=client).stdout)
    assert [one["platform"]["architecture"] for one in seen["manifests"]] == ["amd64", "arm64"]
    for platform, image in zip(platforms, loaded, strict=True):
        engine.docker("pull", "--platform", platform, multi, client=client)
        assert engine.image_id(multi) == image.config.digest
        engine.forget(multi)
    engine.docker("pull", f"{registry.host}/{name}@{pushed}", client=client)
    engine.forget(f"{registry.host}/{name}@{pushed}")


def test_an_oci_index_is_pulled(registry: RegistryServer, engine: Engine, name: str) -> None:
    index = images.index(name, ("linux/arm64/v8", "linux/amd64"))
    with Client(registry) as client:
        client.push(name, index, "multi")
    engine.docker("pull", f"{registry.host}/{name}:multi")
    assert engine.image_id(f"{registry.host}/{name}:multi") == index.images[1].config.digest
    engine.forget(f"{registry.host}/{name}:multi")


def test_delete_by_digest_as_tutorials_do_with_curl(
    registry: RegistryServer, engine: Engine, load: Load, name: str
) -> None:
    tagged = f"{registry.host}/{name}:old"
    load(name, tagged)
    digest = pushed_digest(engine.docker("push", tagged))
    engine.forget(tagged)
    url = f"{registry.url}/v2/{name}/manifests"
    curl = [program("curl"), "--silent", "--show-error"]
    accept = ["--header", f"Accept: {images.DOCKER_MANIFEST}"]

    head = run([*curl, "--head", *accept, f"{url}/old"]).stdout
    found = re.search(r"(?m)^Docker-Content-Digest: (\S+)", head)
    assert found, f"no Docker-Content-Digest as the tutorials grep it:\n{head}"
    assert found[1] == digest
    assert _status(*curl, "-X", "DELETE", f"{url}/{digest}") == "202"
    assert _status(*curl, *accept, f"{url}/old") == "404"
    assert _status(*curl, *accept, f"{url}/{digest}") == "404"
    gone = engine.docker("pull", tagged, check=False)
    assert gone.returncode != 0
    assert "manifest unknown" in gone.stderr or "not found" in gone.stderr


def _status(*curl: str) -> str:
    """The status code curl got."""
    return run([*curl, "--output", "/dev/null", "--write-out", "%{http_code}"]).stdout


def test_an_image_built_on_one_pulled_runs_elsewhere(
    registry: RegistryServer, engine: Engine, load: Load, name: str, tmp_path: Path
) -> None:
    base, built = f"{registry.host}/{name}:base", f"{registry.host}/{name}:built"
    load(name, base)
    engine.docker("push", base)
    engine.forget(base)
    shutil.copy(program("tini-static"), tmp_path / "tini")
    (tmp_path / "Dockerfile").write_text(f'FROM {base}\nCOPY tini /\nCMD ["/tini", "--version"]\n')
    engine.docker("build", "--tag", built, tmp_path, timeout=60)
    engine.docker("push", built)
    engine.forget(base, built)
    ran = engine.docker("run", "--rm", "--network=none", "--pull=always", built)
    engine.forget(built)
    assert ran.stdout.startswith("tini version")


@not_in_the_peer
@clients
def test_search_and_its_filters(registry: RegistryServer, engine: Engine, shelf: Shelf, client: str) -> None:
    def search(*options: str) -> list[str]:
        form = "{{.Name}}|{{.Description}}|{{.StarCount}}|{{.IsOfficial}}"
        term = f"localhost:{registry.port}/{shelf.term}"
        return engine.docker("search", "--format", form, *options, term, client=client).stdout.splitlines()

    official, popular = f"{shelf.official}|Ours|50|[OK]", f"{shelf.popular}|A tool many like|3|"
    plain = f"{shelf.plain}||0|"
    assert search() == [official, popular, plain]
    assert search("--filter", "is-official=true") == [official]
    assert search("--filter", "is-official=false") == [popular, plain]
    assert search("--filter", "stars=3") == [official, popular]
    assert search("--filter", "stars=4", "--filter", "is-official=true") == [official]
    assert search("--limit", "2") == [official, popular]


@not_in_the_peer
def test_search_for_what_is_not_there(registry: RegistryServer, engine: Engine) -> None:
    found = engine.docker("search", "--format", "{{.Name}}", f"{registry.host}/no-such-thing-anywhere")
    assert found.stdout == ""


@clients
def test_login_push_logout(guarded: RegistryServer, engine: Engine, load: Load, name: str, client: str) -> None:
    tagged = f"{guarded.host}/{name}:1"
    image = load(name, tagged)
    nobody = engine.docker("push", tagged, client=client, check=False)
    assert nobody.returncode != 0
    assert "no basic auth credentials" in nobody.stderr

    login = ("login", "--username", USER, "--password-stdin", guarded.host)
    wrong = engine.docker(*login, client=client, stdin="wrong", check=False)
    assert wrong.returncode != 0
    assert "401" in wrong.stderr

    engine.docker(*login, client=client, stdin=PASSWORD)
    engine.docker("push", tagged, client=client)
    engine.forget(tagged)
    engine.docker("pull", tagged, client=client)
    assert engine.image_id(tagged) == image.config.digest
    engine.forget(tagged)

    engine.docker("logout", guarded.host, client=client)
    assert engine.docker("pull", tagged, client=client, check=False).returncode != 0


def test_over_tls_with_a_password(secure: RegistryServer, engine: Engine, load: Load, name: str) -> None:
    """The engine does not check certificates on loopback, it only prefers https there; podman checks them."""
    tagged = f"{secure.host}/{name}:1"
    image = load(name, tagged)
    engine.docker("login", "--username", USER, "--password-stdin", secure.host, stdin=PASSWORD)
    try:
        engine.docker("push", tagged)
        engine.forget(tagged)
        engine.docker("pull", tagged)
    finally:
        engine.docker("logout", secure.host)
    assert engine.image_id(tagged) == image.config.digest


def test_an_outside_token_server(
    tokened: RegistryServer, tokens: TokenServer, engine: Engine, load: Load, name: str
) -> None:
    tagged = f"{tokened.host}/{name}:1"
    image = load(name, tagged)
    assert engine.docker("push", tagged, check=False).returncode != 0
    login = ("login", "--username", USER, "--password-stdin", tokened.host)
    wrong = engine.docker(*login, stdin="wrong", check=False)
    assert wrong.returncode != 0
    assert "wrong user or password" in wrong.stderr
    engine.docker(*login, stdin=PASSWORD)
    try:
        engine.docker("push", tagged)
    finally:
        engine.docker("logout", tokened.host)
    assert (USER, f"repository:{name}:push,pull") in tokens.asked
    engine.forget(tagged)
    engine.docker("pull", tagged)
    assert ("", f"repository:{name}:pull") in tokens.asked
    assert engine.image_id(tagged) == image.config.digest
