"""Browsers' logins, at Harbor's paths: ``POST /c/login`` with a form, ``GET /c/log_out``, and the cookie they set.

A request of Harbor's API that has no ``Authorization`` is made for the session of its cookie ``sid``. Where that
changes something it must name the token that every answer to the session tells, in ``X-Harbor-CSRF-Token``.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from lading.access.authenticate import WRONG, LoginRefused
from lading.access.credentials import Prefix
from lading.access.identities import SOURCE as OIDC
from lading.access.personal import worth_noting
from lading.access.principal import ANONYMOUS, Kind, Principal
from lading.access.robots import stored_name
from lading.access.sessions import Sessions, csrf_fits, csrf_token
from lading.access.users import Users
from lading.api import cookies, sites
from lading.api.request import Headers, Request, Response
from lading.api.services import Services
from lading.control.accounts import Accounts
from lading.errors import Denied, Invalid, Unsupported

COOKIE, CSRF_COOKIE, CSRF_HEADER = "sid", "__csrf", "x-harbor-csrf-token"
_PROGRAMS = "_gorilla_csrf"
"""The cookie that programs look for beside the token in a refusal, before they ask again with both."""
_MOST_FORM = 16 * 1024
NOT_KEPT = (b"cache-control", b"no-store")


async def who(request: Request, services: Services, accounts: Accounts) -> tuple[Principal, Headers]:
    """Whose session the request's cookie names, nobody where it names none, and what to tell the browser.

    It is told with a refusal too (:func:`demand_token`), so that whoever was refused can ask again.
    """
    secret = cookies.read(request, COOKIE)
    if not secret:
        return ANONYMOUS, []
    times = accounts.settings.sessions
    session = await services.metadata.read(lambda tx: Sessions(tx, times).of_secret(secret))
    if session is None or not await accounts.alive(session.source, session.who.id):
        return ANONYMOUS, []
    if worth_noting(session.used_at, services.metadata.now()):
        await services.metadata.write(lambda tx: Sessions(tx, times).used(session), durable=False)
    return session.who, _token(request, services, secret)


def demand_token(request: Request, services: Services) -> None:
    """Raise ``Denied`` where a request of a session changes something and does not show that our own page sends it."""
    if request.method in sites.SAFE:
        return
    sites.demand_own_page(request, services.manners.external)
    if not csrf_fits(cookies.read(request, COOKIE), request.text(CSRF_HEADER.encode())):
        raise Denied("the CSRF token is missing or not this session's: send back the last X-Harbor-CSRF-Token")


async def begin(request: Request, services: Services, accounts: Accounts, who: Principal) -> Headers:
    """Begin a session of somebody who has shown who they are, under a name no one else can know; the cookies for it."""
    before = cookies.read(request, COOKIE)
    times = accounts.settings.sessions
    secret = await services.metadata.write(lambda tx: Sessions(tx, times).begin(who.id, before))
    accounts.recorder.login(who.name, request.address, result="success")
    kept = cookies.write(COOKIE, secret, secure=cookies.secure(request, services.manners.external))
    return [NOT_KEPT, kept, *_token(request, services, secret)]


def _token(request: Request, services: Services, secret: str) -> Headers:
    token, secure = csrf_token(secret), cookies.secure(request, services.manners.external)
    kept = [cookies.write(CSRF_COOKIE, token, secure=secure, strict=True, script=True)]
    if not cookies.read(request, _PROGRAMS):
        kept.append(cookies.write(_PROGRAMS, token, secure=secure, strict=True))
    return [(CSRF_HEADER.encode(), token.encode()), *kept]


async def login(request: Request, services: Services, accounts: Accounts) -> Response:
    """Begin a session."""
    if request.method != "POST":
        raise Unsupported(f"{request.method} is not allowed here; POST is")
    sites.demand_own_page(request, services.manners.external)
    form = await read_form(request)
    name, password = form.get("principal", ""), form.get("password", "")
    if stored_name(name) is not None or password.startswith(tuple(Prefix)):
        raise LoginRefused(WRONG)  # robots and tokens are for programs, which need no session
    who = await accounts.authenticate.login(name, password.encode(), request.address)
    user = await services.metadata.read(lambda tx: Users(tx).find(who.id)) if who.kind is Kind.USER else None
    if user is None or user.source == OIDC:
        raise LoginRefused(WRONG)  # a CLI secret of one's own choice is no password either
    request.principal = who
    return Response(200, await begin(request, services, accounts, who))


async def log_out(request: Request, services: Services, accounts: Accounts) -> Response:
    """End it."""
    if request.method not in ("GET", "POST"):
        raise Unsupported(f"{request.method} is not allowed here; GET is")
    sites.demand_own_page(request, services.manners.external)
    secret, times = cookies.read(request, COOKIE), accounts.settings.sessions
    if secret:
        await services.metadata.write(lambda tx: Sessions(tx, times).end(secret))
    secure = cookies.secure(request, services.manners.external)
    gone = [cookies.write(name, "", secure=secure, age=0) for name in (COOKIE, CSRF_COOKIE, _PROGRAMS)]
    return Response(200, [NOT_KEPT, *gone])


async def read_form(request: Request) -> dict[str, str]:
    """A form as browsers send it; of a name that is repeated the first counts."""
    kind = request.text(b"content-type").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Invalid("the body must be a form (application/x-www-form-urlencoded)")
    raw = await request.body(_MOST_FORM)
    try:
        fields = parse_qsl(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError as error:
        raise Invalid(f"the form cannot be read: {error}") from None
    if any("\0" in value for _, value in fields):
        raise Invalid("the form has a NUL character in it")
    return dict(reversed(fields))
