"""Libraries of the clouds, which are extras: imported when they are needed, and asked for in words where they are not there."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from lading.errors import CredentialsError


def library(name: str, extra: str) -> Any:
    """A module of an extra."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise CredentialsError(
            f"the login for this registry needs {name.partition('.')[0]}, which is not installed: "
            f"pip install 'lading[{extra}]'"
        ) from None


def is_there(name: str) -> bool:
    """Whether a library is installed, without importing it."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
