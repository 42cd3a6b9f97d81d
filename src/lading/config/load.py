"""Path and environment → :class:`~lading.config.model.Configuration`, or every problem at once."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lading.config import checks
from lading.config.environment import Overridden, override
from lading.config.model import Configuration
from lading.config.reader import LONGEST, Tree, YAMLInvalidError, read
from lading.config.shape import dotted, keys_of, section_at
from lading.errors import ConfigurationError

SYSTEM = Path("/etc/lading/config.yml")
"""Read when nothing names a file, if it is there."""

ADMIN_PASSWORD = "LADING_ADMIN_PASSWORD"  # noqa: S105 - the name of a variable
"""Sets ``accounts.adminpassword``, and so switches accounts on."""

Location = tuple[str | int, ...]
"""The way to a value: keys and numbers of elements."""

_KINDS = {
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "literal_error": "is none of the words allowed",
}
_MAPS = {"model_type", "dict_type", "mapping_type", "model_attributes_type"}


def load(path: Path | None, environ: Mapping[str, str]) -> Configuration:
    """Read the configuration.

    ``path`` is what the command line named; without it ``REGISTRY_CONFIGURATION_PATH`` does, then comes
    ``/etc/lading/config.yml`` if it is there, and at last what :func:`built_in` says. ``REGISTRY_*`` variables are
    applied on top in each case.

    :raises ConfigurationError: no such file, not YAML, or settings that are wrong: all of them, each line beginning
        with the dotted key. The message holds the lines as well.
    """
    if password := environ.get(ADMIN_PASSWORD):
        environ = {"REGISTRY_ACCOUNTS_ADMINPASSWORD": password, **environ}
    source = find(path, environ)
    tree = _file(source) if source is not None else built_in(environ)
    name = str(source) if source is not None else "the built-in configuration"
    overridden = override(tree, Configuration, environ)
    configuration, found = _validate(overridden)
    if configuration is None or found:
        raise _error(name, found)
    return configuration.came_from(
        source,
        {dotted(at): variable for at, variable in overridden.variables.items()},
        (*overridden.notices, *_about_defaults(configuration, source), *checks.notices(configuration)),
    )


def _validate(overridden: Overridden) -> tuple[Configuration | None, list[str]]:
    """The configuration, and what is wrong with it.

    What single keys have wrong is left out for a second look, so that what is wrong with the whole is told in the
    same go.
    """
    found = list(overridden.problems)
    tree, left_out = overridden.tree, set[Location]()
    for _ in range(4):
        try:
            configuration = Configuration.model_validate(tree)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                at = tuple(step for step in detail["loc"] if step != "[key]")
                found.append(_line(at, _message(at, detail), overridden))
                left_out.add(at)
                tree = _without(tree, at)
        else:
            for at, message in checks.problems(configuration):
                if not any(at[: len(other)] == other or other[: len(at)] == at for other in left_out):
                    found.append(_line(at, message, overridden))
            return configuration, found
    return None, found


def _without(tree: Tree, at: Location) -> Tree:
    """The tree without one value: ``None`` in its place, which is as good as absent."""
    if not at:
        return None
    if isinstance(tree, dict) and at[0] in tree:
        if len(at) == 1:
            return {key: value for key, value in tree.items() if key != at[0]}
        return tree | {at[0]: _without(tree[at[0]], at[1:])}
    if isinstance(tree, list) and isinstance(at[0], int) and at[0] < len(tree):
        below = [_without(item, at[1:]) if index == at[0] else item for index, item in enumerate(tree)]
        return below if len(at) > 1 else []
    return None


def find(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read; ``None``: none, so the built-in configuration."""
    if path is not None:
        return path
    if named := environ.get("REGISTRY_CONFIGURATION_PATH"):
        return Path(named)
    return SYSTEM if SYSTEM.is_file() else None


def built_in(environ: Mapping[str, str]) -> Tree:
    """The configuration without a file: loopback only, files in a sensible place, deletion allowed."""
    return {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(default_root(environ))}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:5000"},
    }


