"""What a server imports before it answers: what it needs, and all of that before its workers are forked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Runs the real command; in the place of forking it makes what a worker makes, and says what was imported until when.
_SCRIPT = """
import asyncio, json, sys
from lading.cli.server.supervisor import Supervisor

def run(supervisor):
    import lading.cli.server.worker as worker
    before = list(sys.modules)

    async def serve():
        made = worker.Registry(supervisor.configuration, *supervisor._places(), governed=supervisor.accounts)
        worker._server(supervisor.configuration, await made.application(), tls=False)
        if made.configuration.http.debug.address:
            made.debug()
        await made.close()

    asyncio.run(serve())
    print("IMPORTED", json.dumps([before, [name for name in sys.modules if name not in before]]))

Supervisor.run = run
from lading.cli.main import main
main(["serve", "--workers", "1"])
"""
OF_SOME = {
    "alembic", "argon2", "bcrypt", "boto3", "botocore", "cryptography", "httpx2", "jwt", "ldap3", "prometheus_client",
    "psycopg", "pygments", "rich", "sqlalchemy.dialects.postgresql",
    "lading.access.authenticate", "lading.access.htpasswd", "lading.access.tokens", "lading.api.debug",
    "lading.api.harbor", "lading.api.token", "lading.cli.client", "lading.control.accounts", "lading.control.audit",
    "lading.control.directory", "lading.control.replication", "lading.control.sources", "lading.registry.local",
    "lading.registry.mirror", "lading.remotes", "lading.stores.blobs.s3", "lading.stores.metadata.postgresql",
    "lading.telemetry.metrics",
}  # fmt: skip
"""What only some registries need; with all that is in it."""


def imported(root: Path, **variables: str) -> tuple[set[str], set[str]]:
    """What is imported before workers are forked, and what one imports of Lading's and others' until it answers."""
    ours = {"REGISTRY_HTTP_ADDR": "127.0.0.1:0", "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(root)}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "LADING_"))}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env={**clean, **ours, **variables}, capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("IMPORTED "))
    before, after = json.loads(line.removeprefix("IMPORTED "))
    return set(before), {name for name in after if "." not in name or name.startswith("lading.")}


def test_a_registry_imports_only_what_it_needs(tmp_path: Path) -> None:
    before, after = imported(tmp_path)
    assert "lading.api.distribution.manifests" in before
    of_some = {name for name in before | after if any(name == one or name.startswith(one + ".") for one in OF_SOME)}
    assert of_some == set()
    assert {name for name in after if name.startswith("lading.")} == set()


@pytest.mark.parametrize(
    ("variables", "needed"),
    [
        ({"REGISTRY_ACCOUNTS_ENABLED": "true"}, {"lading.api.harbor.face", "lading.control.replication.run"}),
        ({"REGISTRY_PROXY_REMOTEURL": "https://registry.example"}, {"lading.registry.mirror", "lading.remotes.http"}),
        (
            {"REGISTRY_HTTP_DEBUG_ADDR": "127.0.0.1:0", "REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED": "true"},
            {"lading.api.debug", "prometheus_client"},
        ),
        ({"REGISTRY_AUTH_HTPASSWD_REALM": "r", "REGISTRY_AUTH_HTPASSWD_PATH": "{}/htpasswd"}, {"bcrypt"}),
    ],
    ids=["accounts", "mirror", "debug", "htpasswd"],
)
def test_what_it_needs_is_imported_before_it_forks(tmp_path: Path, variables: dict[str, str], needed: set[str]) -> None:
    """Once for all workers, in memory that they share, and before any of them answers."""
    before, after = imported(tmp_path, **{name: value.format(tmp_path) for name, value in variables.items()})
    assert needed <= before
    assert {name for name in after if name.startswith("lading.")} == set()
