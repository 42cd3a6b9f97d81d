"""What vendors' services answer when they do not answer as their documentation says: an error in words, or nothing found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from lading.errors import LadingError
from lading.remotes.adapters.acr import ACR
from lading.remotes.adapters.base import Adapter
from lading.remotes.adapters.gcr import GCR
from lading.remotes.adapters.ghcr import GHCR
from lading.remotes.adapters.gitlab import GitLab
from lading.remotes.adapters.harbor import Harbor
from lading.remotes.adapters.quay import Quay
from tests.support.scripted import Answer, Asked, Scripted, json_answer
from tests.unit.remotes.far import registry

pytestmark = pytest.mark.anyio

DIGEST = "sha256:" + "0" * 64
_VALUES: tuple[Any, ...] = (None, 7, "x", [], [7, None, "x"], [{"name": 7}], {"name": [7]})
_NAMES = ("results", "repository", "repositories", "child", "tags")
DOCUMENTS: list[Any] = [
    *_VALUES,
    *({name: value} for name in _NAMES for value in _VALUES),
    {"manifest": {DIGEST: {"tag": 7}}},
    {"manifest": {DIGEST: {"tag": ["../../b/manifests/x", 7]}}},
    {"results": [{"namespace": 7, "name": "x"}]},
]


async def some(found: AsyncIterator[Any]) -> None:
    count = 0
    async for _ in found:
        count += 1
        assert count < 1000


CALLS: list[Callable[[Adapter], Any]] = [
    lambda adapter: some(adapter.repositories("a/b")),
    lambda adapter: adapter.search("x", 5),
    lambda adapter: adapter.delete_tag("a/b", "t"),
    lambda adapter: adapter.delete_manifest("a/b", DIGEST),
]


@pytest.mark.parametrize("kind", [Adapter, ACR, GCR, GHCR, GitLab, Harbor, Quay])
async def test_documents_that_are_none(kind: type[Adapter]) -> None:
    document: list[Any] = []

    def answer(asked: Asked) -> Answer:
        assert "/../" not in asked.path
        below = asked.path.startswith("/v2/a/b/x/")  # one repository below another is enough
        return Answer() if asked.path == "/v2/" else json_answer({} if below else document[-1])

    with Scripted(answer) as far_side:
        async with registry(far_side, user="alice", password="secret") as client:
            adapter = kind(client) if kind is not GHCR else GHCR(client, api=far_side.url)
            for document[:] in ([one] for one in DOCUMENTS):
                for call in CALLS:
                    with suppress(LadingError):
                        await call(adapter)
