"""The three forms of a line, and what never gets into one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from lading.config.log import Log
from lading.telemetry import logs

SECRET = "hunter2Geheim99"
Written = tuple[logging.Logger, io.StringIO, logging.Handler]


@pytest.fixture
def written() -> Iterator[Written]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("lading.test")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger, stream, handler
    logger.removeHandler(handler)
    logger.propagate = True


def use(handler: logging.Handler, **settings: Any) -> None:
    handler.setFormatter(logs.formatter(Log.model_validate(settings)))


def test_text_is_as_registry2_writes_it(written: Written) -> None:
    logger, stream, handler = written
    use(handler, formatter="text", fields={"service": "reg", "n": 3})
    logger.info("hello %s", "world", extra={"path": "/a/b", "what": 'a "b"'})
    line = stream.getvalue()
    assert line.startswith('time="20')
    assert 'Z" level=info msg="hello world" logger=lading.test n=3 path=/a/b service=reg what="a \\"b\\""\n' in line


def test_json_and_logstash_have_registry2s_keys(written: Written) -> None:
    logger, stream, handler = written
    use(handler, formatter="json", fields={"service": "reg"})
    logger.warning("careful", extra={"n": 1, "color_message": "\033[1mcareful\033[0m"})
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {"level": "warning", "msg": "careful", "logger": "lading.test", "service": "reg", "n": 1}
    stream.truncate(0)
    stream.seek(0)
    use(handler, formatter="logstash")
    logger.error("careful")
    line = json.loads(stream.getvalue())
    assert line.pop("@timestamp").endswith("Z")
    expected = {"@version": "1", "level": "error", "message": "careful", "logger": "lading.test", "type": "lading"}
    assert line == expected


def test_the_request_goes_with_each_of_its_lines(written: Written) -> None:
    logger, stream, handler = written
    use(handler, formatter="json")
    token = logs.request_id.set("abc-1")
    logger.info("inside")
    logs.request_id.reset(token)
    logger.info("outside")
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert inside["http.request.id"] == "abc-1"
    assert "http.request.id" not in outside


@pytest.mark.parametrize("formatter", ["text", "json", "logstash"])
def test_nobody_can_forge_a_line(written: Written, formatter: str) -> None:
    logger, stream, handler = written
    use(handler, formatter=formatter)
    evil = 'x\ntime="2026" level=error msg=forged\r\n\x1b[31m\u2028\ud800'
    logger.info("asked for %s", evil, extra={"path": evil, "bad\nkey": "v"})
    try:
        raise ValueError(evil)
    except ValueError:
        logger.exception("failed")
    text = stream.getvalue()
    assert "\x1b" not in text
    starts = ('time="20', "    ") if formatter == "text" else ("{",)
    assert all(line.startswith(starts) for line in text.splitlines())
    assert text.count("\n") >= 2


@pytest.mark.parametrize("formatter", ["text", "json", "logstash"])
def test_no_secret_gets_into_a_line(written: Written, formatter: str) -> None:
    logger, stream, handler = written
    use(handler, formatter=formatter, fields={"api_key": SECRET})
    logger.info("sent Authorization: Bearer %s", SECRET)
    logger.info("at %s", f"https://a:{SECRET}@host/?_state={SECRET}")
    logger.info("with", extra={"headers": {"authorization": SECRET}, "password": SECRET})
    try:
        raise ValueError(f"cannot reach https://a:{SECRET}@host/")
    except ValueError:
        logger.exception("failed")
    assert stream.getvalue().count("***") >= 5
    assert SECRET not in stream.getvalue()


def test_a_line_has_an_end(written: Written) -> None:
    logger, stream, handler = written
    use(handler, formatter="json")
    logger.info("x" * 1_000_000)
    assert len(stream.getvalue()) < 20_000
