"""What browsers ask for below ``/c/``: logging in and out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from lading.api.harbor import oidc, problems, sessions
from lading.api.request import Request, Response
from lading.api.services import Services
from lading.control.accounts import Accounts
from lading.errors import Missing

PREFIX = b"/c/"
PATHS: Mapping[str, Callable[[Request, Services, Accounts], Awaitable[Response]]] = {
    "/c/login": sessions.login,
    "/c/log_out": sessions.log_out,
    "/c/oidc/login": oidc.login,
    "/c/oidc/callback": oidc.callback,
    "/c/oidc/onboard": oidc.onboard,
}


async def answer(request: Request, services: Services, accounts: Accounts, path: bytes) -> Response:
    """Whatever is asked; errors are told as the API tells them."""
    return await problems.told(request, _answer(request, services, accounts, path.decode("latin-1")))


async def _answer(request: Request, services: Services, accounts: Accounts, path: str) -> Response:
    handler = PATHS.get(path)
    if handler is None:
        raise Missing(f"there is nothing at {request.scope['path'][:200]}")
    request.route = path
    return await handler(request, services, accounts)
