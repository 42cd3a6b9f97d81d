"""The ASGI application: which face answers, who may, and what is told of it afterwards.

Nothing stands between a request and its handler but this one function: a layer of middleware would cost more than a
pull.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from lading.access.scopes import Scope
from lading.api import problems, search
from lading.api.distribution import routes
from lading.api.distribution.base import no_such_path
from lading.api.request import FilePart, Headers, Request, Response
from lading.api.services import Services
from lading.api.streaming import RangeUnsatisfiable, send_file
from lading.errors import LadingError, Unauthenticated, Unavailable, Unsupported
from lading.oci import reference as references
from lading.telemetry import logs

if TYPE_CHECKING:
    from lading.api.accounts import AccountsFace

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

HEALTH = b"/api/v2.0/health"
"""Answered also while the registry is not well, to say so."""
CLIENT_GONE = 499
"""Logged for a request whose client did not wait for the answer."""


class Observer(Protocol):
    """Hears of every request."""

    def began(self, request: Request) -> None:
        """One arrived."""

    def answered(self, request: Request, route: str, status: int, size: int, seconds: float) -> None:
        """It is over. ``route`` is the endpoint as the specification writes it; ``size`` in bytes of the answer's body."""


class Application:
    """Answers requests with ``services``; ``headers`` go with every answer, ``accounts`` answers besides where they are on.

    While ``failing`` names something, nothing is answered but 503, as registry:2 does.
    """

    def __init__(
        self,
        services: Services,
        headers: Headers,
        observer: Observer,
        failing: Callable[[], Mapping[str, str]] = dict,
        accounts: AccountsFace | None = None,
    ) -> None:
        self._services = services
        self._accounts = accounts
        self._observer = observer
        self._failing = failing
        self._headers: Headers = [
            (b"docker-distribution-api-version", b"registry/2.0"),
            (b"x-content-type-options", b"nosniff"),
            *headers,
        ]
        self._prefix = services.manners.prefix.encode()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request = Request(scope, receive, self._services.manners.proxies)
        logs.request_id.set(request.id)
        self._observer.began(request)
        status, size = 500, 0
        try:
            try:
                response = await self._answer(request)
            except LadingError as error:
                response = self._problem(error)
            except ConnectionError:
                raise
            except Exception:
                log.exception("request %s failed: %s %s", request.id, request.method, scope["path"])
                response = problems.body(
                    500, "UNKNOWN", f"the registry failed; its log says more about request {request.id}"
                )
            status, size = response.status, await self._send(request, response, send)
        except (ConnectionError, EOFError):
            status = CLIENT_GONE
        finally:
            self._observer.answered(request, request.route, status, size, time.perf_counter() - started)

    async def _answer(self, request: Request) -> Response:
        services = self._services
        path: bytes = request.scope["raw_path"]
        if self._failing() and not path.endswith(HEALTH):
            raise Unavailable("service unavailable", detail="health check failed: please see /debug/health")
        if self._prefix:
            if not path.startswith(self._prefix + b"/"):
                raise no_such_path(request.scope["path"], self._services.manners)
            path = path[len(self._prefix) :]
        if path.startswith(b"/v2"):
            return await self._distribution(request, path)
        if path in (b"/v1/_ping", b"/v1/search") and services.manners.search:
            request.route = "/v1/search"
            await self._admit_search(request, path)
            handler = search.search if path == b"/v1/search" else search.ping
            return await handler(request, services)
        if self._accounts is not None and (response := await self._accounts.answer(request, path)) is not None:
            return response
        if path == b"/":
            request.route = "/"
            return Response(200, [(b"cache-control", b"no-cache")])
        raise no_such_path(request.scope["path"], self._services.manners)

    async def _distribution(self, request: Request, path: bytes) -> Response:
        found = routes.find(path)
        if found is None:
            raise no_such_path(request.scope["path"], self._services.manners)
        route, name, reference = found
        request.route = route.path
        endpoint = route.methods.get(request.method)
        if endpoint is None:
            allowed = ", ".join(sorted(route.methods))
            raise MethodNotAllowed(f"{request.method} is not allowed on {route.path}; {allowed} are", allowed)
        handler, permission = endpoint
        aliases = self._services.manners.aliases
        if aliases is not None:
            if route is routes.BASE and aliases.of_host(request):
                # dockerd logs in where it is asked to here, with what is for Docker Hub; who may pull is judged below
                return await handler(request, self._services, name, reference)
            if name:
                request.alias = await aliases.prefix(request, name, self._services.pull)
                name = references.repository(request.alias + name)
        wanted = permission(request, name)
        try:
            await self._admit(request, wanted)
        except Unauthenticated as refusal:
            await self._admit_otherwise(request, route, wanted, (name, reference), refusal)
        return await handler(request, self._services, name, reference)

    async def _admit(self, request: Request, wanted: tuple[Any, ...]) -> None:
        guard = self._services.guard
        authorization = request.header(b"authorization")
        try:
            principal = guard.admit_now(authorization, wanted)
        except Unauthenticated:
            if not guard.needs_origin:
                raise
            # what the client calls this host matters to a refusal alone
            principal = guard.admit_now(authorization, wanted, request.origin)
        if principal is None:
            origin = request.origin if guard.needs_origin else ""
            if self._accounts is not None:
                principal = await self._accounts.certified(request, wanted, origin)
            principal = principal or await guard.admit(authorization, wanted, origin, request.address)
        request.principal = principal

    async def _admit_search(self, request: Request, path: bytes) -> None:
        if self._accounts is None:
            await self._admit(request, search.PERMISSION if path == b"/v1/search" else ())
        elif path == b"/v1/search":
            # docker sends what it has and this header; podman sends nothing, and if refused asks for the catalog by name
            says = request.header(b"authorization") or request.header(b"x-docker-token")
            await self._admit(request, search.PERMISSION_OF_ACCOUNTS if says else ())

    async def _admit_otherwise(
        self,
        request: Request,
        route: routes.Route,
        wanted: tuple[Scope, ...],
        place: tuple[str, str],
        refusal: Unauthenticated,
    ) -> None:
        """A second look at somebody who was refused, where there are accounts."""
        late = None
        if self._accounts is not None and route is routes.UPLOAD:
            late = self._accounts.late(request, wanted, *place)
        elif self._accounts is not None and route is routes.UPLOADS and len(wanted) > 1:
            # what may not be read cannot be mounted, as if it were not there: the blob is sent instead
            await self._admit(request, wanted[:1])
            request.mountable = False
            late = request.principal
        if late is None:
            raise refusal
        request.principal = late

    def _problem(self, error: LadingError) -> Response:
        response = problems.distribution(error)
        if isinstance(error, RangeUnsatisfiable):
            response.headers.append((b"content-range", f"bytes */{error.size}".encode()))
        if isinstance(error, MethodNotAllowed):
            response.headers.append((b"allow", error.allowed.encode()))
        return response

    async def _send(self, request: Request, response: Response, send: Send) -> int:
        body = response.body
        headers = [*response.headers, *self._headers, (b"x-request-id", request.id.encode())]
        if isinstance(body, FilePart):
            try:
                await send({"type": "http.response.start", "status": response.status, "headers": headers})
                await send_file(request.scope, body, send)
            finally:
                body.file.close()
            return body.count
        for name, _ in response.headers:
            if name == b"content-length":
                break
        else:
            if response.status not in (204, 304):
                headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return 0 if request.method == "HEAD" else len(body)


class MethodNotAllowed(Unsupported):
    """A method that an endpoint does not have; ``allowed`` are those it has."""

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed
