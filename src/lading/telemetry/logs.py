"""Log lines: the standard library's loggers, through structlog, to standard error in registry:2's three forms.

======== =====================================================================================
text     ``time="2026-01-02T03:04:05.678901Z" level=info msg="…" key=value``
json     ``{"level":"info","msg":"…","time":"…","key":"value"}``
logstash ``{"@timestamp":"…","@version":"1","level":"info","message":"…","key":"value"}``
======== =====================================================================================

A module logs as ever: ``logging.getLogger(__name__).info("text", extra={"key": value})``. What :data:`request_id`
holds goes with each line, so a line can be matched with the ``X-Request-ID`` that a client was given.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from lading.telemetry.secrets import redacted, redacted_value

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being answered; empty outside of requests."""

_LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}
_NAMES = {"warn": "warning", "critical": "fatal", "exception": "error", "notset": "debug"}
_BARE = re.compile(r"[A-Za-z0-9._/@^+-]+")
_KEY = re.compile(r"[^A-Za-z0-9._/@^+-]")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_CONTROL = re.compile(r'[\x00-\x1f"\\\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_MOST_CHARACTERS = 16_384

EventDict = MutableMapping[str, Any]


class LogSettings(Protocol):
    """The part of the configuration that is of interest here."""

    @property
    def formatter(self) -> str: ...

    @property
    def fields(self) -> Mapping[str, Any]: ...


def configure(settings: LogSettings, level: str) -> None:
    """Send the log lines of this process, and of those it forks, to standard error; ``level`` as in ``log.level``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(_LEVELS.get(level, logging.INFO))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    chatter = logging.WARNING if level != "debug" else logging.INFO
    for name in ("uvicorn", "httpx2", "httpcore2", "asyncio"):
        logging.getLogger(name).setLevel(chatter)  # they tell what ours tell better
    logging.raiseExceptions = False  # a log that cannot be written is no reason for another line
    logging.captureWarnings(capture=True)


def formatter(settings: LogSettings) -> logging.Formatter:
    """What makes a line of a record, as configured."""
    constant = {str(name): redacted_value(str(name), value) for name, value in settings.fields.items()}

    def add_fields(logger: Any, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's signature
        for name, value in constant.items():
            event.setdefault(name, value)
        return event

    render = {"json": _json, "logstash": _logstash}.get(settings.formatter, _text)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _add_request, _add_time],
        processors=[_take_off, add_fields, _add_error, _redact, render],
        keep_exc_info=False,
        use_get_message=True,
    )


# ---- processors


def _add_time(logger: Any, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's signature
    record = event.get("_record")
    created = record.created if record is not None else None
    moment = datetime.fromtimestamp(created, UTC) if created is not None else datetime.now(UTC)
    event["time"] = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return event


def _add_request(logger: Any, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's signature
    current = request_id.get()
    if current:
        event.setdefault("http.request.id", current)
    return event


def _take_off(logger: Any, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's signature
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog", None)
    level = record.levelname.lower()
    event["level"] = _NAMES.get(level, level)
    event["logger"] = record.name
    event["msg"] = event.pop("event", "")
    return event


def _add_error(logger: Any, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's signature
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()
    elif isinstance(error, BaseException):
        error = (type(error), error, error.__traceback__)
    if error and error[0] is not None:
        event["error"] = f"{error[0].__name__}: {error[1]}"
        event["traceback"] = logging.Formatter().formatException(error)
    return event


def _redact(logger: Any, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's signature
    kept: EventDict = {}
    for name, value in event.items():
        if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
            value = value[:_MOST_CHARACTERS] + "…"  # noqa: PLW2901 - what follows is the same for both
        kept[name] = redacted_value(name, value)
    return kept


# ---- forms


def _text(logger: Any, method: str, event: EventDict) -> str:  # noqa: ARG001 - structlog's signature
    trace = event.pop("traceback", "")
    first = [f'time="{event.pop("time")}"', f"level={event.pop('level')}", f"msg={quoted(str(event.pop('msg')))}"]
    rest = [f"{_KEY.sub('_', name)}={quoted(_flat(event[name]))}" for name in sorted(event)]
    line = " ".join(first + rest)
    # a traceback is for people: its lines stand below, set in so that none can pass for a line of the log
    return line + "".join(f"\n    {escaped(each, quotes=False)}" for each in trace.splitlines())


def _json(logger: Any, method: str, event: EventDict) -> str:  # noqa: ARG001 - structlog's signature
    return json.dumps(event, sort_keys=True, separators=(",", ":"), default=str)


def _logstash(logger: Any, method: str, event: EventDict) -> str:
    event["@timestamp"], event["@version"] = event.pop("time"), "1"
    event["message"] = event.pop("msg")
    event.setdefault("type", "lading")
    return _json(logger, method, event)


def _flat(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, default=str, separators=(",", ":"))


def quoted(text: str) -> str:
    """A value of a line: bare where it can be, otherwise in quotes with everything odd escaped."""
    if _BARE.fullmatch(text):
        return text
    return f'"{escaped(text)}"'


def escaped(text: str, *, quotes: bool = True) -> str:
    """The text with what could begin a line, end a quotation or turn a terminal around as an escape."""
    return _CONTROL.sub(lambda found: _escape(found[0], quotes=quotes), text)


def _escape(character: str, *, quotes: bool) -> str:
    if character in '"\\':
        return "\\" + character if quotes else character
    code = ord(character)
    return _ESCAPES.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def expected(error: BaseException) -> str:
    """An error in one line, for what can be expected to fail (a network, another service)."""
    return redacted(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
