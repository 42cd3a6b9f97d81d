"""Lading's own sections: ``database``, ``server``, ``limits``, ``collect``, ``jobs``, ``search``, ``replication``."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import InstanceOf

from lading.config.fields import (
    After,
    Before,
    Duration,
    Flag,
    Section,
    Size,
    Text,
    Whole,
    as_networks,
    between,
    instead_of_zero,
    lasting,
    one_of,
    setting,
    sized,
)
from lading.config.values import URL


def _database(given: Any) -> URL:
    if not isinstance(given, str):
        raise ValueError("must be text")  # noqa: TRY004 - pydantic collects ValueError alone
    url = URL(str(given))
    if url.startswith(("postgresql://", "postgres://")):
        try:
            _ = url.shown
        except ValueError:
            raise ValueError("is no URL; write it as postgresql://user:password@host:5432/database") from None
        return url
    if url and (not url.startswith("sqlite:///") or len(url) == len("sqlite:///") or "?" in url):
        raise ValueError(
            "must be sqlite:////path/of/index.sqlite (three slashes and the path) or postgresql://user@host/database"
        )
    if url == "sqlite:///:memory:":
        raise ValueError("must name a file: several processes share the index")
    return url


def _untagged(given: Any) -> Any:
    return timedelta.max if isinstance(given, str) and given.lower() == "keep" else given


def _kept_or_lasting(value: timedelta) -> timedelta:
    if value != timedelta.max and value > timedelta(hours=87600):
        raise ValueError("must be from 0s to 87600h, or keep")
    return value


class Database(Section):
    url: Annotated[URL, InstanceOf(), Before(_database)] = setting(
        URL(""),
        "The index: sqlite:////path, or postgresql://user:password@host/database as libpq reads it. Empty: "
        "lading/index.sqlite under the storage's rootdirectory.",
    )
    connections: Annotated[Whole, between(1, 1000)] = setting(
        8, "PostgreSQL: how many connections one worker opens at most."
    )
    wait: Annotated[Duration, lasting("100ms", "5m")] = setting(
        timedelta(seconds=5), "PostgreSQL: how long to wait for a free connection before answering 503."
    )
    prepared: Annotated[Literal["auto", "always", "never"], one_of("auto", "always", "never")] = setting(
        "auto",
        "PostgreSQL: whether statements are prepared; auto: unless a pooler such as PgBouncer stands between.",
    )
    outage: Annotated[Duration, lasting("0s", "24h")] = setting(
        timedelta(minutes=5),
        "PostgreSQL: while it is away, for how long what was pulled before is served as it was; 0s: not at all.",
    )


class Server(Section):
    workers: Annotated[Whole, between(0, 256)] = setting(0, "How many processes serve; 0: one a core.")


class Limits(Section):
    manifestsize: Annotated[Size, sized(2**16, 2**26)] = setting(
        4 * 2**20, "The largest manifest taken, in bytes or as 4MiB."
    )
    manifestdepth: Annotated[Whole, between(8, 100)] = setting(32, "How deep a manifest's JSON may be nested.")
    headersize: Annotated[Size, sized(2**12, 2**20)] = setting(
        64 * 2**10, "How large a request's line and headers may be together."
    )
    headertimeout: Annotated[Duration, lasting("1s", "1h")] = setting(
        timedelta(seconds=30), "How long a client may take to send a request's headers."
    )
    bodytimeout: Annotated[Duration, lasting("1s", "24h")] = setting(
        timedelta(seconds=120), "How long a transfer may stand still, in or out."
    )
    idletimeout: Annotated[Duration, lasting("1s", "1h")] = setting(
        timedelta(seconds=75), "How long a connection is kept open between requests."
    )
    connections: Annotated[Whole, between(1, 1_000_000)] = setting(
        4096, "How many connections one worker holds at once."
    )


class Collect(Section):
    """When content that nothing refers to goes away."""

    enabled: Flag = setting(True, "Collect in the background.")
    interval: Annotated[Duration, instead_of_zero(timedelta(hours=1)), lasting("1s", "8760h")] = setting(
        timedelta(hours=1), "How often to look."
    )
    grace: Annotated[Duration, lasting("0s", "87600h")] = setting(
        timedelta(hours=24), "How long content stays after the last reference to it has gone."
    )
    untagged: Annotated[Duration, After(_kept_or_lasting), Before(_untagged)] = setting(
        timedelta(hours=168),
        "How long a manifest stays that no tag, index or subject holds; keep: for ever, as in registry:2.",
    )

    @property
    def keep_untagged(self) -> bool:
        """Whether manifests without a tag stay for ever."""
        return self.untagged == timedelta.max


class Jobs(Section):
    concurrency: Annotated[Whole, between(1, 64)] = setting(
        4, "How many jobs one process does at once; replications go on beside them, 16 in a process."
    )
    history: Annotated[Duration, lasting("1m", "87600h")] = setting(
        timedelta(hours=720), "How long is remembered what became of a job."
    )
    keep: Annotated[Whole, between(0, 10_000_000)] = setting(
        10_000, "How many jobs that ended are remembered, the newest."
    )


class Search(Section):
    enabled: Flag = setting(True, "Answer docker search (/v1/search).")


class Replication(Section):
    networks: Annotated[tuple[Text, ...], After(as_networks)] = setting(
        (), "Networks besides the public ones in which registries may be that are replicated with, as 10.0.0.0/8."
    )
