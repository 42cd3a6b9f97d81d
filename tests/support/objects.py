"""Object stores under test: servers of their own on loopback, each with a bucket ``lading``.

``moto`` (from PyPI) answers as Amazon's documentation says; ``Swift`` is OpenStack's, from Debian, a real store that
speaks S3 beside its own protocol.
"""

from __future__ import annotations

import os
import pwd
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from lading.config.storage import S3
from lading.stores.blobs.s3 import S3Client
from tests.support.packages import program
from tests.support.ports import free_port
from tests.support.process import Process, listening, run

BUCKET = "lading"
KEYS = {"accesskey": "test-access", "secretkey": "test-secret"}


class Moto(Process):
    """``with Moto(tmp_path) as store:``; small parts are taken. ``settings`` go below ``storage.s3``."""

    def __init__(self, root: Path) -> None:
        self.port = free_port()
        argv: list[str | Path] = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "moto.server",
            "-H",
            "127.0.0.1",
            "-p",
            str(self.port),
        ]
        environment = {"S3_UPLOAD_PART_MIN_SIZE": "1", "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(64 << 20)}
        super().__init__(
            argv, log=root / "moto.log", ready=listening(self.port), environment=environment, directory=root, timeout=60
        )
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"bucket": BUCKET, "region": "us-east-1", "regionendpoint": self.url, **KEYS}

    def client(self, prefix: str) -> S3Client:
        """A client of the store, its keys below ``prefix``."""
        return S3Client(S3.model_validate({**self.settings, "rootdirectory": prefix}))

    def start(self) -> Self:
        super().start()
        client(self.settings).create_bucket(Bucket=BUCKET)
        return self


def client(settings: dict[str, Any]) -> Any:
    """A plain client of a store, to look what is there and to change it behind the registry's back."""
    return boto3.client(
        "s3",
        region_name=settings["region"],
        endpoint_url=settings["regionendpoint"],
        aws_access_key_id=settings["accesskey"],
        aws_secret_access_key=settings["secretkey"],
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )


class Swift:
    """OpenStack Swift from Debian: one of each of its servers, one copy of everything, S3 in front."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ports = {name: free_port() for name in ("account", "container", "object", "proxy")}
        self._stack = ExitStack()

    @property
    def settings(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.ports['proxy']}"
        return {"bucket": BUCKET, "region": "us-east-1", "regionendpoint": url, **SWIFT_KEYS}

    def client(self, prefix: str) -> S3Client:
        """A client of the store, its keys below ``prefix``."""
        return S3Client(S3.model_validate({**self.settings, "rootdirectory": prefix}))

    def __enter__(self) -> Self:
        (self.root / "devices" / "d1").mkdir(parents=True)
        try:
            self._rings()
            servers = [self._server(name, port) for name, port in self.ports.items()]
            with ThreadPoolExecutor() as threads:
                list(threads.map(self._stack.enter_context, servers))
            client(self.settings).create_bucket(Bucket=BUCKET)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _rings(self) -> None:
        backends = {name: port for name, port in self.ports.items() if name != "proxy"}
        run(["/usr/bin/python3", "-c", _RINGS, self.root, *(f"{name}={port}" for name, port in backends.items())])

    def _server(self, name: str, port: int) -> Process:
        user = pwd.getpwuid(os.getuid()).pw_name
        pipeline = _PROXY if name == "proxy" else _BACKEND.format(name=name)
        configuration = self.root / f"{name}.conf"
        configuration.write_text(_SERVER.format(root=self.root, port=port, user=user) + pipeline)
        argv: list[str | Path] = [program(f"swift-{name}-server"), configuration, "verbose"]
        return Process(argv, log=self.root / f"{name}.log", ready=listening(port), directory=self.root, timeout=90)


_RINGS = """
import sys
from swift.common.ring import RingBuilder
root, *servers = sys.argv[1:]
for server in servers:
    name, port = server.split("=")
    ring = RingBuilder(4, 1, 0)
    ring.add_dev(dict(region=1, zone=1, ip="127.0.0.1", port=int(port), device="d1", weight=1.0))
    ring.rebalance()
    ring.get_ring().save(f"{root}/{name}.ring.gz")
"""
SWIFT_KEYS = {"accesskey": "test:tester", "secretkey": "testing"}

_SERVER = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {root}
devices = {root}/devices
mount_check = false
disable_fallocate = true
log_statsd_host =
"""
_BACKEND = """\
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""
_PROXY = """\
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache s3api tempauth copy slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
min_segment_size = 1
allow_multipart_uploads = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
connect_timeout = 0.1
error_suppression_limit = 1
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
minimum_segment_size = 1
"""
