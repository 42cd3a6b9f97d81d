"""Client certificates in place of passwords: in TLS, and handed on by nginx; and headers that somebody made up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from tests.support import images
from tests.support.access import Certificates, certificates
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.clientcertificates import ClientAuthority, shown
from tests.support.http import Client
from tests.support.packages import program
from tests.support.patience import eventually
from tests.support.ports import free_port
from tests.support.process import Process, listening, run

PROXY = "127.0.0.3"
HEADER = "Client-Cert"
RULES = [
    {"uri": "spiffe://example.com/ci/*", "robot": "team+*"},
    {"email": "*@example.com", "user": "*"},
    {"commonname": "lading administrator", "user": ADMIN},
]


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> ClientAuthority:
    return ClientAuthority(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, clients: ClientAuthority, own: Certificates
) -> Iterator[WithAccounts]:
    """Takes certificates in TLS from everybody, and in a header from one address."""
    accounts = {
        "trustedproxies": [f"{PROXY}/32"],
        "certificates": {"rules": RULES, "header": HEADER, "authorities": [str(clients.ca)]},
    }
    tls = {
        "certificate": str(own.certificate),
        "key": str(own.key),
        "clientcas": [str(clients.ca)],
        "clientauth": "verify-client-cert-if-given",
    }
    root = tmp_path_factory.mktemp("server")
    with WithAccounts(root, accounts, configuration={"http": {"tls": tls}}, ca=own.ca) as made:
        made.user("alice", "gone")
        made.disable("gone")
        made.project("team", owner="alice")
        made.robot("builder", "team", "repository:pull")
        yield made


@pytest.fixture(scope="module")
def alice(clients: ClientAuthority) -> Path:
    return clients.issue("Alice", emails=["alice@example.com"])


def test_all_faces(server: WithAccounts, clients: ClientAuthority, alice: Path) -> None:
    with Client(server, verify=shown(server, alice)) as client:
        assert client.get("/v2/").status_code == 200
        client.push("team/app", images.image("certified"), "1")
        assert client.manifest("nowhere/app", "1").status_code == 401
        assert client.get("/api/v2.0/users/current").json()["username"] == "alice"
        assert client.get("/api/v2.0/users").status_code == 403
        asked = client.get("/service/token", params={"scope": "repository:team/app:pull,push,delete"}).json()
        assert asked["scope"] == "repository:team/app:pull,push,delete"
        log = client.get("/api/v2.0/projects/team/logs").json()
        assert {"alice"} == {row["username"] for row in log if row["resource_type"] == "artifact"}
    with Client(server, headers={"authorization": f"Bearer {asked['token']}"}) as client:
        assert client.manifest("team/app", "1").status_code == 200
    robot = clients.issue(uris=["spiffe://example.com/ci/builder"])
    with Client(server, verify=shown(server, robot)) as client:
        assert client.manifest("team/app", "1").status_code == 200
        assert client.post("/v2/team/app/blobs/uploads/").status_code == 401
    with Client(server, verify=shown(server, clients.issue("lading administrator"))) as client:
        assert client.get("/api/v2.0/users").status_code == 200


def test_who_opens_nothing(server: WithAccounts, clients: ClientAuthority) -> None:
    for folder in (
        clients.issue(emails=["gone@example.com"]),
        clients.issue(emails=["nobody@example.com"]),
        clients.issue(uris=["spiffe://example.com/ci/other"]),
        clients.issue("alice"),
        clients.issue(emails=["alice@example.com.evil.com"]),
    ):
        with Client(server, verify=shown(server, folder)) as client:
            refused = client.get("/v2/")
            assert refused.status_code == 401
            assert "/service/token" in refused.headers["www-authenticate"]
            assert client.manifest("team/app", "1").status_code == 401
            assert client.get("/api/v2.0/users/current").status_code == 401
    eventually(lambda: "gone" in server.admin("audit", "list", "--operation", "login"), "it is in the log")


def test_credentials_outdo_a_certificate(server: WithAccounts, alice: Path) -> None:
    with Client(server, verify=shown(server, alice)) as client:
        assert client.get("/api/v2.0/users/current", auth=(ADMIN, PASSWORD)).json()["username"] == ADMIN
        assert client.get("/v2/", auth=(ADMIN, "wrong")).status_code == 401


def test_a_certificate_of_somebody_elses(server: WithAccounts, tmp_path: Path) -> None:
    """Refused in TLS: the connection ends before anything is answered."""
    forged = ClientAuthority(tmp_path).issue(emails=["alice@example.com"])
    with Client(server, verify=shown(server, forged)) as client, pytest.raises(httpx2.TransportError):
        client.get("/v2/")


def test_a_disabled_user_is_out_at_once(server: WithAccounts, clients: ClientAuthority) -> None:
    server.user("shortly")
    with Client(server, verify=shown(server, clients.issue(emails=["shortly@example.com"]))) as client:
        assert client.get("/v2/").status_code == 200
        server.disable("shortly")
        assert client.get("/v2/").status_code == 401


def test_pages_of_other_sites(server: WithAccounts, clients: ClientAuthority) -> None:
    """A browser shows its certificate for whoever's page asks: reading is harmless, changing is refused."""
    folder = clients.issue("lading administrator")
    wanted = {"project_name": "forged"}
    with Client(server, verify=shown(server, folder)) as client:
        for headers in (
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"origin": "https://evil.com"},
            {"origin": "null"},
        ):
            assert client.post("/api/v2.0/projects", json=wanted, headers=headers).status_code == 401
            assert client.post("/v2/team/app/blobs/uploads/", headers=headers).status_code == 401
        assert client.head("/api/v2.0/projects", params={"project_name": "forged"}).status_code == 404
        mine = {"origin": server.url, "sec-fetch-site": "same-origin"}
        assert client.post("/api/v2.0/projects", json=wanted, headers=mine).status_code == 201


