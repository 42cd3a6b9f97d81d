"""``health``: what is looked at to say whether the registry is well; told on the debug address."""

from datetime import timedelta
from typing import Annotated

from lading.config.fields import (
    Count,
    Duration,
    Flag,
    HttpUrl,
    SecretHeaders,
    Section,
    Text,
    Whole,
    between,
    group,
    instead_of_zero,
    lasting,
    setting,
)
from lading.config.values import URL

_TEN = timedelta(seconds=10)
Interval = Annotated[Duration, instead_of_zero(_TEN), lasting("1ms", "24h")]
Timeout = Annotated[Duration, instead_of_zero(_TEN), lasting("1ms", "1h")]

_EVERY = "How often to look."
_FAILURES = "How many failures in a row make it unwell; 0 is as 1."


class StorageDriverCheck(Section):
    enabled: Flag = setting(False, "Look whether the store answers.")
    interval: Interval = setting(_TEN, _EVERY)
    threshold: Count = setting(0, _FAILURES)


class FileCheck(Section):
    file: Text = setting("", "A file whose being there makes the registry unwell. Required.")
    interval: Interval = setting(_TEN, _EVERY)
    threshold: Count = setting(0, _FAILURES)


class HTTPCheck(Section):
    uri: HttpUrl = setting(URL(""), "A URL asked with HEAD. Required.")
    headers: SecretHeaders = setting({}, "Headers of the request; each has a list of values. Never shown.")
    statuscode: Annotated[Whole, instead_of_zero(200), between(100, 599)] = setting(
        200, "The status it must answer with."
    )
    timeout: Timeout = setting(_TEN, "How long it may take.")
    interval: Interval = setting(_TEN, _EVERY)
    threshold: Count = setting(0, _FAILURES)


class TCPCheck(Section):
    addr: Text = setting("", "host:port that must accept a connection. Required.")
    timeout: Timeout = setting(_TEN, "How long it may take.")
    interval: Interval = setting(_TEN, _EVERY)
    threshold: Count = setting(0, _FAILURES)


class Health(Section):
    storagedriver: StorageDriverCheck = group("The store.")
    file: tuple[FileCheck, ...] = setting((), "Files.", go="FileCheckers")
    http: tuple[HTTPCheck, ...] = setting((), "URLs.", go="HTTPCheckers")
    tcp: tuple[TCPCheck, ...] = setting((), "Addresses.", go="TCPCheckers")
