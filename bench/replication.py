"""Replication of what is there already: a policy over a repository of 1,000 tags, done a second time.

Two registries with accounts on loopback, as an operator sets them up over Harbor's API, with the second as a plain registry and
as one of its own kind. The first run moves everything, the second has nothing to move; both are taken from the request that
begins an execution until it is told to have ended.
"""

from __future__ import annotations

import json
import time

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.servers import BenchmarkError, Lading
from tests.support.accounts import ADMIN
from tests.support.images import MANIFEST, Blob, encode, image
from tests.support.replication import Replicating

_TAGS = 1_000
_NAME = "bench/app"
_KINDS = {"harbor": "lading", "docker-registry": "plain"}
"""How the far side is spoken to: by what it can do, and by the distribution specification alone."""


def figures(options: Options) -> tuple[Figure, ...]:  # noqa: ARG001 - every module's signature
    """The figure of this module."""
    metrics = tuple(
        Metric(f"{when}_{name}_s", f"{what}, to {far}", "s", "less")
        for name, far in (("lading", "a Lading"), ("plain", "any registry"))
        for when, what in (("first", "all moved"), ("again", "all there"))
    )
    return (Figure("replicate-there", f"replicate {_TAGS} tags that are there already", metrics, _there, static=False),)


def _there(turn: Round) -> Sample:
    if not isinstance(turn.server, Lading):
        return {}
    found = {}
    with Replicating(turn.directory / "here") as here:
        here.push(_NAME, image("layer"))
        with here.bearer(ADMIN, f"repository:{_NAME}:pull,push") as client:
            for number in range(_TAGS):
                # a manifest each, and the same blobs in all of them, as builds of one program nearly have
                document = {**json.loads(image("layer").manifest.data), "annotations": {"build": str(number)}}
                client.push_manifest(_NAME, Blob(MANIFEST, encode(document)), f"v{number}")
        for kind, name in _KINDS.items():
            with Replicating(turn.directory / name) as there:
                there.operator.post("/projects", json={"project_name": "bench"})
                far = here.endpoint(name, there.url, type=kind)
                filters = [{"type": "name", "value": "bench/**"}]
                policy = here.policy(name, to=far, filters=filters, override=True)
                for when in ("first", "again"):
                    found[f"{when}_{name}_s"] = _done(here, policy)
    return found


def _done(here: Replicating, policy: int) -> float:
    begin = time.monotonic()
    execution = here.replicate(policy)
    if execution["status"] != "Succeed":
        raise BenchmarkError(f"the replication ended as {execution['status']}: {execution['status_text']}")
    return time.monotonic() - begin
