"""The face of Harbor's API: from a request below ``/api`` to the operation it asks for, and who may.

Callers say who they are by Basic credentials (users, robots, personal access tokens), by a personal access token as
Bearer, by a client certificate, or, where they are browsers, by the cookie of a session. Tokens of the token service are
for ``/v2/``: they carry what may be done to repositories, and no more.
"""

from __future__ import annotations

from dataclasses import replace

from lading.access.authenticate import LoginRefused
from lading.access.htpasswd import parse_basic
from lading.access.principal import ANONYMOUS, Principal
from lading.access.rights import Rights
from lading.api import certified
from lading.api.harbor import openapi, problems, sessions, systeminfo, trial
from lading.api.harbor.call import BASE, Call
from lading.api.harbor.paths import Found, find
from lading.api.harbor.permission import refusal
from lading.api.harbor.problems import NotYet
from lading.api.harbor.route import Route
from lading.api.request import Request, Response
from lading.api.services import Services
from lading.control.accounts import Accounts
from lading.errors import Denied, Invalid, Missing, Unsupported
from lading.stores.metadata.transaction import Transaction

PREFIX = b"/api"
_MOST_ARGUMENT = 8192
_OPEN = {
    f"{BASE}/openapi.json": openapi.get,
    f"{BASE}/try": trial.page,
    f"{BASE}/try.js": trial.script,
    f"{BASE}/try.css": trial.style,
    "/api/version": systeminfo.version,
}
"""What is no operation of Harbor's, or stands beside its versions; for everybody."""


async def answer(request: Request, services: Services, accounts: Accounts, path: bytes) -> Response:
    """Whatever is asked below ``/api``."""
    call = Call(request, services, accounts, {})
    response = await problems.told(request, _answer(call, path))
    response.headers.extend(call.session)
    return response


async def _answer(call: Call, path: bytes) -> Response:
    request = call.request
    if any("\0" in name or "\0" in value or len(value) > _MOST_ARGUMENT for name, value in request.arguments()):
        raise Invalid(f"an argument has a NUL character in it, or more than {_MOST_ARGUMENT} characters")
    besides = _OPEN.get(path.decode("latin-1"))
    if besides is not None:
        request.route = path.decode("latin-1")
        if request.method not in ("GET", "HEAD"):
            raise Unsupported(f"{request.method} is not allowed here; GET is")
        return await besides(call)
    found = find(path) if path.startswith(BASE.encode() + b"/") else None
    if found is None:
        raise Missing(f"there is nothing at {request.scope['path'][:200]}; the operations are below {BASE}/")
    request.route = BASE + found.path
    route = _route(found, request)
    call.path = found.parameters(route)
    if any("\0" in part for part in found.parts):
        raise Invalid("the path has a NUL character in it")
    if not route.permission.open:
        await _admit(call, route)
    return await route.handler(call)


def _route(found: Found, request: Request) -> Route:
    method = "GET" if request.method == "HEAD" and "HEAD" not in found.methods else request.method
    if method not in found.methods:
        raise Unsupported(f"{request.method} is not allowed here; {', '.join(sorted(found.methods))} are")
    route = found.methods[method]
    if route is None:
        raise NotYet(
            f"{method} {found.path} is an operation of Harbor's that this registry does not have; "
            "docs/reference/harbor-api.md says which it has"
        )
    return route


async def _admit(call: Call, route: Route) -> None:
    call.who = call.request.principal = await _who(call)
    if call.who.limits and not route.permission.limited:
        raise Denied("this token is limited to repositories; the API is for tokens without limits")

    async def ask(tx: Transaction) -> None:
        rights: Rights = await call.rights(tx)
        if call.known and not rights.who.id:
            raise refusal(replace(call, who=ANONYMOUS))  # locked out since
        await route.permission.ask(tx, call, rights)

    await call.services.metadata.read(ask)


async def _who(call: Call) -> Principal:
    authorization = call.request.header(b"authorization")
    if authorization is None:
        external = call.services.manners.external
        who, call.session = await sessions.who(call.request, call.services, call.accounts)
        if call.session:
            sessions.demand_token(call.request, call.services)
            return who
        return await certified.caller(call.request, call.accounts, external) or ANONYMOUS
    authenticate, address = call.accounts.authenticate, call.request.address
    if authorization[:7].lower() == b"bearer ":
        return await authenticate.bearer(authorization[7:].strip().decode("latin-1"), address)
    credentials = parse_basic(authorization)
    if credentials is None:
        raise LoginRefused("the Authorization header is neither Basic authentication nor a personal access token")
    return await authenticate.login(credentials.user, credentials.password, address)
