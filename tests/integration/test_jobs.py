"""``lading jobs`` beside a running server, and jobs whose server is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest

from lading.jobs.executions import Execution, Executions
from lading.jobs.kinds import Kind, Task
from lading.jobs.queue import JobQueue
from lading.stores.metadata.engine import open_index
from tests.support.http import Client
from tests.support.images import image, noise
from tests.support.lading import Lading
from tests.support.patience import eventually
from tests.support.ports import free_port
from tests.support.receiver import Receiver
from tests.support.volume import Volume

DATA = b"".join(noise("jobs", 100_000))
AT_ONCE = {"collect": {"interval": "1h", "grace": "0s", "untagged": "0s"}}


def jobs(registry: Lading, *words: str, check: bool = True) -> str:
    done = registry.run("jobs", *words, "--config", registry.configuration, check=check)
    return done.stdout if check else done.stderr


def rows(registry: Lading) -> Sequence[Execution]:
    """Every job, the newest first; read without the command, which takes a second to start."""

    async def read() -> Sequence[Execution]:
        metadata = open_index(f"sqlite:///{registry.storage / 'lading' / 'index.sqlite'}")
        try:
            return await metadata.read(lambda tx: Executions(tx).newest(100))
        finally:
            await metadata.close()

    return asyncio.run(read())


def test_a_collection_by_hand_and_what_is_told_of_it(tmp_path: Path) -> None:
    port = free_port()
    debug = {"http": {"debug": {"addr": f"127.0.0.1:{port}", "prometheus": {"enabled": True}}}}
    with Lading(tmp_path, {**AT_ONCE, **debug}, workers=2) as registry, Client(registry) as client:
        client.push_blob("a", DATA)
        assert jobs(registry, "list").startswith("no jobs\n\nSCHEDULE")
        made = json.loads(jobs(registry, "run", "collect", "--json"))
        assert made["new"]
        eventually(lambda: rows(registry)[0].state == "done", "the collection")
        found = json.loads(jobs(registry, "show", str(made["job"]), "--json"))
        assert found["job"]["result"]["blobs"] == 1
        assert found["job"]["result"]["bytes"] == len(DATA)
        assert [line["line"] for line in found["log"]][-1] == "done"
        text = jobs(registry, "list")
        assert "collect" in text
        assert "done" in text
        assert "@every 1h" in text
        assert "1 blobs deleted, 100000 bytes freed" in jobs(registry, "show", str(made["job"]))
        assert list((registry.storage / "docker/registry/v2/blobs").rglob("data")) == []
        page = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        assert 'lading_job_attempts_total{kind="collect",outcome="done"} 1.0' in page
        assert 'lading_jobs{kind="collect",state="waiting"} 0.0' in page
        assert 'lading_job_duration_seconds_count{kind="collect"} 1.0' in page


def test_cancelling_and_what_cannot_be_done(tmp_path: Path) -> None:
    with Receiver() as receiver:
        endpoint = {"name": "hook", "url": receiver.url}
        with Lading(tmp_path, {"notifications": {"endpoints": [endpoint]}}) as registry:
            eventually(lambda: [job.state for job in rows(registry)] == ["running"], "delivery")
            [notify] = rows(registry)
            assert "disabled: true" in jobs(registry, "cancel", str(notify.id), check=False)
        assert [(job.kind, job.state) for job in rows(registry)] == [("notify", "waiting")], "given back"
        job = json.loads(jobs(registry, "run", "purge-uploads", "--json"))["job"]
        assert f"job {job} was there already" in jobs(registry, "run", "purge-uploads")
        assert jobs(registry, "cancel", str(job)) == f"job {job} is cancelled\n"
        assert "is cancelled already" in jobs(registry, "cancel", str(job), check=False)
        assert "there is no job 999" in jobs(registry, "cancel", "999", check=False)
        assert "is none of collect, purge-uploads" in jobs(registry, "run", "nothing", check=False)


@pytest.mark.faults
def test_a_job_of_a_killed_worker_is_done_by_another(tmp_path: Path) -> None:
    """A worker process is stopped in its job, loses it, and when it goes on again it is told so."""
    receiver = Receiver()
    endpoint = {"name": "hook", "url": receiver.url, "backoff": "100ms", "threshold": 1}
    with receiver, Lading(tmp_path, {"notifications": {"endpoints": [endpoint]}}, workers=2) as registry:
        eventually(lambda: [job.state for job in rows(registry)] == ["running"], "delivery")
        [before] = rows(registry)
        assert before.process
        process = int(before.process.split("-")[-2])
        os.kill(process, signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            eventually(lambda: rows(registry)[0].attempts == 2, "another process")
            assert time.monotonic() - stopped > 4, "not before its lease has run out"
            [after] = rows(registry)
            assert (after.id, after.state) == (before.id, "running")
            assert after.process != before.process
        finally:
            os.kill(process, signal.SIGCONT)
        eventually(lambda: "(notify) stops: another process" in registry.output, "the first one told")
        with Client(registry) as client:
            client.push_blob("a", DATA)
        assert len(receiver.wait(1)) == 1


def test_a_server_waits_for_the_adoption_of_another_that_was_killed(tmp_path: Path) -> None:
    """The job is there and nobody does it any more: it is taken over when its lease has run out."""
    volume = Volume(tmp_path / "storage")
    volume.push("a", image("adopted"), "1")

    async def claimed(task: Task) -> None:
        """Never run: its process is gone."""

    async def leave_a_claim() -> None:
        metadata = open_index(f"sqlite:///{volume.root / 'lading' / 'index.sqlite'}")
        queue = JobQueue(metadata, "gone")
        await metadata.write(lambda tx: queue.enqueue(tx, "adopt", key="adopt"))
        assert await queue.claim({"adopt": Kind(claimed, lease=10)})
        await metadata.close()

    asyncio.run(leave_a_claim())
    with Lading(tmp_path) as registry, Client(registry) as client:
        assert client.tags("a") == ["1"]
        assert "waiting for gone, which adopts" in registry.output
        assert [(job.kind, job.state, job.result["tags"]) for job in rows(registry)] == [("adopt", "done", 1)]
