"""Whether the registry is there, and well."""

from __future__ import annotations

from lading.api.harbor.call import Call, Model
from lading.api.request import Response
from lading.errors import Unavailable
from lading.stores.metadata.transaction import Transaction


class Component(Model):
    """A part of the registry; ``error`` says what is wrong with it."""

    name: str
    status: str
    error: str | None = None


class Health(Model):
    """``healthy`` if all parts are."""

    status: str
    components: list[Component]


async def ping(call: Call) -> Response:  # noqa: ARG001 - every handler is called alike
    """Answers Pong."""
    return Response(200, [(b"content-type", b"text/plain; charset=utf-8")], b"Pong")


async def health(call: Call) -> Response:
    """The database, asked now, and whatever the health section of the configuration has found to fail."""
    parts = [Component(name="core", status="healthy"), await _database(call)]
    parts += [
        Component(name=name, status="unhealthy", error=why) for name, why in sorted(call.services.failing().items())
    ]
    well = all(part.status == "healthy" for part in parts)
    return call.json(Health(status="healthy" if well else "unhealthy", components=parts))


async def _database(call: Call) -> Component:
    async def look(tx: Transaction) -> None:
        await call.rights(tx)

    try:
        await call.services.metadata.read(look)
    except Unavailable as error:
        return Component(name="database", status="unhealthy", error=error.message)
    return Component(name="database", status="healthy")