def from_address(server: WithAccounts, address: str, folder: Path | None = None) -> Client:
    context = shown(server, folder) if folder else server.verify
    return Client(server, transport=httpx2.HTTPTransport(verify=context, local_address=address, trust_env=False))


def test_a_forged_header_is_not_read(server: WithAccounts, clients: ClientAuthority, alice: Path) -> None:
    good = quote((clients.issue("lading administrator") / "client.cert").read_text(), safe="")
    with from_address(server, "127.0.0.1") as client:
        assert client.get("/v2/", headers={HEADER: good}).status_code == 401
        forged = {HEADER: good, "x-forwarded-for": PROXY, "forwarded": f"for={PROXY}"}
        assert client.get("/v2/", headers=forged).status_code == 401
    with from_address(server, "127.0.0.1", alice) as client:
        assert client.get("/api/v2.0/users", headers={HEADER: good}).status_code == 403
    with from_address(server, PROXY) as client:
        assert client.get("/v2/", headers={HEADER: good}).status_code == 200
        assert client.get("/v2/", headers=[(HEADER, good), (HEADER, good)]).status_code == 401
    with from_address(server, PROXY, alice) as client:
        assert client.get("/v2/").status_code == 401, "a proxy's own certificate is not its clients'"
        assert client.get("/api/v2.0/users", headers={HEADER: good}).status_code == 200


NGINX = """\
daemon off;
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {own.certificate};
    ssl_certificate_key {own.key};
    ssl_verify_client optional_no_ca;
    client_max_body_size 0;
    location / {{
      proxy_pass http://{server.host};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header Client-Cert $ssl_client_escaped_cert;
    }}
  }}
}}
"""


def test_behind_nginx_that_checks_nothing(tmp_path: Path, clients: ClientAuthority, own: Certificates) -> None:
    """``optional_no_ca`` hands on whatever certificate it is shown; it is checked here."""
    accounts = {"certificates": {"rules": RULES, "header": HEADER, "authorities": [str(clients.ca)]}}
    good, forged = (each.issue("lading administrator") for each in (clients, ClientAuthority(tmp_path / "forged")))
    with WithAccounts(tmp_path / "server", accounts) as server:
        port, directory = free_port(), tmp_path / "nginx"
        directory.mkdir()
        user = "user root;" if os.geteuid() == 0 else ""
        filled = NGINX.format(directory=directory, user=user, port=port, own=own, server=server)
        (directory / "nginx.conf").write_text(filled)
        words: list[str | Path] = [program("nginx"), "-p", directory, "-c", directory / "nginx.conf"]
        run([*words, "-t"])
        with Process(words, log=directory / "nginx.log", ready=listening(port)):
            server.ca = own.ca
            for folder, status in ((good, 200), (forged, 401), (None, 401)):
                context = shown(server, folder) if folder else server.verify
                made_up = {HEADER: quote((good / "client.cert").read_text(), safe="")}
                with Client(f"https://127.0.0.1:{port}", verify=context) as client:
                    assert client.get("/api/v2.0/users").status_code == status
                    assert client.get("/api/v2.0/users", headers=made_up).status_code == status
            server.ca = None
