"""What is logged while a block runs, whole: as a line of the log would show it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Line(logging.LogRecord):
    """A record, with what was given as ``extra``."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)  # said here, that any may be asked for

    def __repr__(self) -> str:
        return repr(self.__dict__)


class _Keeping(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = Line("", 0, "", 0, "", (), None)
        line.__dict__.update(record.__dict__)
        self.lines.append(line)


@contextmanager
def capture_logs() -> Iterator[list[Line]]:
    """The records of Lading's loggers, of every level."""
    logger, handler = logging.getLogger("lading"), _Keeping()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
