"""The client's figures: ``lading push``, ``pull`` and ``copy`` of an image of twenty layers, and skopeo doing the same; and
what a command costs that has next to nothing to do.

Whole commands, from their start to their end, one after the other on the same bytes; who goes first turns from round to
round, and what is still to be written to disk is written before either begins. Both push from an OCI folder and pull
into one. The layers are gzip without compression around random bytes, so that skopeo, which compresses what is not
compressed, sends them as they are; for every push and copy the server is empty.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.push import empty_server
from bench.servers import BenchmarkError, Server, program
from tests.support.images import CONFIG, INDEX, LAYER, MANIFEST
from tests.support.lading import PROGRAM

_LAYERS = 20
_STARTS = 15
_TAG = "bench"
_MINUTES = 20 * 60


class Cost(NamedTuple):
    """What a command took: seconds by the clock, and of CPU time."""

    seconds: float
    cpu: float


class Tools(NamedTuple):
    """The same thing, as each program is told to do it."""

    lading: list[str]
    skopeo: list[str]


def figures(options: Options) -> tuple[Figure, ...]:
    """The client's figures."""
    metrics = (
        Metric("lading_s", "lading", "s", "less"),
        Metric("skopeo_s", "skopeo", "s", "less"),
        Metric("of_skopeo", "lading's time, share of skopeo's", "", "less"),
        Metric("lading_cpu_s", "lading's CPU", "s", "less"),
        Metric("skopeo_cpu_s", "skopeo's CPU", "s", "less"),
    )
    size = f"an image of {_LAYERS} layers of {options.large / 1e6:g} MB, lading and skopeo"
    return (
        Figure("client-push", f"push {size}", metrics, _push, static=False),
        Figure("client-pull", f"pull {size}", metrics, _pull, static=False),
        Figure("client-copy", f"copy from one registry to another {size}", metrics, _copy, static=False),
        Figure(
            "client-start",
            f"lading tags and skopeo list-tags of a repository with one tag, medians of {_STARTS}",
            (
                Metric("lading_cpu_ms", "lading's CPU", "ms", "less"),
                Metric("skopeo_cpu_ms", "skopeo's CPU", "ms", "less"),
                Metric("version_cpu_ms", "lading --version's CPU", "ms", "less"),
            ),
            _start,
            static=False,
        ),
    )


def _push(turn: Round) -> Sample:
    layout = turn.kept.get("client-image", partial(_image, turn))

    def push(work: Callable[[Tools], Cost]) -> Cost:
        with _empty(turn, "target") as target:
            return work(_pushing(layout, target))

    return _both(turn, push)


def _pull(turn: Round) -> Sample:
    with _filled(turn) as source:
        folder = turn.directory / "pulled"

        def pull(work: Callable[[Tools], Cost]) -> Cost:
            name, place = _name(source), f"oci:{folder}:{_TAG}"
            from_registry = ["copy", "--quiet", "--src-tls-verify=false", f"docker://{name}", place]
            try:
                return work(Tools(["pull", "--quiet", "--output", str(folder), name], from_registry))
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        return _both(turn, pull)


def _copy(turn: Round) -> Sample:
    with _filled(turn) as source:

        def copy(work: Callable[[Tools], Cost]) -> Cost:
            with _empty(turn, "target") as target:
                here, there = _name(source), _name(target)
                plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
                between = ["copy", "--quiet", *plain, f"docker://{here}", f"docker://{there}"]
                return work(Tools(["copy", "--quiet", here, there], between))

        return _both(turn, copy)


def _start(turn: Round) -> Sample:
    with _empty(turn, "source") as server:
        layout = turn.directory / "small"
        folder = _stored_image(layout, [b"x"])
        home = turn.directory / "home"
        _run([str(PROGRAM), *_pushing(folder, server).lading], home)
        name = _name(server).removesuffix(f":{_TAG}")
        listing = ["list-tags", "--tls-verify=false", f"docker://{name}"]
        costs: dict[str, list[float]] = {"lading": [], "skopeo": [], "version": []}
        for _ in range(_STARTS):
            costs["lading"].append(_done_by("lading", home, Tools(["tags", name], listing)).cpu)
            costs["skopeo"].append(_done_by("skopeo", home, Tools(["tags", name], listing)).cpu)
            costs["version"].append(_run([str(PROGRAM), "--version"], home).cpu)
    return {f"{name}_cpu_ms": median(times) * 1e3 for name, times in costs.items()}


