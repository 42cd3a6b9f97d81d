"""A docker engine on this machine, as far as an image can be had from it (Engine API, ``GET /images/{name}/get`` and beside it)."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from lading.errors import BadAnswer, ManifestUnknown, Unreachable
from lading.oci.reference import Reference
from lading.remotes import answers, files
from lading.remotes.transport import Answer, Policy, Transport

_MAX_LIST = 32 << 20
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


async def tags(socket: Path, reference: Reference) -> list[str]:
    """The tags an engine has of a reference's repository."""
    filters = json.dumps({"reference": [reference.short]})
    async with _asked(socket, f"/images/json?filters={quote(filters)}", "its images") as answer:
        try:
            listed = json.loads(await answers.read(answer, _MAX_LIST, "its images"))
            names = [name for image in listed for name in image["RepoTags"] or ()]
            found = [Reference.parse(name) for name in names if name != "<none>:<none>"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise BadAnswer("its list of images is none") from None
    return sorted({one.tag for one in found if one.name == reference.name and one.tag})


async def save(socket: Path, references: Sequence[Reference], target: Path) -> None:
    """Write what ``docker save`` would, without docker's client; :class:`ManifestUnknown` when it has no such image."""
    names = [quote(str(one), safe="") for one in references]
    path = f"/images/{names[0]}/get" if len(names) == 1 else f"/images/get?names={'&names='.join(names)}"
    async with _asked(socket, path, ", ".join(map(str, references))) as answer:
        offset = 0
        async with files.published(target, sync=False) as handle:
            async for chunk in answer.pieces():
                with files.told(f"write {target}"):
                    await asyncio.to_thread(files.write_all, handle, chunk, offset)
                offset += len(chunk)


@asynccontextmanager
async def _asked(socket: Path, path: str, what: str) -> AsyncGenerator[Answer]:
    transport = Transport("engine", Policy(scheme="http", socket=str(socket), silence=_SILENCE))
    place = f"the engine at {socket}"
    try:
        answer = await transport.send("GET", f"http://engine{path}")
        try:
            if answer.status_code == 404:
                raise ManifestUnknown(f"{place} has no image {what}")
            if answer.status_code != 200:
                raise await answers.refusal(answer, place, what)
            yield answer
        finally:
            await answer.aclose()
    except (Unreachable, BadAnswer) as error:
        raise Unreachable(f"{place} does not answer: {error.message}") from None
    finally:
        await transport.close()
