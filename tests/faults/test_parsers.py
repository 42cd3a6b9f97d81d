"""Every parser of what others wrote, with inputs that a machine makes up: taken, or refused with the error that says so."""

from __future__ import annotations

import asyncio
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lading.access import accounts, certificates, keys, scopes
from lading.access.htpasswd import parse_basic
from lading.access.oidc import safe_target
from lading.access.tokens import RefusedTokenError, Trust
from lading.api.harbor import query
from lading.config.load import load
from lading.config.values import parse_address, parse_duration, parse_http_url, parse_size
from lading.control.replication import filters
from lading.errors import (
    BadAnswer,
    ConfigurationError,
    CredentialsError,
    DigestInvalid,
    Invalid,
    LadingError,
    ManifestInvalid,
    NameInvalid,
    TagInvalid,
)
from lading.jobs import schedule
from lading.oci import platform, reference
from lading.oci.digest import Digest
from lading.oci.manifest import parse
from lading.registry.uploads import Tickets, UploadInvalid
from lading.remotes import answers, challenge, unpack
from lading.remotes.connection import Connection, Garbled, Lost
from lading.remotes.dockerconfig import DockerConfig
from lading.remotes.layout import Folder, ReadableLayout
from tests.faults.inputs import Corpus
from tests.support.counts import Count
from tests.support.images import image

MADE = image("parsed", (50,))
TRUST = Trust("https://issuer", "lading", {}, [], frozenset({"ES256"}))


def text(raw: bytes) -> str:
    return raw.decode("latin-1")


@dataclass(frozen=True)
class Parser:
    """``parse`` takes bytes (or a folder with them in a file), or raises one of ``refusals``; it costs so many times as much as most."""

    parse: Callable[[bytes, Path], object]
    refusals: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    cost: int = 1


def _file(raw: bytes, folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


def _environment(raw: bytes, folder: Path) -> object:
    pairs = (line.partition("=") for line in text(raw).splitlines())
    base = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(folder)}
    return load(None, base | {name: value for name, _, value in pairs if "\0" not in name + value})


def _docker_config(raw: bytes, _: Path) -> object:
    config = DockerConfig.of(text(raw), "config.json")
    return [(config.helper(name), config.entry(name)) for name in (*config.names(), "docker.io")]


def _pattern(raw: bytes, _: Path) -> object:
    pattern = text(raw)
    filters.check([filters.Filter(filters.NAME, pattern)])
    return filters.matches(pattern, "library/app"), filters.literals(pattern), filters.beginning(pattern)


def _layout(raw: bytes, folder: Path) -> object:
    _file(raw, folder, "index.json")
    return ReadableLayout(Folder(folder)).entries()


def _archive(raw: bytes, folder: Path) -> object:
    path = _file(raw, folder, "image.tar")
    return asyncio.run(unpack.opened(path, folder))


class _Said:
    """A stream whose other side said this and hung up."""

    def __init__(self, raw: bytes) -> None:
        self._pieces = [raw[start : start + 700] for start in range(0, len(raw), 700)]

    async def read(self, _: float) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def some(self, most: int, _: float) -> bytes:
        return (await self.read(0))[:most]

    async def send(self, data: memoryview, _: float) -> int:
        return len(data)

    def heard(self) -> bytes | None:
        return None

    def close(self) -> None:
        """Nothing to close."""


def _answer(raw: bytes, _: Path) -> object:
    async def ask() -> object:
        connection = Connection(_Said(raw))  # type: ignore[arg-type]  # as much of a stream as is asked of one
        await connection.request(b"GET / HTTP/1.1\r\n\r\n", b"", 1.0)
        body = [piece async for part in connection.parts(1.0) for piece in ([part] if isinstance(part, bytes) else [])]
        answer: Any = SimpleNamespace(headers=connection.headers)
        return connection.status, body, answers.retry_after(answer), answers._said(b"".join(body))

    return asyncio.run(ask())


