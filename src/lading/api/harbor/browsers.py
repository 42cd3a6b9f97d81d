"""What browsers ask for below ``/c/``: logging in and out."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from lading.api.harbor import oidc, problems, sessions
from lading.api.request import Request, Response
from lading.api.services import Services
from lading.control.accounts import Accounts
from lading.errors import LadingError, Missing

log = logging.getLogger(__name__)

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
    try:
        handler = PATHS.get(path.decode("latin-1"))
        if handler is None:
            raise Missing(f"there is nothing at {request.scope['path'][:200]}")
        request.route = path.decode("latin-1")
        return await handler(request, services, accounts)
    except LadingError as error:
        return problems.answer(error)
    except ConnectionError:
        raise
    except Exception:
        log.exception("request %s failed: %s %s", request.id, request.method, request.scope["path"])
        return problems.failed(request.id)