def default_root(environ: Mapping[str, str]) -> Path:
    """registry:2's ``/var/lib/registry`` for root and whoever may write there; else the user's own data directory."""
    shared = Path("/var/lib/registry")
    if os.geteuid() == 0 or (shared.is_dir() and os.access(shared, os.W_OK | os.X_OK)):
        return shared
    data = environ.get("XDG_DATA_HOME", "")
    if data.startswith("/"):
        return Path(data) / "lading"
    home = environ.get("HOME", "")
    return Path(home if home.startswith("/") else "/var/lib") / ".local" / "share" / "lading"


def _file(path: Path) -> Tree:
    try:
        with path.open("rb") as file:
            raw = file.read(LONGEST + 1)
        tree = read(raw.decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no configuration file {path}; name another, or none for the defaults"
        ) from None
    except (OSError, ValueError) as error:
        reason = _reason(error)
        raise ConfigurationError(f"the configuration file {path} cannot be read: {reason}", [reason]) from None
    if not isinstance(tree, dict):
        problem = "it must be a map of settings that begins with 'version: 0.1'"
        what = "is empty" if tree is None else "is not a configuration"
        raise ConfigurationError(f"the configuration file {path} {what}: {problem}", [problem])
    if tree.get("version") != "0.1":
        given = tree.get("version")
        shown = (
            "is missing"
            if given is None
            else f"{str(given)[:20]!r} is not known"
            if isinstance(given, str)
            else "is wrong"
        )
        problem = f"version: {shown}; write version: 0.1"
        raise ConfigurationError(f"the configuration file {path} cannot be used: {problem}", [problem])
    return tree


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return str(error) if isinstance(error, YAMLInvalidError) else "its name is not one a file can have"


def _error(name: str, found: Iterable[str]) -> ConfigurationError:
    lines = tuple(dict.fromkeys(found))
    head = "a setting is wrong" if len(lines) == 1 else f"{len(lines)} settings are wrong"
    return ConfigurationError("\n".join([f"{name}: {head}:", *(f"  {line}" for line in lines)]), lines)


def _message(at: Location, detail: Any) -> str:
    """What to tell people of one of pydantic's errors. Never holds the value: it may be a secret."""
    kind = detail["type"]
    if kind == "extra_forbidden":
        return _unknown(at)
    if kind in _MAPS:
        return "must be a map: its keys go on the lines below, indented"
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    return _KINDS.get(kind, str(detail["msg"]))


def _unknown(at: Location) -> str:
    section = section_at(Configuration, at[:-1])
    known = [name for name, _, _ in keys_of(section)] if section else []
    word = str(at[-1])
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if close:
        return f"there is no such key; did you mean {dotted((*at[:-1], close[0]))}?"
    if at[:-1] == ("storage",):
        return "there is no such storage driver; use filesystem, s3 or inmemory"
    if at[:-1] == ("auth",):
        return "there is no such method; use htpasswd or token"
    return "there is no such key" + (f"; there are {', '.join(known)}" if 0 < len(known) <= 12 else "")


def _line(at: Location, message: str, overridden: Overridden) -> str:
    above = [path for path in overridden.variables if at[: len(path)] == path]
    below = [path for path in overridden.variables if path[: len(at)] == at]
    variable = overridden.variables[max(above or below, key=len)] if above or below else None
    return f"{dotted(at)}: {message}" + (f" (set by {variable})" if variable else "")


def _about_defaults(configuration: Configuration, source: Path | None) -> Iterable[str]:
    """Where a file leaves out what registry:2 would answer differently."""
    if source is None:
        return
    if "addr" not in configuration.http.model_fields_set:
        yield (
            "http.addr is not set: listening on 127.0.0.1:5000, where registry:2 would take a random port on every "
            "interface"
        )
    if configuration.collect.enabled and "untagged" not in configuration.collect.model_fields_set:
        yield (
            "collect.untagged is not set: manifests that no tag, index or subject holds are removed after 168h; "
            "registry:2 keeps them, and collect.untagged: keep does too"
        )
