"""``lading check-health`` asks the server that the same variables or the same file would start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.access import certificates
from tests.support.lading import PROGRAM, Lading
from tests.support.ports import free_port
from tests.support.process import run


def asked(server: Lading) -> tuple[int, str]:
    answer = server.run("check-health", server.configuration, check=False)
    return answer.returncode, answer.stderr


def test_well_unwell_and_away(tmp_path: Path) -> None:
    down = tmp_path / "down"
    health = {"file": [{"file": str(down), "interval": "50ms"}]}
    server = Lading(tmp_path / "server", {"health": health})
    with server:
        assert asked(server) == (0, "")
        down.touch()
        status, said = 0, ""
        for _ in range(20):
            status, said = (status, said) if status else asked(server)
        assert status == 1
        assert "/v2/ answered 503" in said
        assert "health check failed" in said
    status, said = asked(server)
    assert status == 1
    assert said.startswith("lading: unwell: no answer from 127.0.0.1")


def test_by_variables_on_every_address(tmp_path: Path) -> None:
    port = free_port()
    with Lading(tmp_path, environment={"REGISTRY_HTTP_ADDR": f":{port}"}, port=port) as server:
        assert server.run("check-health").returncode == 0


@pytest.mark.parametrize("form", ["tls", "client certificates", "debug", "unix"])
def test_however_it_listens(tmp_path: Path, form: str) -> None:
    made = certificates(tmp_path)
    port = free_port()
    tls = {"certificate": str(made.certificate), "key": str(made.key)}
    socket = tmp_path / "socket"
    http = {
        "tls": {"tls": tls},
        "client certificates": {"tls": {**tls, "clientcas": [str(made.ca)]}},
        "debug": {"debug": {"addr": f"127.0.0.1:{port}"}},
        "unix": {"net": "unix", "addr": str(socket)},
    }[form]
    server = Lading(tmp_path / "server", {"http": http})
    if form == "client certificates":
        server.ready = lambda: "serving" in server.output
    elif form == "unix":
        server.ready = socket.exists
    elif form == "tls":
        server.ca, server.url = made.ca, server.url.replace("http:", "https:")
    with server:
        done = run([PROGRAM, "check-health", server.configuration])
        assert done.stderr == ""
