"""A docker engine on this machine, as far as an image can be had from it (Engine API, ``GET /images/{name}/get``)."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from lading.errors import BadAnswer, ManifestUnknown, Unreachable
from lading.oci.reference import Reference
from lading.remotes import answers, files
from lading.remotes.transport import Policy, Transport

_SILENCE = 300.0
"""How many seconds an engine may need before the next piece: it packs the image as it goes."""


def socket_of(environment: Mapping[str, str]) -> Path | None:
    """The socket an engine listens on: of ``DOCKER_HOST`` when that is a socket, else docker's usual one, if it is there."""
    named = environment.get("DOCKER_HOST", "")
    if named and not named.startswith("unix://"):
        return None
    path = Path(named.removeprefix("unix://") or "/var/run/docker.sock")
    try:
        return path if stat.S_ISSOCK(path.stat().st_mode) else None
    except OSError:
        return None


async def save(socket: Path, reference: Reference, target: Path) -> None:
    """Write what ``docker save`` would, without docker's client; :class:`ManifestUnknown` when it has no such image."""
    transport = Transport("engine", Policy(scheme="http", socket=str(socket), silence=_SILENCE))
    place = f"the engine at {socket}"
    try:
        answer = await transport.send("GET", f"http://engine/images/{quote(str(reference), safe='')}/get")
        try:
            if answer.status_code == 404:
                raise ManifestUnknown(f"{place} has no image {reference}")
            if answer.status_code != 200:
                raise await answers.refusal(answer, place, str(reference))
            offset = 0
            async with files.published(target, sync=False) as handle:
                async for chunk in answer.pieces():
                    with files.told(f"write {target}"):
                        await asyncio.to_thread(files.write_all, handle, chunk, offset)
                    offset += len(chunk)
        finally:
            await answer.aclose()
    except (Unreachable, BadAnswer) as error:
        raise Unreachable(f"{place} does not answer: {error.message}") from None
    finally:
        await transport.close()
