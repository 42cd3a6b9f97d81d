"""Endpoints: other registries, with a login that is kept sealed and never shown again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import BindParameter, bindparam, delete, exists, insert, or_, select, text, update

from lading.access.sealing import Seal
from lading.errors import Conflict, Invalid
from lading.remotes.adapters.kinds import VENDORS, example
from lading.stores.metadata.paging import Field, Listing, Page
from lading.stores.metadata.schema.control import projects
from lading.stores.metadata.schema.replication import endpoints, replication_policies
from lading.stores.metadata.transaction import Row, Statement, Transaction

HARBOR, PLAIN = "harbor", "docker-registry"
KINDS = (HARBOR, PLAIN, *VENDORS)
"""Registries that speak Harbor's API beside the protocol (another of our own kind does), any other, and those of vendors."""
MOST_NAME = 128
_MOST_URL = 512
_MOST_SECRET = 64 << 10
_PURPOSE = "endpoint"


@dataclass(frozen=True)
class Endpoint:
    """Another registry. ``trouble`` is what the last look found wrong; ``sealed`` the password. Times in milliseconds."""

    id: int
    name: str
    description: str
    kind: str
    url: str
    insecure: bool
    username: str
    ca: str
    trouble: str
    created_at: int
    updated_at: int
    sealed: bytes | None = None

    def password(self, seal: Seal) -> str:
        """The password, opened."""
        return seal.open(self.sealed, _PURPOSE).decode() if self.sealed else ""


def sealed(seal: Seal, password: str) -> bytes | None:
    """A password as it is kept."""
    return seal.seal(password.encode(), _PURPOSE) if password else None


_columns = (
    endpoints.c.id,
    endpoints.c.name,
    endpoints.c.description,
    endpoints.c.kind,
    endpoints.c.url,
    endpoints.c.insecure,
    endpoints.c.username,
    endpoints.c.ca,
    endpoints.c.trouble,
    endpoints.c.created_at,
    endpoints.c.updated_at,
    endpoints.c.secret,
)
_BY_ID = Statement(select(*_columns).where(endpoints.c.id == bindparam("id")))
_BY_NAME = Statement(select(*_columns).where(endpoints.c.name == bindparam("name")))
_ALL = Statement(select(*_columns).order_by(endpoints.c.id))
_LISTED = Listing(
    select(*_columns),
    {
        "id": Field(endpoints.c.id, "number"),
        "name": Field(endpoints.c.name),
        "type": Field(endpoints.c.kind),
        "url": Field(endpoints.c.url),
        "description": Field(endpoints.c.description),
        "insecure": Field(endpoints.c.insecure, "flag"),
        "creation_time": Field(endpoints.c.created_at, "moment"),
        "update_time": Field(endpoints.c.updated_at, "moment"),
    },
    (endpoints.c.id,),
)
_given: dict[str, BindParameter[Any]] = {
    name: bindparam(f"new_{name}")
    for name in ("name", "description", "kind", "url", "insecure", "username", "secret", "ca", "trouble")
}
_ADD = Statement(insert(endpoints).values(**_given, created_at=bindparam("now"), updated_at=bindparam("now")))
_CHANGE = Statement(
    update(endpoints).where(endpoints.c.id == bindparam("endpoint")).values(**_given, updated_at=bindparam("now"))
)
_NOTE = Statement(text("UPDATE endpoints SET trouble = :trouble WHERE id = :endpoint AND trouble <> :trouble"))
_DELETE = Statement(delete(endpoints).where(endpoints.c.id == bindparam("endpoint")))
_USED = Statement(
    select(
        or_(
            exists().where(
                or_(
                    replication_policies.c.source_id == bindparam("endpoint"),
                    replication_policies.c.target_id == bindparam("endpoint"),
                )
            ),
            exists().where(projects.c.registry_id == bindparam("endpoint")),
        )
    )
)


