"""``lading serve`` that cannot start: a line that says what is wrong and what to do, status 1, and no traceback."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.access import certificates
from tests.support.http import Client
from tests.support.images import image
from tests.support.lading import PROGRAM, Lading
from tests.support.packages import program
from tests.support.ports import free_port
from tests.support.process import run, socket_at
from tests.support.server import merged


def start(
    folder: Path, values: Mapping[str, Any] | str, *before: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Try to serve with this configuration, as a file of text or as values laid upon a sound one."""
    path = folder / "config.yml"
    if isinstance(values, str):
        path.write_text(values)
    else:
        base = {
            "version": 0.1,
            "http": {"addr": f"127.0.0.1:{free_port()}"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        }
        path.write_text(yaml.safe_dump(merged(base, values)))
    argv: list[str | Path] = [*before, PROGRAM, "serve", "--workers", "2", path]
    return run(argv, directory=folder, environment=environment, check=False, timeout=60)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It ended with status 1 and a message for a person that has these words in it."""
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert done.stderr.startswith("lading: "), said
    missing = [word for word in words if word not in done.stderr]
    assert not missing, f"{missing} not in {done.stderr}"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"htttp": {}}, ("htttp",)),
        ({"http": {"tls": {"certifikate": "x"}}}, ("http.tls.certifikate",)),
        ({"storage": {"s3": {"bucket": "b"}, "filesystem": None}}, ("storage.s3",)),
        ({"proxy": {"remoteurl": "ftp://registry.example"}}, ("proxy.remoteurl",)),
        ({"proxy": {"remoteurl": "https://registry.example"}, "accounts": {"adminpassword": "x"}}, ("proxy",)),
        ({"auth": {"htpasswd": {"realm": "r", "path": "/x"}, "token": {"realm": "r"}}}, ("auth",)),
    ],
    ids=str,
)
def test_settings_that_are_wrong(tmp_path: Path, values: dict[str, Any], words: tuple[str, ...]) -> None:
    refused(start(tmp_path, values), *words)
    assert not (tmp_path / "storage").exists()


def test_every_wrong_setting_is_told_at_once(tmp_path: Path) -> None:
    values = {"htttp": {}, "log": {"level": "loud"}, "limits": {"manifestsize": "lots"}}
    refused(start(tmp_path, values), "htttp", "log.level", "limits.manifestsize")


@pytest.mark.parametrize("text", ["", "[]", "{", "\0"])
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str) -> None:
    refused(start(tmp_path, text), "config.yml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    refused(run([PROGRAM, "serve", tmp_path / "none.yml"], check=False), "none.yml")


def test_a_variable_that_is_wrong(tmp_path: Path) -> None:
    refused(start(tmp_path, {}, environment={"REGISTRY_LOG_LEVEL": "loud"}), "REGISTRY_LOG_LEVEL")


# ---- certificates


def test_a_key_that_does_not_fit_its_certificate(tmp_path: Path) -> None:
    one, other = certificates(tmp_path / "one"), certificates(tmp_path / "other")
    tls = {"certificate": str(one.certificate), "key": str(other.key)}
    refused(start(tmp_path, {"http": {"tls": tls}}), "http.tls", str(one.certificate), str(other.key))


def test_certificates_that_are_none(tmp_path: Path) -> None:
    good = certificates(tmp_path / "good")
    text, none = tmp_path / "text.pem", tmp_path / "none.pem"
    text.write_text("-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n")
    for bad in (text, none, good.key):
        tls = {"certificate": str(bad), "key": str(good.key)}
        refused(start(tmp_path, {"http": {"tls": tls}}), "http.tls", str(bad))
    clients = {"certificate": str(good.certificate), "key": str(good.key), "clientcas": [str(text)]}
    refused(start(tmp_path, {"http": {"tls": clients}}), "http.tls.clientcas", str(text))


def test_a_key_with_a_password_is_not_asked_for_it(tmp_path: Path) -> None:
    good = certificates(tmp_path / "good")
    locked = tmp_path / "locked.key"
    run([program("openssl"), "pkey", "-aes128", "-passout", "pass:secret", "-in", good.key, "-out", locked])
    tls = {"certificate": str(good.certificate), "key": str(locked)}
    refused(start(tmp_path, {"http": {"tls": tls}}), "http.tls", "password")


# ---- addresses


@pytest.mark.parametrize("what", ["a line", "a folder"])
def test_an_htpasswd_file_that_is_none(tmp_path: Path, what: str) -> None:
    """What only workers look at ends the server too."""
    path = tmp_path / "htpasswd"
    path.mkdir() if what == "a folder" else path.write_text("alice\n")
    refused(start(tmp_path, {"auth": {"htpasswd": {"realm": "r", "path": str(path)}}}), "auth.htpasswd.path", str(path))


def test_a_bundle_of_certificates_that_holds_none(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("nothing")
    token = {"realm": "https://auth.test/", "service": "s", "issuer": "i", "rootcertbundle": str(bundle)}
    refused(start(tmp_path, {"auth": {"token": token}}), "auth.token.rootcertbundle", str(bundle))


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(start(tmp_path, {"http": {"addr": f"127.0.0.1:{port}"}}), f"127.0.0.1:{port}", "http.addr")


def test_two_servers_on_one_port(tmp_path: Path) -> None:
    """The second one is refused though both would share the port among their workers; the first goes on."""
    with Lading(tmp_path / "first", workers=2) as first, Client(first) as client:
        (tmp_path / "second").mkdir()
        refused(start(tmp_path / "second", {"http": {"addr": first.host}}), first.host, "http.addr")
        assert client.get("/v2/").status_code == 200


def test_a_debug_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        refused(start(tmp_path, {"http": {"debug": {"addr": where}}}), where, "http.debug.addr")


def test_an_address_this_machine_does_not_have(tmp_path: Path) -> None:
    refused(start(tmp_path, {"http": {"addr": "192.0.2.1:5000"}}), "192.0.2.1:5000", "http.addr")


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_unix_socket_where_something_else_is(tmp_path: Path, what: str) -> None:
    """What is there is not deleted to make room."""
    path = tmp_path / "taken"
    path.mkdir() if what == "directory" else path.write_text("precious")
    refused(start(tmp_path, {"http": {"net": "unix", "addr": str(path)}}), "http.addr", str(path))
    assert path.is_dir() if what == "directory" else path.read_text() == "precious"


def test_a_unix_socket_that_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    settings = {"http": {"net": "unix", "addr": str(path)}}
    first = Lading(tmp_path / "first", settings)
    first.ready = socket_at(path)
    with first:
        refused(start(tmp_path, settings), "http.addr", str(path))
        assert socket_at(path)()


def test_a_unix_socket_that_was_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    server = Lading(tmp_path / "server", {"http": {"net": "unix", "addr": str(path)}})
    server.ready = socket_at(path)
    with server:
        assert socket_at(path)()


def test_a_unix_socket_in_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "none" / "socket"
    refused(start(tmp_path, {"http": {"net": "unix", "addr": str(path)}}), "http.addr", str(path), "Make its folder")


def test_a_unix_socket_where_none_may_be_made(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    dropped = [program("setpriv"), "--bounding-set=-dac_override,-dac_read_search", "--"] if os.getuid() == 0 else []
    settings = {"http": {"net": "unix", "addr": str(folder / "socket")}}
    refused(start(tmp_path, settings, *map(str, dropped)), "http.addr", "owner and mode")


@pytest.mark.parametrize("workers", [1, 16])
def test_a_low_limit_of_open_files(tmp_path: Path, workers: int) -> None:
    """Met by the index, and by the sockets of very many workers."""
    variables = {
        "REGISTRY_HTTP_ADDR": f"127.0.0.1:{free_port()}",
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "storage"),
    }
    low: list[str | Path] = ["sh", "-c", 'ulimit -n 16; exec "$@"', "sh", PROGRAM, "serve", "--workers", str(workers)]
    refused(run(low, directory=tmp_path, environment=variables, check=False, timeout=60), "limit of open files")


def test_a_path_too_long_for_a_unix_socket(tmp_path: Path) -> None:
    refused(start(tmp_path, {"http": {"net": "unix", "addr": str(tmp_path / ("x" * 200))}}), "http.addr")


# ---- stores


@pytest.mark.parametrize("what", ["file", "below-a-file", "dangling"])
def test_a_store_that_is_no_directory(tmp_path: Path, what: str) -> None:
    place = tmp_path / "place"
    place.symlink_to(tmp_path / "no" / "where") if what == "dangling" else place.write_text("precious")
    root = place / "below" if what == "below-a-file" else place
    refused(start(tmp_path, {"storage": {"filesystem": {"rootdirectory": str(root)}}}), str(root), "rootdirectory")
    assert what == "dangling" or place.read_text() == "precious"


def test_a_store_that_may_not_be_written(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    root.mkdir(mode=0o555)
    without = [program("setpriv"), "--bounding-set=-dac_override,-dac_read_search", "--"] if os.getuid() == 0 else []
    refused(start(tmp_path, {}, *without), str(root), "rootdirectory")


def test_an_index_of_a_newer_version(tmp_path: Path) -> None:
    """It is told, and not touched."""
    index = tmp_path / "index.sqlite"
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("CREATE TABLE future (x)")
        connection.execute("PRAGMA user_version = 9999")
    before = index.read_bytes()
    refused(start(tmp_path, {"database": {"url": f"sqlite:///{index}"}}), str(index), "newer")
    assert index.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 4080], ids=["text", "torn"]
)
def test_an_index_that_is_none(tmp_path: Path, content: bytes) -> None:
    index = tmp_path / "index.sqlite"
    index.write_bytes(content)
    refused(start(tmp_path, {"database": {"url": f"sqlite:///{index}"}}), str(index), "damaged", "lading restore")
    assert index.read_bytes() == content


def test_an_index_of_another_program(tmp_path: Path) -> None:
    """A database that Lading did not write is not written into."""
    index = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("CREATE TABLE blobs (of_another_program)")
    refused(start(tmp_path, {"database": {"url": f"sqlite:///{index}"}}), str(index))
    with closing(sqlite3.connect(index)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("blobs",)]


def test_an_index_where_none_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for place in (tmp_path / "file" / "index.sqlite", tmp_path):
        refused(start(tmp_path, {"database": {"url": f"sqlite:///{place}"}}), str(place))


@pytest.mark.parametrize("exported", [False, True])
def test_blobs_whose_index_is_gone(tmp_path: Path, exported: bool) -> None:
    """No server begins with nothing, nor with the names of the day that links were written; it is told what to do."""
    with Lading(tmp_path, {}) as registry, Client(registry) as client:
        client.push("a", image("gone"), "latest")
    if exported:
        registry.run("export", "--config", registry.configuration)
    (registry.storage / "lading" / "index.sqlite").unlink()
    told = (str(registry.storage / "lading" / "index.sqlite"), "lading restore", "lading verify --rebuild")
    for _ in range(2):  # nor the next time
        refused(start(tmp_path, {"http": {"addr": registry.host}}), "there is no index", *told)
    registry.run("verify", "--rebuild", "--config", registry.configuration)
    with registry, Client(registry) as client:
        assert client.get("/v2/_catalog").json()["repositories"] == (["a"] if exported else ["recovered"])