def _both(turn: Round, work: Callable[[Callable[[Tools], Cost]], Cost]) -> Sample:
    """Have either program do it, each in its turn."""
    costs = dict[str, Cost]()
    for name in ("lading", "skopeo") if turn.seed % 2 else ("skopeo", "lading"):
        costs[name] = work(partial(_done_by, name, turn.directory / "home"))
    lading, other = costs["lading"], costs["skopeo"]
    return {
        "lading_s": lading.seconds,
        "skopeo_s": other.seconds,
        "of_skopeo": lading.seconds / other.seconds,
        "lading_cpu_s": lading.cpu,
        "skopeo_cpu_s": other.cpu,
    }


def _done_by(name: str, home: Path, tools: Tools) -> Cost:
    if name == "lading":
        return _run([str(PROGRAM), *tools.lading], home)
    return _run([program("skopeo", "skopeo"), "--insecure-policy", *tools.skopeo], home)


def _run(words: list[str], home: Path) -> Cost:
    """A whole command, and what the kernel says it used."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8"}
    os.sync()
    with (home / "said").open("w+b") as said:
        begin = time.monotonic()
        child = subprocess.Popen(
            ["timeout", str(_MINUTES), *words], stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment
        )
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.monotonic() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            told = said.read().decode(errors="replace").strip()[-500:]
            raise BenchmarkError(f"{' '.join(words)} ended with {child.returncode}: {told}")
    return Cost(seconds, used.ru_utime + used.ru_stime)


def _pushing(layout: Path, target: Server) -> Tools:
    name = _name(target)
    to_registry = ["copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}:{_TAG}", f"docker://{name}"]
    return Tools(["push", "--quiet", str(layout), name], to_registry)


def _name(server: Server) -> str:
    return f"127.0.0.1:{server.port}/bench/image:{_TAG}"


@contextmanager
def _empty(turn: Round, name: str) -> Iterator[Server]:
    with empty_server(replace(turn, directory=turn.directory / name)) as server:
        yield server


@contextmanager
def _filled(turn: Round) -> Iterator[Server]:
    """A server that has the image."""
    layout = turn.kept.get("client-image", partial(_image, turn))
    with _empty(turn, "source") as server:
        _run([str(PROGRAM), *_pushing(layout, server).lading], turn.directory / "home")
        yield server


@contextmanager
def _image(turn: Round) -> Iterator[Path]:
    """The image as an OCI layout, made once: layers of a few bytes of their own and a long rest that they share."""
    layout = turn.kept.directory / "client-image"
    rest = gzip.compress(os.urandom(turn.options.large), 0)
    yield _stored_image(layout, [rest] * _LAYERS)
    shutil.rmtree(layout)


def _stored_image(layout: Path, layers: Sequence[bytes]) -> Path:
    """Write an image's layout: each layer has a beginning of its own before what is given."""
    (layout / "blobs" / "sha256").mkdir(parents=True)
    stored = [_stored(layout, LAYER, gzip.compress(os.urandom(16), 0), rest) for rest in layers]
    diffs = [layer["digest"] for layer in stored]  # nobody unpacks them
    platform = {"os": "linux", "architecture": "amd64"}
    config = _stored(layout, CONFIG, _json({**platform, "rootfs": {"type": "layers", "diff_ids": diffs}}))
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": stored}
    named = {**_stored(layout, MANIFEST, _json(manifest)), "annotations": {"org.opencontainers.image.ref.name": _TAG}}
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_bytes(_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}))
    return layout


def _stored(layout: Path, media_type: str, *parts: bytes) -> dict[str, object]:
    """Write a blob; its descriptor."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part)
    with (layout / "blobs" / "sha256" / hasher.hexdigest()).open("wb") as file:
        file.writelines(parts)
    return {"mediaType": media_type, "digest": f"sha256:{hasher.hexdigest()}", "size": sum(map(len, parts))}


def _json(document: object) -> bytes:
    return json.dumps(document).encode()
