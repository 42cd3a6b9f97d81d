"""Inputs that a machine makes up from a corpus, for every route and every parser: no 5xx, no hang, no growth.

An input is made of one of the corpus by small changes, or of two. One that is answered in a way no other was (by method,
status and error code) joins the corpus. The long run writes what it found into ``corpus.jsonl``, from which every later
run begins.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lading.config.load import load
from lading.config.values import parse_address, parse_duration, parse_size
from lading.errors import ConfigurationError, DigestInvalid, ManifestInvalid, NameInvalid, TagInvalid
from lading.oci import reference
from lading.oci.digest import Digest
from lading.oci.manifest import parse
from lading.registry.uploads import Tickets, UploadInvalid
from tests.integration.kept import Kept, keep
from tests.integration.test_fuzz import ARGUMENTS, FIELD_NAMES, FIELDS, HEADERS, VALUES, WORDS
from tests.integration.wire import Wire
from tests.integration.workers import children
from tests.support.counts import Count
from tests.support.images import image
from tests.support.lading import Lading

CORPUS = Path(__file__).with_name("corpus.jsonl")
TOKENS = [
    word.encode("utf-8", "replace")
    for word in (
        *WORDS,
        *ARGUMENTS,
        *VALUES,
        *HEADERS,
        *FIELDS,
        *FIELD_NAMES,
        "\r\n",
        "\r\n\r\n",
        ": ",
        "?",
        "&",
        "=",
        "/v2/",
    )
]
METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"}
SEED = image("fuzz")
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_CODE = re.compile(rb'"code": ?"([A-Z_]+)"')


def corpus() -> list[bytes]:
    return [json.loads(line).encode("latin-1") for line in CORPUS.read_text().splitlines()]


def mutated(chance: random.Random, known: list[bytes]) -> bytes:
    """One to four changes to a known input."""
    data = bytearray(chance.choice(known))
    for _ in range(chance.randrange(1, 5)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                data[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                data[place:place] = chance.choice(TOKENS)
            case 2:
                del data[place : place + chance.randrange(1, 20)]
            case 3:
                other = chance.choice(known)
                data[place:] = other[chance.randrange(len(other) + 1) :]
            case 4:
                token = chance.choice(TOKENS)
                data[place : place + len(token)] = token
            case _:
                end = min(len(data), place + chance.randrange(1, 40))
                data[place:place] = data[place:end]
    return bytes(data[:20_000])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Kept]:
    """It holds an image that must be served unchanged in the end."""
    with Lading(tmp_path, {"limits": {"headertimeout": "2s", "bodytimeout": "2s"}}) as made:
        kept = keep(made)
        yield kept
        kept.check()
        assert "Traceback" not in made.output


def answers(server: Lading, raw: bytes) -> tuple[list[int], list[str]]:
    """The statuses and error codes of all answers to these bytes; the server ends the connection, and soon."""
    with Wire(server) as wire:
        wire.send(raw)
        with contextlib.suppress(OSError):
            wire.end()
        got = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while data := wire.socket.recv(1 << 16):
                got += data
    return [int(each) for each in _STATUS.findall(got)], [each.decode() for each in _CODE.findall(got)]


def memory(server: Lading) -> int:
    [worker] = children(server.pid)
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.slow
@pytest.mark.timeout(36_000)
def test_every_route(server: Kept, long: bool, count: Count) -> None:
    number = 1_000_000 if long else 2_000
    chance = random.Random(None if long else "routes")
    known = corpus()
    seen: set[tuple[bytes, tuple[int, ...], tuple[str, ...]]] = set()
    found: list[bytes] = []
    slowest, warm = 0.0, 0
    registry = server.server
    assert isinstance(registry, Lading)
    for turn in range(number):
        raw = known[turn] if turn < len(known) else mutated(chance, known)
        began = time.monotonic()
        statuses, codes = answers(registry, raw)
        slowest = max(slowest, time.monotonic() - began)
        assert all(status < 500 for status in statuses), raw
        kind = (method if (method := raw.partition(b" ")[0]) in METHODS else b"", tuple(statuses[:2]), tuple(codes[:2]))
        if kind not in seen:
            seen.add(kind)
            if turn >= len(known) and len(raw) < 2000:
                found.append(raw)
        if turn == number // 4:
            warm = memory(registry)
    grown = memory(registry) - warm
    assert slowest < 15
    assert grown < 30 << 20
    if long:
        with CORPUS.open("a") as file:
            file.writelines(json.dumps(raw.decode("latin-1")) + "\n" for raw in found)
    count(
        f"fuzz: {number} requests made of {len(known)}, {len(seen)} kinds of answers, {len(found)} new; 0 failures, "
        f"slowest {slowest:.2f} s, {grown / 1000:.0f} kB of growth"
    )


def _config(text: str, folder: Path) -> None:
    file = folder / "config.yml"
    file.write_text(text, "utf-8", "replace")
    load(file, {})


PARSERS: dict[str, tuple[Callable[[bytes, Path], object], type[Exception], int]] = {
    "manifest": (lambda raw, _: parse(raw, ""), ManifestInvalid, 1),
    "digest": (lambda raw, _: Digest.parse(raw.decode("latin-1")), DigestInvalid, 1),
    "name": (lambda raw, _: reference.repository(raw.decode("latin-1")), NameInvalid, 1),
    "tag": (lambda raw, _: reference.tag(raw.decode("latin-1")), TagInvalid, 1),
    "ticket": (lambda raw, _: Tickets(b"").read("a", "b", raw.decode("latin-1") or "x"), UploadInvalid, 1),
    "duration": (lambda raw, _: parse_duration(raw.decode("latin-1")), ValueError, 1),
    "size": (lambda raw, _: parse_size(raw.decode("latin-1")), ValueError, 1),
    "address": (lambda raw, _: parse_address(raw.decode("latin-1")), ValueError, 1),
    "config": (lambda raw, folder: _config(raw.decode("latin-1"), folder), ConfigurationError, 20),
}
SEEDS = {
    "manifest": [SEED.manifest.data, b'{"schemaVersion": 2, "manifests": []}'],
    "digest": [SEED.digest.encode(), b"sha512:" + b"a" * 128],
    "name": [b"library/nginx", b"a/b-c/d_e.f"],
    "tag": [b"latest", b"v1.2.3-rc_1"],
    "ticket": [b"AAAA", b"-_-_"],
    "duration": [b"168h", b"1m30s", b"-1.5h"],
    "size": [b"4MiB", b"64 KiB", b"100"],
    "address": [b":5000", b"[::1]:5000", b"localhost:80"],
    "config": [
        b"version: 0.1\nstorage:\n  filesystem: {rootdirectory: /srv}\n  delete: {enabled: true}\nhttp: {addr: :5000}\n",
        b"version: 0.1\nlog: {level: debug}\nstorage: {inmemory: {}}\ncollect: {interval: 1h, grace: 24h}\n",
    ],
}


@pytest.mark.parametrize("name", PARSERS)
def test_every_parser(name: str, tmp_path: Path, long: bool, count: Count) -> None:
    """Whatever comes is taken, or refused with the error that says so."""
    parser, refusal, cost = PARSERS[name]
    number = (1_000_000 if long else 4_000) // cost
    chance, known = random.Random(None if long else name), SEEDS[name]
    taken = 0
    for _ in range(number):
        raw = mutated(chance, known)
        try:
            parser(raw, tmp_path)
            taken += 1
        except refusal:
            continue
    count(f"fuzz: {number} inputs for {name}, {taken} taken, the others refused in words")


def test_the_corpus_is_one(server: Kept) -> None:
    """Every input in it has an answer, and no two are the same."""
    known, registry = corpus(), server.server
    assert isinstance(registry, Lading)
    assert len(known) == len(set(known)) > 20
    assert all(answers(registry, raw)[0] for raw in known[:20])
