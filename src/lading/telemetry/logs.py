"""Log lines: the standard library's loggers, to standard error in registry:2's three forms.

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
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

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

Event = dict[str, Any]

_OF_EVERY_RECORD = frozenset((*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName", "color_message"))
"""What is not somebody's ``extra``; the last is the web server's for terminals, and says again what ``message`` says."""


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
    render = {"json": _json, "logstash": _logstash}.get(settings.formatter, _text)
    return _Formatter(constant, render)


class _Formatter(logging.Formatter):
    """Makes a record an event: what it says, what was given as ``extra``, and ``constant`` where that says nothing."""

    def __init__(self, constant: Mapping[str, Any], render: Callable[[Event], str]) -> None:
        super().__init__()
        self._constant = constant
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        event: Event = {name: value for name, value in record.__dict__.items() if name not in _OF_EVERY_RECORD}
        request = request_id.get()
        if request:
            event.setdefault("http.request.id", request)
        event = {**self._constant, **event}
        level = record.levelname.lower()
        event["time"] = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        event["level"] = _NAMES.get(level, level)
        event["logger"] = record.name
        event["msg"] = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            event["error"] = f"{record.exc_info[0].__name__}: {record.exc_info[1]}"
            event["traceback"] = self.formatException(record.exc_info)
        return self._render({name: _fit(name, value) for name, value in event.items()})


def _fit(name: str, value: Any) -> Any:
    """A value without secrets, and not too long."""
    if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
        value = value[:_MOST_CHARACTERS] + "…"
    return redacted_value(name, value)


# ---- forms


def _text(event: Event) -> str:
    trace = event.pop("traceback", "")
    first = [f'time="{event.pop("time")}"', f"level={event.pop('level')}", f"msg={quoted(str(event.pop('msg')))}"]
    rest = [f"{_KEY.sub('_', name)}={quoted(_flat(event[name]))}" for name in sorted(event)]
    line = " ".join(first + rest)
    # a traceback is for people: its lines stand below, set in so that none can pass for a line of the log
    return line + "".join(f"\n    {escaped(each, quotes=False)}" for each in trace.splitlines())


def _json(event: Event) -> str:
    return json.dumps(event, sort_keys=True, separators=(",", ":"), default=str)


def _logstash(event: Event) -> str:
    event["@timestamp"], event["@version"] = event.pop("time"), "1"
    event["message"] = event.pop("msg")
    event.setdefault("type", "lading")
    return _json(event)


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
