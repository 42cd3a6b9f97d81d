"""One call of an operation: the request, who calls, what its path names, and the answers it can be given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec

from lading.access.principal import ANONYMOUS, Kind, Principal
from lading.access.rights import Rights
from lading.api.harbor import query
from lading.api.harbor.problems import JSON
from lading.api.request import Headers, Request, Response
from lading.api.services import Services
from lading.control.accounts import Accounts
from lading.control.audit import Audit
from lading.control.projects import Project
from lading.control.replication.run import Replicate
from lading.errors import Invalid
from lading.registry.sight import EVERYTHING, Sight
from lading.stores.metadata.paging import Page
from lading.stores.metadata.transaction import Transaction

T = TypeVar("T")

BASE = "/api/v2.0"
_MOST_BODY = 256 * 1024
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

Number = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
"""A whole number that every database and every JSON reader can hold."""
Id = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]


class Model(msgspec.Struct, omit_defaults=True):
    """A body of the API; what is None is left out of an answer, and what Harbor has besides is passed over."""


@dataclass
class Call:
    """See the module. ``project``, ``repository`` and ``sight`` are set once the permission has been asked for.

    ``project`` is the one that the path names, ``repository`` the stored name of the repository in it, ``sight`` what
    may be seen of a list, ``rights`` what the caller could do when the request came, ``session`` what its session is told with any answer.
    """

    request: Request
    services: Services
    accounts: Accounts
    path: Mapping[str, str]
    who: Principal = ANONYMOUS
    project: Project | None = None
    repository: str = ""
    sight: Sight = EVERYTHING
    admin: bool = False
    headers: Headers = field(default_factory=list)
    session: Headers = field(default_factory=list)

    @property
    def known(self) -> bool:
        """Whether the caller said who they are."""
        return self.who.kind is not Kind.ANONYMOUS

    @property
    def replicate(self) -> Replicate:
        """What reaches other registries."""
        assert self.services.replicate is not None
        return self.services.replicate

    @property
    def here(self) -> Project:
        """The project that the path names; permissions in a project see to it that there is one."""
        assert self.project is not None
        return self.project

    def number(self, name: str) -> int:
        """A number in the path; one that is none is nothing's id."""
        text = self.path[name]
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise Invalid(f"{name} is {text[:40]!r}, but must be a whole number")
        return int(text)

    def argument(self, name: str) -> str:
        """An argument of the query, empty where it is not given."""
        return self.request.argument(name) or ""

    def flag(self, name: str, *, usual: bool) -> bool:
        """The same for one that is true or false."""
        given = self.argument(name)
        if not given:
            return usual
        if given.lower() not in ("true", "false", "1", "0"):
            raise Invalid(f"{name} is {given[:40]!r}, but must be true or false")
        return given.lower() in ("true", "1")

    def page(self, *, sortable: bool = True) -> Page:
        """Which page of a list is wanted."""
        return query.page_of(self.request, sortable=sortable)

    async def body(self, model: type[T], *, optional: bool = False) -> T:
        """The body, read as ``model``; what is null in it is as if it were not there, and so is an ``optional`` one."""
        raw = await self.request.body(_MOST_BODY) or (b"{}" if optional else b"")
        if _NUL.search(raw):
            raise Invalid("the body has a NUL character in it")
        try:
            return msgspec.convert(_without_null(msgspec.json.decode(raw)), model)
        except msgspec.DecodeError as error:
            raise Invalid(f"the body is not what this operation takes: {error}") from None
        except (UnicodeDecodeError, RecursionError):
            raise Invalid("the body is no JSON that can be read") from None

    async def rights(self, tx: Transaction) -> Rights:
        """What the caller may do now."""
        return await Rights.of(tx, self.who, anonymous=self.accounts.settings.anonymous)

    async def note(
        self, tx: Transaction, operation: str, kind: str, resource: str, *, project: str = "", detail: str = ""
    ) -> None:
        """Write a change of settings into the audit log, in the transaction that makes it."""
        await Audit(tx).add(operation, kind, resource, by=self.request.by(), project=project, detail=detail)

    # ---- answers

    def json(self, content: Any, status: int = 200) -> Response:
        """Content as JSON."""
        return Response(status, [JSON, *self.headers], msgspec.json.encode(content))

    def listed(self, page: Page, total: int, content: Sequence[Any]) -> Response:
        """A page of a list, with how many there are in all and where the pages before and behind it are."""
        link = query.links(self.request, page, total)
        headers: Headers = [JSON, (b"x-total-count", str(total).encode())]
        if link:
            headers.append((b"link", link.encode("latin-1", "replace")))
        return Response(200, headers, msgspec.json.encode(content))

    def made(self, path: str, content: Any = None) -> Response:
        """Something was made, and is to be found at ``path`` below the API's own."""
        location = f"{self.services.manners.prefix}{BASE}{path}"
        body = b"" if content is None else msgspec.json.encode(content)
        return Response(201, [JSON, (b"location", location.encode("latin-1"))], body)

    def done(self, status: int = 200) -> Response:
        """It is done, and there is nothing to say."""
        return Response(status, [(b"content-length", b"0")])


def _without_null(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _without_null(value) for name, value in content.items() if value is not None}
    if isinstance(content, list):
        return [_without_null(value) for value in content]
    return content


def moment(milliseconds: int) -> str:
    """A time as Harbor writes it."""
    read = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return f"{read:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"