class Endpoints:
    """The endpoints, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def find(self, endpoint: int) -> Endpoint | None:
        """The endpoint of that id."""
        return _record(await self._tx.row(_BY_ID, id=endpoint))

    async def named(self, name: str) -> Endpoint | None:
        """The endpoint of that name."""
        return _record(await self._tx.row(_BY_NAME, name=name))

    async def all(self) -> Sequence[Endpoint]:
        """Every endpoint."""
        return [_made(row) for row in await self._tx.rows(_ALL)]

    async def listed(self, page: Page) -> tuple[int, Sequence[Endpoint]]:
        """How many endpoints fit, and a page of them."""
        total, rows = await _LISTED.page(self._tx, page)
        return total, [_made(row) for row in rows]

    async def add(self, given: Endpoint) -> Endpoint:
        """Add an endpoint; raises ``Conflict`` where there is one of that name."""
        if await self.named(given.name) is not None:
            raise _taken(given.name)
        await self._tx.execute(_ADD, **_values(given), now=self._tx.now)
        added = await self.named(given.name)
        assert added is not None
        return added

    async def change(self, given: Endpoint) -> None:
        """Set what can be changed of an endpoint."""
        other = await self.named(given.name)
        if other is not None and other.id != given.id:
            raise _taken(given.name)
        await self._tx.execute(_CHANGE, endpoint=given.id, **_values(given), now=self._tx.now)

    async def note(self, endpoint: int, trouble: str) -> None:
        """Keep what a look found wrong, nothing if it was well."""
        await self._tx.execute(_NOTE, endpoint=endpoint, trouble=trouble[:1000])

    async def used(self, endpoint: int) -> bool:
        """Whether a policy or a project names it."""
        return bool(await self._tx.value(_USED, endpoint=endpoint))

    async def delete(self, endpoint: int) -> None:
        """Delete an endpoint that nothing uses."""
        await self._tx.execute(_DELETE, endpoint=endpoint)


def check(given: Endpoint, password: str) -> None:
    """Raise ``Invalid`` for what cannot be an endpoint."""
    check_name(given.name)
    if len(given.description) > 1024:
        raise Invalid("a description has at most 1024 characters")
    if given.kind not in KINDS:
        raise Invalid(f"the type is one of {', '.join(KINDS)}; {PLAIN} is for any that is none of the others")
    if len(given.username) > 512 or len(password) > _MOST_SECRET:
        raise Invalid("the login is too long: a name has at most 512 characters")
    if not (given.username + password).isprintable() and "\n" not in password:
        raise Invalid("the login has control characters in it")
    if given.ca and ("-----BEGIN CERTIFICATE-----" not in given.ca or len(given.ca) > 256 << 10):
        raise Invalid("ca_certificate is certificates in PEM, which begin with -----BEGIN CERTIFICATE-----")
    _, host = place_of(given.url)
    if reads := example(given.kind, host):
        raise Invalid(f"{host} is no registry of the type {given.kind}; its url reads like {reads}")


def check_name(name: str) -> None:
    """Raise ``Invalid`` for what cannot be the name of an endpoint or a policy."""
    if not name.strip() or len(name) > MOST_NAME or not name.isprintable():
        raise Invalid(f"a name has 1 to {MOST_NAME} characters, none of them a control character")


def place_of(url: str) -> tuple[str, str]:
    """Scheme and ``host[:port]`` of an endpoint's URL; raises ``Invalid`` where it is none."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        parts, port, host = urlsplit(""), None, ""
    if parts.scheme not in ("http", "https") or not host or len(url) > _MOST_URL or not url.isprintable():
        raise Invalid("url is the address of a registry, as https://registry.example.org")
    if parts.username or parts.password or parts.path.strip("/") or parts.query or parts.fragment:
        raise Invalid("url is scheme, host and port alone; a login goes into credential")
    name = f"[{host}]" if ":" in host else host
    return parts.scheme, name if port is None else f"{name}:{port}"


def _taken(name: str) -> Conflict:
    return Conflict(f"there is an endpoint {name} already")


def _values(given: Endpoint) -> dict[str, object]:
    return {
        "new_name": given.name,
        "new_description": given.description,
        "new_kind": given.kind,
        "new_url": given.url,
        "new_insecure": given.insecure,
        "new_username": given.username,
        "new_secret": given.sealed,
        "new_ca": given.ca,
        "new_trouble": given.trouble,
    }


def _record(row: Row | None) -> Endpoint | None:
    return None if row is None else _made(row)


def _made(row: Row) -> Endpoint:
    made = Endpoint(*row)
    return replace(made, insecure=bool(made.insecure))  # SQLite has numbers for it
