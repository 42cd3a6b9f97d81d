"""The token service's face: ``/service/token`` as docker, podman, containerd and skopeo ask it, and the public keys.

GET takes scopes as repeated arguments and credentials as Basic; POST is the OAuth2 form, which containers/image sends
chunked and with ``scope`` repeated, docker with the scopes in one field. Both name the token twice, for old and new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import msgspec

from lading.access.authenticate import LoginRefused
from lading.access.htpasswd import parse_basic
from lading.access.principal import ANONYMOUS, Principal
from lading.access.refresh import Login
from lading.access.scopes import MAX_SCOPES, Scope, parse_all, render
from lading.access.service import Issued
from lading.access.trusts import LOGIN
from lading.api import certified
from lading.api.problems import body
from lading.api.request import Headers, Request, Response
from lading.control.accounts import TOKEN_PATH, Accounts
from lading.errors import Invalid

KEYS_PATH, CERTIFICATES_PATH = "/service/jwks.json", "/service/certificates.pem"
PATHS = {path.encode() for path in (TOKEN_PATH, KEYS_PATH, CERTIFICATES_PATH)}
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"  # noqa: S105 - what begins the names of kinds of tokens
_MOST_FORM = 64 * 1024
_MOST_FIELDS = 200
_JSON = (b"content-type", b"application/json")
_NOT_KEPT = (b"cache-control", b"no-store")


async def answer(request: Request, accounts: Accounts, path: bytes, external: str) -> Response:
    """Whatever is asked of the token service of the registry whose configured address is ``external``."""
    request.route = path.decode()
    if path == KEYS_PATH.encode():
        return _only_get(request) or Response(200, [_JSON, (b"cache-control", b"max-age=300")], accounts.keyring.jwks())
    if path == CERTIFICATES_PATH.encode():
        pem = accounts.keyring.certificates().encode()
        return _only_get(request) or Response(200, [(b"content-type", b"application/x-pem-file")], pem)
    try:
        if request.method == "POST":
            return await _post(request, accounts)
        return _only_get(request, "POST") or await _get(request, accounts, external)
    except LoginRefused as refused:
        headers: Headers = [(b"www-authenticate", b'Basic realm="lading"'), _NOT_KEPT]
        return body(401, "UNAUTHORIZED", refused.message, headers=headers)


async def _get(request: Request, accounts: Accounts, external: str) -> Response:
    arguments = request.arguments()
    wanted = _scopes([value for name, value in arguments if name == "scope"])
    service = _service(accounts, request.argument("service"))
    who = await _caller(request, accounts, external)
    request.principal = who
    offline = request.argument("offline_token") == "true"
    issued = await accounts.tokens.issue(
        who, wanted, client=request.argument("client_id") or "", offline=offline, service=service
    )
    _witness(request, accounts, who, wanted)
    return _issued(issued)


async def _post(request: Request, accounts: Accounts) -> Response:
    fields = _form(await request.body(_MOST_FORM))
    form = dict(reversed(fields))  # of a name that is repeated the first counts
    wanted = _scopes([value for name, value in fields if name == "scope"])
    service = _service(accounts, form.get("service"))
    login: Login | None = None
    if form.get("grant_type") == "refresh_token":
        secret = form.get("refresh_token", "")
        who, login = await accounts.authenticate.refresh(secret, request.address)
    elif form.get("grant_type") == "password":
        password = form.get("password", "").encode()
        who = await accounts.authenticate.login(form.get("username", ""), password, request.address)
    elif form.get("grant_type") == EXCHANGE:
        who = await _exchanged(request, accounts, form)
    else:
        raise Invalid(f"grant_type must be password, refresh_token or {EXCHANGE}")
    request.principal = who
    exchanged = form.get("grant_type") == EXCHANGE
    offline = login is None and not exchanged and form.get("access_type") == "offline"
    issued = await accounts.tokens.issue(
        who, wanted, client=form.get("client_id", ""), offline=offline, service=service
    )
    if login is not None:
        await accounts.tokens.renew(login)
    elif not exchanged:
        _witness(request, accounts, who, wanted)
    return _issued(issued, exchanged=exchanged, refresh=form.get("refresh_token", "") if login else "")


async def _caller(request: Request, accounts: Accounts, external: str) -> Principal:
    known = await certified.caller(request, accounts, external)
    if known is not None:
        return known
    authorization = request.header(b"authorization")
    if authorization is None or authorization[6:].strip() == b"Og==":
        return ANONYMOUS
    credentials = parse_basic(authorization)
    if credentials is None:
        raise LoginRefused("the Authorization header is not valid Basic authentication")
    return await accounts.authenticate.login(credentials.user, credentials.password, request.address)


async def _exchanged(request: Request, accounts: Accounts, form: Mapping[str, str]) -> Principal:
    """The robot of a CI job's token (RFC 8693 section 2.1); ``username`` may name the robot."""
    if form.get("subject_token_type") not in (f"{_TOKEN_TYPE}jwt", f"{_TOKEN_TYPE}id_token"):
        raise Invalid(f"subject_token_type must be {_TOKEN_TYPE}jwt or {_TOKEN_TYPE}id_token")
    if form.get("requested_token_type", f"{_TOKEN_TYPE}access_token") != f"{_TOKEN_TYPE}access_token":
        raise Invalid(f"requested_token_type can be {_TOKEN_TYPE}access_token alone")
    name = form.get("username", "") or LOGIN
    return await accounts.authenticate.workload(name, form.get("subject_token", ""), request.address)


def _witness(request: Request, accounts: Accounts, who: Principal, wanted: Sequence[Scope]) -> None:
    if not wanted and who is not ANONYMOUS:  # a login; with scopes it is a step of a push or pull
        accounts.recorder.login(who.name, request.address, result="success")


def _scopes(texts: Sequence[str]) -> tuple[Scope, ...]:
    found = tuple(scope for text in texts[: MAX_SCOPES + 1] for scope in parse_all(text))
    if len(found) > MAX_SCOPES or len(texts) > MAX_SCOPES:
        raise Invalid(f"there are more than {MAX_SCOPES} scopes in one request")
    return found


def _service(accounts: Accounts, wanted: str | None) -> str:
    known = (accounts.settings.service, *accounts.settings.services)
    if not wanted:
        return known[0]
    if wanted not in known:
        raise Invalid(
            f"{wanted[:128]!r} is no service that this token service is for; accounts.services names others besides "
            f"{known[0]!r}"
        )
    return wanted


def _form(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise Invalid(f"the form cannot be read: {error}") from None


def _issued(issued: Issued, refresh: str = "", *, exchanged: bool = False) -> Response:
    moment = datetime.fromtimestamp(issued.issued_at // 1000, UTC)
    answer = {
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": issued.expires_in,
        "issued_at": f"{moment:%Y-%m-%dT%H:%M:%S}Z",
        "scope": render(issued.access),
    }
    if exchanged:
        answer |= {"issued_token_type": f"{_TOKEN_TYPE}access_token", "token_type": "Bearer"}
    if refresh or issued.refresh_token:
        answer["refresh_token"] = refresh or issued.refresh_token
    return Response(200, [_JSON, _NOT_KEPT], msgspec.json.encode(answer))


def _only_get(request: Request, *others: str) -> Response | None:
    if request.method in ("GET", "HEAD"):
        return None
    allowed = ", ".join(("GET", "HEAD", *others))
    return body(
        405,
        "UNSUPPORTED",
        f"{request.method} is not allowed here; {allowed} are",
        headers=[(b"allow", allowed.encode())],
    )
