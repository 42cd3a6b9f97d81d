"""Writes ``docs/reference/configuration.md`` from the model: ``python -m lading.config.document``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from lading.config.fields import SIZE, Section
from lading.config.model import Configuration
from lading.config.shape import Shape, about, keys_of, shape_of
from lading.config.values import URL, format_duration, format_size

_HEAD = """\
<!-- Written by `python -m lading.config.document`: change the model in src/lading/config instead. -->

# Configuration

Lading reads registry:2's configuration file and its environment variables. Name a file on the command line
(`lading serve config.yml`) or in `REGISTRY_CONFIGURATION_PATH`; otherwise `/etc/lading/config.yml` is read if it is
there. Without any file Lading listens on `127.0.0.1:5000`, allows deletion, and stores under `/var/lib/registry`
(where it may write there) or else in your own data directory. `lading check-config` says what a file comes to.

```yaml
version: 0.1
storage:
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: 127.0.0.1:5000
```

**Every key is answered.** It works, or it has *no effect* because Lading has no need of what it tunes (a notice at
start says so), or it is *refused*: Lading does not start, and says why and what to do instead. An unknown key, a key
given twice and a value of the wrong kind are errors too, all of them told at once.

**Kinds.** A *duration* is a number with a unit, or several: `168h`, `1m30s`, `500ms` (`ns`, `us`, `ms`, `s`, `m`, `h`);
a bare number counts nanoseconds. A *size* is in bytes or has a unit: `4194304`, `4MiB`. Words are read as registry:2
reads them: `yes` and `on` are true where true or false is wanted, and `0755` is text where text is wanted.

**Environment.** Each key can be set by the variable beside it, over the file or without one. Its value is YAML, so
`REGISTRY_NOTIFICATIONS_ENDPOINTS='[{name: a, url: "http://a/"}]'` sets a list; in `…_0_…` the number is that of the
element, and the first free number adds one. Variables are applied in the order of their names.
`REGISTRY_STORAGE=filesystem` and `REGISTRY_AUTH=htpasswd` replace the whole section with that one method, including
`storage.delete` and its like, so set those again beside it. Under `storage`, `auth` and in maps a variable can add any
key, in lower case; elsewhere a variable that names no setting is ignored with a notice. `version` cannot be overridden.

**Secrets** are never shown, by nothing and nowhere: `http.secret`, passwords, keys, the headers of notifications and
health checks, and passwords inside URLs.
"""


def written(value: Any, *, size: bool = False) -> str:
    """A value as it would stand in YAML; a secret as a remark that it is set."""
    if isinstance(value, SecretStr):
        return "(set, not shown)" if value.get_secret_value() else ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return "keep" if value == timedelta.max else format_duration(value)
    if isinstance(value, URL):
        return value.shown
    if isinstance(value, Section):
        items = ((name, getattr(value, name)) for name in type(value).model_fields if name in value.model_fields_set)
        return "{" + ", ".join(f"{name}: {written(item)}" for name, item in items) + "}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {written(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(written(item) for item in value) + "]"
    if value is None:
        return ""
    return format_size(value) if size and isinstance(value, int) else str(value)


def document() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    for key, field, shape in keys_of(Configuration):
        yield f"## `{key}`\n"
        yield f"{_what(field)}\n"
        if shape.kind == "scalar":
            variable = "" if key == "version" else f" Variable: `REGISTRY_{key.upper()}`."
            yield f"{_kind(field, shape).capitalize()}; default {_default(field) or 'none'}.{variable}\n"
        elif about(field, "refused") or about(field, "no_effect"):
            yield f"Keys known: {', '.join(f'`{name}`' for name in _names(shape, ''))}.\n"
        else:
            yield "| Key | Kind | Default | Variable | What it does |\n| --- | --- | --- | --- | --- |"
            yield from _rows(shape, key, f"REGISTRY_{key.upper()}")
            yield ""


def _rows(shape: Shape, at: str, variable: str) -> Iterator[str]:
    if shape.section is None:
        return
    for key, field, below in keys_of(shape.section):
        path, name = f"{at}.{key}", f"{variable}_{(about(field, 'go') or key).upper()}"
        marked = about(field, "refused") or about(field, "no_effect")
        cells = (f"`{path}`", _kind(field, below), _default(field), f"`{name}`", _what(field))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        if marked:
            continue
        if below.kind == "struct":
            yield from _rows(below, path, name)
        elif below.kind == "list" and below.of is not None:
            yield from _rows(below.of, f"{path}[]", f"{name}_0")


def _what(field: FieldInfo) -> str:
    text = field.description or ""
    if refused := about(field, "refused"):
        text += f" **Refused**: {refused}."
    if no_effect := about(field, "no_effect"):
        text += f" **No effect**: {no_effect}."
    return text


def _names(shape: Shape, at: str) -> Iterator[str]:
    while shape.of is not None:
        shape, at = shape.of, at or "<name>[]."
    for key, _, below in keys_of(shape.section) if shape.section else ():
        if below.kind == "struct":
            yield from _names(below, f"{at}{key}.")
        else:
            yield f"{at}{key}"


def _kind(field: FieldInfo, shape: Shape) -> str:
    if shape.kind == "list" and shape.of is not None:
        return "list of maps" if shape.of.kind == "struct" else "list of words"
    if shape.kind == "map":
        return "map of lists" if shape.of is not None and shape.of.kind == "list" else "map"
    if shape.kind in {"struct", "any"}:
        return "map" if shape.kind == "struct" else "any"
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(f"`{word}`" for word in get_args(field.annotation) if word)
    if SIZE in field.metadata:
        return "size"
    kinds: dict[Any, str] = {
        bool: "true or false",
        int: "number",
        timedelta: "duration",
        SecretStr: "secret",
        URL: "URL",
    }
    return kinds.get(field.annotation, "text")


def _default(field: FieldInfo) -> str:
    if shape_of(field.annotation).kind == "struct" or field.default is None:
        return ""
    text = written(field.default, size=SIZE in field.metadata)
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    sys.stdout.write(document())