def _archived() -> bytes:
    with tarfile.open(fileobj=(out := BytesIO()), mode="w") as tar:
        for name, data in (
            ("manifest.json", b'[{"Config": "c.json", "RepoTags": ["a:b"], "Layers": ["l"]}]'),
            ("c.json", b"{}"),
            ("l", b"x"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    return out.getvalue()


_TOKEN = b"eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2lzc3VlciIsImF1ZCI6ImxhZGluZyJ9.AAAA"
_CONFIG = (
    b"version: 0.1\nstorage:\n  filesystem: {rootdirectory: /srv}\n  delete: {enabled: true}\nhttp: {addr: :5000}\n",
    b"version: 0.1\nlog: {level: debug}\nstorage: {inmemory: {}}\ncollect: {interval: 1h, grace: 24h}\n",
    b"version: 0.1\nauth: {htpasswd: {realm: a, path: /b}}\nnotifications: {endpoints: [{name: a, url: http://a}]}\n",
)
_ANSWERS = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 429 Too Many\r\nretry-after: 120\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{}[]\r\n0\r\n\r\n",
    b'HTTP/1.1 401 No\r\nretry-after: Wed, 21 Oct 2026 07:28:00 GMT\r\n\r\n{"errors": [{"code": "A", "message": "b"}]}',
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 206 Partial\r\ncontent-range: bytes 0-1/2\r\ncontent-length: 2\r\n\r\nab",
)
PARSERS = {
    # what clients send
    "manifest": Parser(
        lambda raw, _: parse(raw, ""),
        (ManifestInvalid,),
        (MADE.manifest.data, b'{"schemaVersion": 2, "manifests": []}'),
    ),
    "digest": Parser(
        lambda raw, _: Digest.parse(text(raw)), (DigestInvalid,), (MADE.digest.encode(), b"sha512:" + b"a" * 128)
    ),
    "name": Parser(lambda raw, _: reference.repository(text(raw)), (NameInvalid,), (b"library/nginx", b"a/b-c/d_e.f")),
    "tag": Parser(lambda raw, _: reference.tag(text(raw)), (TagInvalid,), (b"latest", b"v1.2.3-rc_1")),
    "ticket": Parser(
        lambda raw, _: Tickets(b"").read("a", "b", text(raw) or "x"), (UploadInvalid,), (b"AAAA", b"-_-_")
    ),
    "scopes": Parser(
        lambda raw, _: scopes.parse_all(text(raw)), (Invalid,), (b"repository:a/b:pull,push registry:catalog:*",)
    ),
    "credentials": Parser(lambda raw, _: parse_basic(raw), (), (b"Basic YTpi", b"basic  YWRtaW46c2VjcmV0")),
    "token": Parser(lambda raw, _: TRUST.verify(raw, time.time()), (RefusedTokenError,), (_TOKEN,)),
    "chain": Parser(
        lambda raw, _: certificates.parse_chain(text(raw).split(",")),
        (certificates.RefusedChainError,),
        (b"MIIB,MIIB",),
    ),
    "conditions": Parser(
        lambda raw, _: query.conditions(text(raw)), (Invalid,), (b"name=~a,id=[1~9],labels=(1 2),x={a b}",)
    ),
    "sorts": Parser(lambda raw, _: query.sorts(text(raw)), (Invalid,), (b"name,-update_time",)),
    "target": Parser(lambda raw, _: safe_target(text(raw)), (Invalid,), (b"/harbor/projects", b"//elsewhere")),
    "pattern": Parser(_pattern, (Invalid,), (b"library/**", b"{a,b}/*-[0-9]?", b"**/x\\*"), cost=5),
    "timing": Parser(
        lambda raw, _: schedule.following(text(raw), 0),
        (Invalid,),
        (b"0 0 3 * * 1-5", b"@every 1h30m", b"*/5 4 L 2 *"),
        cost=20,
    ),
    # what administrators write
    "config": Parser(
        lambda raw, folder: load(_file(raw, folder, "config.yml"), {}), (ConfigurationError,), _CONFIG, cost=50
    ),
    "environment": Parser(
        _environment, (ConfigurationError,), (b"REGISTRY_HTTP_ADDR=:5000\nREGISTRY_LOG_LEVEL=info",), cost=50
    ),
    "duration": Parser(lambda raw, _: parse_duration(text(raw)), (ValueError,), (b"168h", b"1m30s", b"-1.5h")),
    "size": Parser(lambda raw, _: parse_size(text(raw)), (ValueError,), (b"4MiB", b"64 KiB", b"100")),
    "address": Parser(
        lambda raw, _: parse_address(text(raw)), (ValueError,), (b":5000", b"[::1]:5000", b"localhost:80")
    ),
    "url": Parser(
        lambda raw, _: parse_http_url(text(raw)).shown,
        (ValueError,),
        (b"https://a:b@host:443/x?y", b"http://[::1]:80/"),
    ),
    "htpasswd": Parser(lambda raw, _: accounts.parse(raw), (ValueError,), (b"a:$2y$05$" + b"c" * 53 + b"\n#\nb:x\n",)),
    "keys": Parser(
        lambda raw, folder: keys.read_jwks(_file(raw, folder, "jwks")),
        (keys.UnusableKeyError,),
        (b'{"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": "AA", "y": "AA"}]}',),
        cost=5,
    ),
    # what other registries and programs say
    "reference": Parser(
        lambda raw, _: str(reference.Reference.parse(text(raw))),
        (NameInvalid, TagInvalid, DigestInvalid),
        (b"docker.io/library/nginx:1@" + MADE.digest.encode(), b"localhost:5000/a"),
    ),
    "platform": Parser(
        lambda raw, _: platform.written(platform.parse(text(raw))), (Invalid,), (b"linux/arm64/v8", b"x86_64")
    ),
    "challenge": Parser(
        lambda raw, _: challenge.parse([text(raw)]),
        (),
        (b'Bearer realm="https://a/t",service="b",scope="c:d:pull", Basic realm=x',),
    ),
    "realm": Parser(
        lambda raw, _: challenge.check_realm(text(raw), "registry:5000", secure=len(raw) % 2 == 0),
        (BadAnswer,),
        (b"https://auth.docker.io/token", b"http://10.0.0.1:80/"),
    ),
    "answer": Parser(_answer, (Garbled, Lost), _ANSWERS, cost=20),
    "docker-config": Parser(
        _docker_config,
        (CredentialsError,),
        (b'{"auths": {"a": {"auth": "YTpi"}}, "credHelpers": {"b": "x"}, "credsStore": "y"}',),
    ),
    "layout": Parser(
        _layout,
        (LadingError,),
        (b'{"schemaVersion": 2, "manifests": [{"mediaType": "a", "digest": "sha256:b", "size": 1}]}',),
        cost=10,
    ),
    "archive": Parser(_archive, (LadingError,), (_archived(),), cost=200),
}


def said(refusal: Exception, raw: bytes) -> str:
    """What an error says, without what it repeats of the input."""
    given = text(raw)
    words = [word for word in str(refusal).split() if word.isascii() and word.isalpha() and word not in given]
    return " ".join(words)[:80]


@pytest.mark.slow
@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("name", PARSERS)
def test_every_parser(name: str, tmp_path: Path, long: bool, count: Count) -> None:
    parser = PARSERS[name]
    number = (200_000 if long else 2_000) // parser.cost
    corpus = Corpus(name, parser.seeds, long=long)
    taken = 0
    for raw in corpus.inputs(number):
        try:
            found = parser.parse(raw, tmp_path)
        except parser.refusals as refusal:
            corpus.turned_out(raw, (type(refusal).__name__, said(refusal, raw)))
        except BaseException as error:
            error.add_note(f"the input was {raw!r}")
            raise
        else:
            corpus.turned_out(raw, ("taken", found is None))
            taken += 1
    corpus.keep()
    count(f"fuzz: {number} inputs for {name} ({corpus}), {taken} taken, the others refused in words")
