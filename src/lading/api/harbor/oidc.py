"""Logging in by an OpenID Connect provider, at Harbor's paths, and the test call to one.

``/c/oidc/login`` sends a browser to the provider, which sends it back to ``/c/oidc/callback``. Who has no user yet gets one,
or chooses its name at ``/c/oidc/onboard``.
"""

from __future__ import annotations

import html

import msgspec

from lading.access.authenticate import LoginRefused
from lading.access.identities import SOURCE, Person
from lading.access.issuers import TokenRefused, published
from lading.access.oidc import Oidc, safe_target
from lading.access.outbound import ProviderFailed
from lading.access.principal import Kind, Principal
from lading.access.users import User, Users
from lading.api import cookies, sites
from lading.api.harbor import sessions
from lading.api.harbor.call import Call, Model, Text
from lading.api.request import Headers, Request, Response
from lading.api.services import Services
from lading.control.accounts import Accounts
from lading.control.audit import Audit
from lading.errors import Conflict, Invalid, Missing, Unsupported
from lading.stores.metadata.transaction import Transaction

_PENDING, _ARRIVAL = "oidc_login", "oidc_arrival"
_CALLBACK, _ONBOARD = "/c/oidc/callback", "/c/oidc/onboard"
_MOST_ANSWER = 4096
_POLICY = b"default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Lading: choose a name</title>
<h1>Choose a name</h1>
<p>{words}</p>
<form method="post">
<p><label>Name <input name="username" value="{name}" maxlength="255" required autofocus></label>
<button>Go on</button></p>
</form>
</html>
"""


class Ping(Model):
    """A provider to try."""

    url: Text
    verify_cert: bool = True


async def ping(call: Call) -> Response:
    """Whether there is an OpenID Connect provider at a URL; asked as the configured one is, at addresses that may be."""
    given = await call.body(Ping)
    if not given.verify_cert:
        raise Invalid(
            "verify_cert is false, but certificates are always verified here (accounts.oidc.ca trusts one more)"
        )
    try:
        await published(call.accounts.outbound, given.url)
    except ProviderFailed as failed:
        raise Invalid(failed.message) from None
    return call.done()


async def login(request: Request, services: Services, accounts: Accounts) -> Response:
    """Send a browser to the provider."""
    oidc = await _configured(accounts)
    _only(request, "GET")
    target = safe_target(request.argument("redirect_url") or "")
    where, kept = await oidc.begin(_own(request, services) + _CALLBACK, target)
    secure = cookies.secure(request, services.manners.external)
    return _to(where, [cookies.write(_PENDING, kept, secure=secure, age=600)])


async def callback(request: Request, services: Services, accounts: Accounts) -> Response:
    """What the provider sends a browser back with."""
    oidc = await _configured(accounts)
    _only(request, "GET")
    answer = dict(reversed(request.arguments()))
    if any(len(value) > _MOST_ANSWER or "\0" in value for value in answer.values()):
        raise Invalid("an argument is longer than a provider's would be")
    secure = cookies.secure(request, services.manners.external)
    over = cookies.write(_PENDING, "", secure=secure, age=0)
    try:
        person, target = await oidc.finish(cookies.read(request, _PENDING), answer)
    except TokenRefused as refused:
        accounts.recorder.login("", request.address, result="failure")
        raise LoginRefused(refused.message) from None
    user = await services.metadata.write(lambda tx: _known(tx, oidc, person))
    if user is None and oidc.settings.auto_onboard:
        try:
            user = await services.metadata.write(lambda tx: _welcome(tx, oidc, request, person, person.name))
        except (Conflict, Invalid):
            user = None  # the name is taken, or none that can be had here: they choose one
    if user is None:
        secret = await services.metadata.write(lambda tx: oidc.identities(tx).arrive(person))
        kept = cookies.write(_ARRIVAL, secret, secure=secure, age=600)
        return _to(services.manners.prefix + _ONBOARD, [over, kept])
    return _to(services.manners.prefix + target, [over, *await _let_in(request, services, accounts, user)])


async def onboard(request: Request, services: Services, accounts: Accounts) -> Response:
    """Choose a name: a page with a form, and what it sends (or JSON, as Harbor's portal does)."""
    oidc = await _configured(accounts)
    secret = cookies.read(request, _ARRIVAL)
    person = await services.metadata.read(lambda tx: oidc.identities(tx).arrived(secret))
    if person is None:
        raise LoginRefused("this browser has not just logged in at the provider, or it is too long ago: begin again")
    if request.method in ("GET", "HEAD"):
        return _page(f"There is no user for {person.email or person.name} here yet.", person.name)
    _only(request, "POST")
    sites.demand_own_page(request, services.manners.external)
    as_json = request.text(b"content-type").partition(";")[0].strip().lower() == "application/json"
    name = await _chosen(request, as_json=as_json)

    async def make(tx: Transaction) -> User:
        user = await _welcome(tx, oidc, request, person, name)
        await oidc.identities(tx).depart(secret)
        return user

    try:
        user = await services.metadata.write(make)
    except (Conflict, Invalid) as error:
        if as_json:
            raise
        return _page(f"{error.message}.", name)
    secure = cookies.secure(request, services.manners.external)
    headers = [cookies.write(_ARRIVAL, "", secure=secure, age=0), *await _let_in(request, services, accounts, user)]
    return Response(200, headers) if as_json else _to(services.manners.prefix + "/", headers)


async def _known(tx: Transaction, oidc: Oidc, person: Person) -> User | None:
    user = await Users(tx).of_subject(SOURCE, person.subject)
    if user is not None and user.disabled:
        raise LoginRefused("this account is disabled here; an administrator can enable it")
    if user is not None:
        await oidc.identities(tx).verified(user, person)
    return user


async def _welcome(tx: Transaction, oidc: Oidc, request: Request, person: Person, name: str) -> User:
    identities = oidc.identities(tx)
    await identities.alone()
    if (known := await _known(tx, oidc, person)) is not None:
        return known  # they came twice at one moment, and are let in both times
    user = await identities.welcome(person, name)
    by = msgspec.structs.replace(request.by(), actor=user.name, subject=f"u{user.id}")
    await Audit(tx).add("create", "user", user.name, by=by, detail="by its first login at the OIDC provider")
    return user


async def _let_in(request: Request, services: Services, accounts: Accounts, user: User) -> Headers:
    who = request.principal = Principal(user.name, Kind.USER, user.id)
    return await sessions.begin(request, services, accounts, who)


async def _chosen(request: Request, *, as_json: bool) -> str:
    if not as_json:
        return (await sessions.read_form(request)).get("username", "")
    try:
        given = msgspec.json.decode(await request.body(4096))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        given = None
    name = given.get("username") if isinstance(given, dict) else None
    if not isinstance(name, str):
        raise Invalid('the body must be a form with username, or JSON as {"username": "alice"}')
    return name


async def _configured(accounts: Accounts) -> Oidc:
    oidc = (await accounts.sources.current()).oidc
    if oidc is None:
        raise Missing("no OIDC provider is set here (accounts.oidc, or auth_mode of the API's configurations)")
    return oidc


def _only(request: Request, method: str) -> None:
    if request.method != method:
        raise Unsupported(f"{request.method} is not allowed here; {method} is")


def _own(request: Request, services: Services) -> str:
    origin = services.manners.external or request.origin
    if not origin:
        raise Invalid("the request has no Host header, so nobody could be sent back here")
    return origin + services.manners.prefix


def _to(where: str, headers: Headers) -> Response:
    if any(c <= " " or c >= "\x7f" for c in where):
        raise Invalid("there is no such place to send a browser to")
    return Response(302, [(b"location", where.encode()), sessions.NOT_KEPT, *headers])


def _page(words: str, name: str) -> Response:
    text = _PAGE.format(words=html.escape(words), name=html.escape(name))
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", _POLICY), sessions.NOT_KEPT]
    return Response(200, headers, text.encode())
