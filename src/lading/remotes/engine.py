"""A docker engine on this machine, as far as an image can be had from it (Engine API, ``GET /images/{name}/get``)."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from lading.errors import ManifestUnknown, Unreachable
from lading.oci.reference import Reference
from lading.remotes import answers, files


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
    import httpx2  # noqa: PLC0415 - its import takes longer than most commands

    transport = httpx2.AsyncHTTPTransport(uds=str(socket))
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://engine", timeout=httpx2.Timeout(300, connect=5)
    ) as client:
        try:
            request = client.build_request("GET", f"/images/{quote(str(reference), safe='')}/get")
            answer = await client.send(request, stream=True)
            try:
                if answer.status_code == 404:
                    raise ManifestUnknown(f"the engine at {socket} has no image {reference}")
                if answer.status_code != 200:
                    raise await answers.refusal(answer, f"the engine at {socket}", str(reference))
                offset = 0
                async with files.published(target, sync=False) as handle:
                    async for chunk in answer.aiter_raw(files.PIECE):
                        with files.told(f"write {target}"):
                            await asyncio.to_thread(files.write_all, handle, chunk, offset)
                        offset += len(chunk)
            finally:
                await answer.aclose()
        except (httpx2.HTTPError, OSError) as error:
            raise Unreachable(f"the engine at {socket} does not answer: {error}") from None
