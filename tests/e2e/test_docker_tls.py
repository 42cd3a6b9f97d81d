"""docker over TLS that is verified: in a network of its own, since docker never verifies a loopback address."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from tests.e2e.engine import Containerd, Engine
from tests.support import images
from tests.support.accounts import PASSWORD, WithAccounts
from tests.support.packages import program
from tests.support.process import run

pytestmark = pytest.mark.timeout(180)

ADDRESS = "198.18.0.1"  # RFC 2544: nobody's, and no loopback address


class Network(NamedTuple):
    """A network namespace whose only interface has :data:`ADDRESS`; ``within`` goes before a program's words."""

    within: tuple[str, ...]


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    if os.geteuid() != 0:
        pytest.fail("a network namespace needs root; run this with sudo", pytrace=False)
    name = f"lading-{secrets.token_hex(4)}"
    run([program("ip"), "netns", "add", name])
    try:
        run([program("ip"), "-netns", name, "link", "set", "lo", "up"])
        run([program("ip"), "-netns", name, "address", "add", f"{ADDRESS}/32", "dev", "lo"])
        yield Network((program("nsenter"), f"--net=/run/netns/{name}"))
    finally:
        run([program("ip"), "netns", "delete", name])


class Inside(WithAccounts):
    """A registry in the network, with a certificate of *authority*."""

    def __init__(self, root: Path, network: Network, authority: trustme.CA) -> None:
        root.mkdir(parents=True)
        issued = authority.issue_cert(ADDRESS)
        certificate, key, ca = root / "server.pem", root / "server.key", root / "ca.pem"
        certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        authority.cert_pem.write_to_path(str(ca))
        self._within = network.within
        tls = {"certificate": str(certificate), "key": str(key)}
        super().__init__(root, configuration={"http": {"tls": tls}}, ca=ca)
        self.host = f"{ADDRESS}:{self.port}"
        self.url = f"https://{self.host}"
        self.configure(
            {
                "http": {"addr": self.host, "tls": tls},
                "accounts": {"adminpassword": PASSWORD, "lockout": {"addressattempts": 0}},
            }
        )
        self.argv = [*network.within, *self.argv]

    def _answers(self) -> bool:
        asking = [*self._within, program("curl"), "--silent", "--max-time", "5", "--cacert", self.ca or "", self.url]
        return run(asking, check=False).returncode == 0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, network: Network, authority: trustme.CA) -> Iterator[Inside]:
    with Inside(tmp_path_factory.mktemp("inside") / "server", network, authority) as made:
        made.user("alice")
        made.project("team", owner="alice")
        yield made


@pytest.fixture(scope="module")
def docker(containerd: Containerd, network: Network, server: Inside) -> Iterator[Engine]:
    """An engine in the network that trusts the server's authority and no other."""
    with Engine(containerd, within=network.within, environment={"SSL_CERT_FILE": str(server.ca)}) as made:
        yield made


def test_login_push_pull_logout(docker: Engine, server: Inside, tmp_path: Path) -> None:
    """With a password, which becomes an identity token, and as a robot."""
    image = images.image("verified", (5000, 40_000), docker=True)
    remote = f"{server.host}/team/app:1"
    docker.docker("load", "--input", images.write_docker_archive(tmp_path / "image.tar", image, [remote]))
    login = ("login", "--password-stdin", server.host, "--username")
    assert docker.docker("push", remote, check=False).returncode != 0
    assert docker.docker(*login, "alice", stdin="wrong", check=False).returncode != 0
    docker.docker(*login, "alice", stdin=PASSWORD)
    kept = json.loads((docker.home.path / "client" / "config.json").read_text())["auths"][server.host]
    assert kept["identitytoken"].startswith("lading_rft_")
    docker.docker("push", remote)
    docker.docker("logout", server.host)
    docker.forget(remote)
    assert docker.docker("pull", remote, check=False).returncode != 0

    secret = server.robot("ci", "team", "repository:pull", "repository:push")
    docker.docker(*login, "robot$team+ci", stdin=secret)
    docker.docker("pull", remote)
    assert docker.image_id(remote) == image.config.digest
    docker.docker("tag", remote, f"{server.host}/team/app:2")
    docker.docker("push", f"{server.host}/team/app:2")
    docker.docker("logout", server.host)


def test_a_certificate_nobody_vouches_for(docker: Engine, network: Network, tmp_path: Path) -> None:
    """This is what shows that the other test was verified at all."""
    with Inside(tmp_path / "other", network, trustme.CA()) as other:
        other.user("alice")
        login = ("login", "--password-stdin", other.host, "--username", "alice")
        refused = docker.docker(*login, stdin=PASSWORD, check=False)
        assert refused.returncode != 0
        assert "certificate" in refused.stderr
        pulled = docker.docker("pull", f"{other.host}/library/app:1", check=False)
        assert pulled.returncode != 0
        assert "certificate" in pulled.stderr
