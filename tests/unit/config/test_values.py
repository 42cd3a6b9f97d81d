"""How scalars are read: Go durations, sizes, addresses, URLs, and words as yaml.v2 for Go resolves them."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.config.values import (
    URL,
    Plain,
    format_duration,
    format_size,
    nanoseconds,
    parse_address,
    parse_duration,
    parse_http_url,
    parse_size,
    resolve,
)

YEARS = timedelta(days=365 * 290)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("168h", 604800),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("1.s", 1),
        ("0", 0),
        ("+5s", 5),
        ("-5s", -5),
        ("2h45m30.5s", 9930.5),
        ("1us", 0.000001),
        ("1µs", 0.000001),
        ("1μs", 0.000001),
        ("3000ns", 0.000003),
        ("1s1s", 2),
    ],
)
def test_a_go_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "s", "1", "1.5", "1d", "1 s", "1s ", "1h-5m", "--1s", "1,5s", "1e3s", "٣s", ".s"])
def test_no_go_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|unit"):
        parse_duration(text)


def test_a_duration_longer_than_go_knows() -> None:
    with pytest.raises(ValueError, match="292 years"):
        parse_duration("3000000h")
    with pytest.raises(ValueError, match="duration"):
        parse_duration("9" * 5000 + "h")


def test_less_than_a_microsecond_is_not_nothing() -> None:
    assert nanoseconds(60) == timedelta(microseconds=1)
    assert nanoseconds(-1) == timedelta(microseconds=-1)
    assert nanoseconds(0) == timedelta(0)


@given(st.timedeltas(min_value=-YEARS, max_value=YEARS))
def test_a_duration_comes_back_as_it_was_written(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        parse_duration(text)
    except ValueError:
        return
    assert text.strip("+-")[0] in "0123456789."


@pytest.mark.parametrize(
    ("text", "size"), [("4194304", 2**22), ("4MiB", 2**22), ("4 mib", 2**22), ("1kB", 1000), ("2GiB", 2**31), ("7B", 7)]
)
def test_a_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "4 M", "-1", "1.5MiB", "4TiB!", "9" * 30])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@given(st.integers(0, 2**50))
def test_a_size_comes_back_as_it_was_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":5000", ("", 5000)),
        ("127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:5000", ("::1", 5000)),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
        ("registry.example.com:443", ("registry.example.com", 443)),
    ],
)
def test_an_address(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5000",
        "localhost",
        "::1:5000",
        "[::1]",
        "[::1]5000",
        "[x]:1",
        ":65536",
        ":-1",
        ":http",
        "a b:1",
        ":٣",
        "a/b:1",
    ],
)
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|port"):
        parse_address(text)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("yes", True),
        ("y", True),
        ("ON", True),
        ("off", False),
        ("No", False),
        ("yEs", "yEs"),
        ("~", None),
        ("", None),
        ("null", None),
        ("5000", 5000),
        ("-7", -7),
        ("+7", 7),
        ("0755", 493),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b101", 5),
        ("-0b101", -5),
        ("1_000", 1000),
        ("08", 8.0),
        ("5:00", "5:00"),
        ("190:20:30", "190:20:30"),
        (":5000", ":5000"),
        ("1.5", 1.5),
        ("6e2", 600.0),
        (".inf", math.inf),
        ("2026-01-02", "2026-01-02"),
        ("1.2.3", "1.2.3"),
        ("0x", "0x"),
        ("_1", "_1"),
        ("1_0_0", 100),
        ("1e400", "1e400"),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2.0**64),
        ("-.INF", -math.inf),
        ("-.iNF", "-.iNF"),
    ],
)
def test_an_unquoted_word(word: str, value: object) -> None:
    found = resolve(Plain(word))
    assert found == value
    assert type(found) is type(value)


def test_a_url_does_not_show_its_password() -> None:
    url = parse_http_url("https://user:geheim@example.com:8443/hook?a=b")
    assert url == "https://user:geheim@example.com:8443/hook?a=b"
    assert url.shown == "https://user:***@example.com:8443/hook?a=b"
    assert "geheim" not in repr(url)
    assert URL("https://token@example.com/").shown == "https://***@example.com/"
    assert URL("https://example.com/").shown == "https://example.com/"
    several = URL("postgresql://u:geheim@a:1,b:2/d?sslpassword=geheim&target_session_attrs=read-write&password=geheim")
    assert several.shown == "postgresql://u:***@a:1,b:2/d?sslpassword=***&target_session_attrs=read-write&password=***"
    assert URL("sqlite:////srv/index.sqlite").shown == "sqlite:////srv/index.sqlite"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com",
        "ftp://a/",
        "http://",
        "http:///x",
        "http://a:b/",
        "http://a b/",
        "http://a/\n",
        "http://[::1/",
    ],
)
def test_no_url(text: str) -> None:
    with pytest.raises(ValueError, match="is not a URL"):
        parse_http_url(text)
