"""Checks that pass, fail as often as the threshold says, and pass again."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from lading.config.health import Health as Settings
from lading.control.health import Health
from lading.stores.blobs.filesystem import FilesystemStore
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.receiver import Receiver

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def looking(root: Path, **settings: Any) -> AsyncIterator[Health]:
    health = Health(Settings.model_validate(settings), FilesystemStore(root))
    health.start()
    try:
        yield health
    finally:
        await health.stop()


async def test_without_checks_all_is_well(tmp_path: Path) -> None:
    async with looking(tmp_path) as health:
        assert health.checks == []
        assert health.failing() == {}


async def test_a_file_that_is_there(tmp_path: Path) -> None:
    down = tmp_path / "down"
    async with looking(tmp_path, file=[{"file": str(down), "interval": "10ms"}]) as health:
        await anyio.sleep(0.05)
        assert health.failing() == {}
        down.touch()
        await until(lambda: health.failing() == {str(down): "file exists"})
        down.unlink()
        await until(lambda: health.failing() == {})


async def test_a_url(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver() as receiver:
        url = receiver.url.replace("://", "://user:s3cr3t@")
        check = {"uri": url, "interval": "20ms", "timeout": "2s", "headers": {"X-Key": ["s3cr3t"]}}
        async with looking(tmp_path, http=[check]) as health:
            await anyio.sleep(0.1)
            assert health.failing() == {}
            receiver.status = 500
            await until(health.failing)
            assert list(health.failing().values()) == ["downstream service returned unexpected status: 500"]
            receiver.stop()
            await until(lambda: "ConnectError" in "".join(health.failing().values()))
            assert "s3cr3t" not in str(health.failing())
    assert "s3cr3t" not in caplog.text


async def test_an_address(tmp_path: Path) -> None:
    receiver = Receiver()
    address = f"127.0.0.1:{receiver.port}"
    async with looking(tmp_path, tcp=[{"addr": address, "interval": "20ms", "timeout": "1s"}]) as health:
        await until(health.failing)
        assert f"connection to {address} failed" in health.failing()[address]
        with receiver:
            await until(lambda: not health.failing())


async def test_it_takes_as_many_failures_as_the_threshold_says(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    started = time.monotonic()
    async with looking(tmp_path, tcp=[{"addr": address, "interval": "200ms", "threshold": 3}]) as health:
        await until(health.failing)
    assert time.monotonic() - started >= 0.39


async def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    root = tmp_path / "store"
    check = {"enabled": True, "interval": "20ms"}
    async with looking(root, storagedriver=check) as health:
        await until(root.exists)
        await anyio.sleep(0.1)
        assert health.failing() == {}
        root.rename(tmp_path / "gone")
        root.write_text("no directory")
        await until(health.failing)
        assert "cannot write to the store" in health.failing()["storagedriver_filesystem"]
        root.unlink()
        await until(lambda: not health.failing())
