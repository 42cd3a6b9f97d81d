"""``lading check-config``: what it says of sound and of unsound files."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lading.cli.server.checkconfig import check_config

OPEN = "version: 0.1\nstorage: {filesystem: {rootdirectory: /data}, cache: {blobdescriptor: redis}}\nhttp: {addr: ':5000'}\n"


def run(tmp_path: Path, text: str, **variables: str) -> Result:
    file = tmp_path / "config.yml"
    file.write_text(text)
    environment = {f"REGISTRY_{name}": value for name, value in variables.items()}
    return CliRunner().invoke(check_config, [str(file)], env=environment)


def test_an_open_registry_is_called_open(tmp_path: Path) -> None:
    result = run(tmp_path, OPEN, HTTP_SECRET="geheim", STORAGE_DELETE_ENABLED="true")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert f"Read from    {tmp_path / 'config.yml'}" in lines
    assert "Listens on   http://*:5000" in lines
    assert "Reached by   every network this machine is on" in lines
    assert "May push     whoever reaches it: there is no authentication (!)" in lines
    assert "Stores in    /data" in lines
    assert "Index        /data/lading/index.sqlite" in lines
    assert "  storage.delete.enabled: true   (REGISTRY_STORAGE_DELETE_ENABLED)" in lines
    assert "  http.secret: (set, not shown)   (REGISTRY_HTTP_SECRET)" in lines
    assert any(line.startswith("  storage.cache.blobdescriptor has no effect: ") for line in lines)
    assert not any(line.startswith("  storage.cache:") for line in lines)
    assert "geheim" not in result.output


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("http: {addr: '[::1]:5000'}", "Listens on   http://[::1]:5000"),
        ("http: {addr: '[::1]:5000'}", "Reached by   this machine only"),
        ("http: {addr: '[::1]:5000'}", "May push     whoever reaches it: there is no authentication"),
        ("http: {addr: '10.1.2.3:0', prefix: /a/}", "Listens on   http://10.1.2.3:(any free port)/a/"),
        ("http: {addr: '10.1.2.3:0'}", "Reached by   the networks that reach 10.1.2.3"),
        ("http: {net: unix, addr: /run/lading.sock}", "Listens on   the socket /run/lading.sock (http)"),
        ("http: {tls: {certificate: /c.pem, key: /k.pem}}", "Listens on   https://127.0.0.1:5000"),
        ("http: {tls: {certificate: /c.pem, key: /k.pem}}", "  http.tls.certificate: /c.pem"),
        ("auth: {htpasswd: {realm: r, path: /users}}", "May push     the users in /users"),
        (
            "auth: {token: {realm: r, service: s, issuer: i, jwks: /j}}",
            "May push     who has a token of i for it",
        ),
        (
            "http: {tls: {certificate: /c, key: /k, clientcas: [/ca]}}\nauth: {htpasswd: {realm: r, path: /users}}",
            "May push     who has a certificate of /ca, being the users in /users",
        ),
        (
            "storage: {inmemory: , maintenance: {readonly: {enabled: true}}}",
            "Read-only    yes: nothing can be pushed or deleted",
        ),
    ],
)
def test_what_it_says(tmp_path: Path, extra: str, expected: str) -> None:
    storage = "" if "storage:" in extra else "storage: inmemory\n"
    result = run(tmp_path, f"version: 0.1\n{storage}{extra}\n")
    assert result.exit_code == 0, result.output
    assert expected in result.stdout.splitlines()


def test_without_a_file_it_explains_the_built_in_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lading.config.load.SYSTEM", Path("/nonexistent/config.yml"))
    result = CliRunner().invoke(check_config, [], env={"REGISTRY_CONFIGURATION_PATH": None})
    assert result.exit_code == 0
    assert "built-in configuration" in result.stdout
    assert "Reached by   this machine only" in result.stdout
    assert "Deletion     allowed" in result.stdout


def test_what_is_wrong_is_told_on_standard_error(tmp_path: Path) -> None:
    result = run(tmp_path, OPEN + "htpp: {}\nlimits: {manifestdepth: 1}\n", HTTP_DRAINTIMEOUT="soon")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "3 settings are wrong:" in result.stderr
    assert "htpp: there is no such key; did you mean http?" in result.stderr
    assert "(set by REGISTRY_HTTP_DRAINTIMEOUT)" in result.stderr
    assert "Traceback" not in result.output


def test_secrets_in_lists_and_urls_stay_hidden(tmp_path: Path) -> None:
    endpoint = "{name: a, url: 'http://u:geheim@h/', headers: {Authorization: [Bearer geheim]}}"
    result = run(tmp_path, OPEN + f"notifications: {{endpoints: [{endpoint}]}}\nredis: {{password: geheim}}\n")
    assert result.exit_code == 0
    assert "http://u:***@h/" in result.stdout
    assert "geheim" not in result.output
