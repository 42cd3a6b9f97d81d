"""The figure of lists at size, over HTTP: the audit log with ten million rows, ten thousand projects and members.

The rows are made by SQL in the database itself, in SQLite and in a PostgreSQL of this machine. Each number is the slowest
list of its group; of each list, the median of some requests one after the other.
"""

from __future__ import annotations

import base64
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection

import psycopg

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.servers import BenchmarkError, Lading, Server
from tests.support.postgres import Postgres

_PASSWORD = "Secret-word-1"
_BASIC = f"Basic {base64.b64encode(f'admin:{_PASSWORD}'.encode()).decode()}"
_FEW = 10_000
_TIMES = 7
_LOG = "/api/v2.0/audit-logs?page_size=100"
_HERE = "/api/v2.0/projects/project-77/logs?page_size=100"
_EARLY = "op_time=[~2023-11-15T00:00:00]"

LISTS: Mapping[str, Sequence[str]] = {
    "first": (_LOG, "/api/v2.0/auditlog-exts?page_size=100"),
    "filters": (
        f"{_LOG}&q=operation%3Dpull",
        f"{_LOG}&q=operation%3Ddelete",
        f"{_LOG}&q=operation_result%3Ddenied",
        f"{_LOG}&q=username%3Duser-42",
        f"{_LOG}&q=username%3Dnobody",
        f"{_LOG}&q=resource_type%3Dartifact",
        f"{_LOG}&q=resource_type%3Duser",
        f"{_LOG}&q=resource_type%3Dlabel",
        f"{_LOG}&q=resource%3Dproject-77%2Fapp%3Av777",
        f"{_LOG}&q=project%3Dproject-77",
        f"{_LOG}&q={_EARLY}",
        f"{_LOG}&q=op_time%3D%5B2023-11-20T00:00:00~2023-11-20T01:00:00%5D",
        f"{_LOG}&q=username%3Duser-42%2Coperation%3Dpull",
        f"{_LOG}&q=username%3Duser-42%2C{_EARLY}",
        f"{_LOG}&q=id%3D5000000",
    ),
    "parts": (f"{_LOG}&q=resource%3D~app", f"{_LOG}&q=username%3D~user-4"),
    "unindexed": (f"{_LOG}&q=resource%3D~nowhere", f"{_LOG}&sort=operation,resource"),
    "sorted": (
        f"{_LOG}&sort=op_time",
        f"{_LOG}&sort=-op_time",
        f"{_LOG}&sort=id",
        f"{_LOG}&sort=username",
        f"{_LOG}&sort=-operation",
        f"{_LOG}&sort=resource",
        f"{_LOG}&sort=resource_type",
    ),
    "deep": (f"{_LOG}&page=100", f"{_LOG}&page=1000", f"{_LOG}&page=1000&q=operation%3Dpull", f"{_LOG}&page=1000&sort=op_time"),
    "project": (_HERE, f"{_HERE}&page=9", f"{_HERE}&q=operation%3Dpull", f"{_HERE}&q=resource%3D~app", f"{_HERE}&sort=op_time"),
    "projects": (
        "/api/v2.0/projects?page_size=100",
        "/api/v2.0/projects?page_size=100&page=90",
        "/api/v2.0/projects?page_size=100&name=77",
        "/api/v2.0/projects?page_size=100&sort=-creation_time",
        "/api/v2.0/projects?page_size=100&q=name%3D~77",
    ),
    "members": (
        "/api/v2.0/projects/project-0/members?page_size=100",
        "/api/v2.0/projects/project-0/members?page_size=100&page=100",
        "/api/v2.0/projects/project-0/members?page_size=100&entityname=77",
    ),
}  # fmt: skip
_LABELS = {
    "first": "audit log, first page",
    "filters": "audit log, filters",
    "parts": "audit log, parts of words",
    "unindexed": "audit log, what no index finds (refused after two seconds)",
    "sorted": "audit log, sorted",
    "deep": "audit log, deep pages",
    "project": "a project's log",
    "projects": "projects",
    "members": "members",
}

_SERIES = {
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) ",
    "postgresql": "WITH s AS (SELECT generate_series(1::bigint, {count}) AS n) ",
}
_AUDIT = (
    "INSERT INTO audit (happened_at, operation, resource_type, resource, project, actor, address, result, count, detail)"
    " {series}SELECT 1700000000000 + n * 100,"
    " CASE WHEN n % 10 < 6 THEN 'pull' WHEN n % 10 < 8 THEN 'create' WHEN n % 10 = 8 THEN 'login' ELSE 'delete' END,"
    " CASE WHEN n % 10 = 8 THEN 'user' ELSE 'artifact' END,"
    " 'project-' || (n * 7919 % 10000) || '/app:v' || (n % 1000), 'project-' || (n * 7919 % 10000),"
    " 'user-' || (n * 104729 % 9973), '10.0.0.' || (n % 250),"
    " CASE WHEN n % 1000 = 0 THEN 'denied' ELSE 'success' END, 1, '' FROM s"
)
_OTHERS = (
    "INSERT INTO blobs (digest, size, present, touched_at) VALUES ('sha256:0', 2, {yes}, 0)",
    (
        "INSERT INTO users (name, email, full_name, comment, password, source, subject, admin, disabled, created_at,"
        " updated_at) {series}SELECT 'user-' || n, '', 'User ' || n, '', '', 'local', '', {no}, {no}, n, n FROM s"
    ),
    (
        "INSERT INTO projects (name, public, owner_id, created_at, updated_at)"
        " {series}SELECT 'project-' || (n - 1), {no}, 1, n, n FROM s"
    ),
    (
        "INSERT INTO quotas (project_id, bytes, repositories, told, updated_at)"
        " SELECT id, -1, -1, '', 0 FROM projects WHERE name LIKE 'project-%'"
    ),
    "INSERT INTO repositories (name, created_at) {series}SELECT 'project-' || (n - 1) || '/app', 0 FROM s",
    (
        "INSERT INTO project_repositories (repository_id, project_id)"
        " SELECT r.id, p.id FROM repositories r JOIN projects p ON r.name = p.name || '/app'"
    ),
    (
        "INSERT INTO manifests (repository_id, blob_id, digest, media_type, size, artifact_type, annotations, pushed_at,"
        " touched_at) SELECT r.id, b.id, 'sha256:0', '', 2, '', '{{}}', 0, 0 FROM repositories r, blobs b"
    ),
    (
        "INSERT INTO project_members (project_id, kind, entity_id, role_id, created_at)"
        " SELECT p.id, 'u', u.id, 2, 0 FROM projects p, users u WHERE p.name = 'project-0'"
    ),
)


def lists(turn: Round) -> Sample:
    """The slowest list of each group, in each database."""
    if not isinstance(turn.server, Lading):
        return {}
    sample = {}
    for database, start in (("sqlite", _on_sqlite), ("postgresql", _on_postgresql)):
        server = turn.kept.get(f"lists of {turn.server.name} in {database}", partial(start, turn))
        for group, paths in LISTS.items():
            allowed = (200, 400) if group == "unindexed" else (200,)
            sample[f"{database}_{group}"] = max(_median(server, path, allowed) for path in paths)
    return sample


def figures(options: Options) -> tuple[Figure, ...]:
    """The figure of lists."""
    return (
        Figure(
            "lists",
            f"lists with {options.audited} rows of audit log, {_FEW} projects, {_FEW} members",
            tuple(
                Metric(f"{database}_{group}", f"{label}, {database}", "ms", "less")
                for database in _SERIES
                for group, label in _LABELS.items()
            ),
            lists,
            static=False,
        ),
    )


def _median(server: Server, path: str, allowed: Sequence[int]) -> float:
    """Milliseconds of a request, once it was asked before."""
    times = []
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=300)) as connection:
        for _ in range(_TIMES + 1):
            begin = time.perf_counter()
            connection.request("GET", path, headers={"Authorization": _BASIC})
            answer = connection.getresponse()
            raw = answer.read()
            times.append((time.perf_counter() - begin) * 1e3)
            if answer.status not in allowed:
                raise BenchmarkError(f"{path} was answered with {answer.status}: {raw[:500].decode(errors='replace')}")
    return statistics.median(times[1:])


def _fill(run: Callable[[str], object], dialect: str, audited: int, indexes: Sequence[tuple[str, str]]) -> None:
    """Make the rows; the audit log's indexes are dropped meanwhile and made again."""
    words = {"yes": "1", "no": "0"} if dialect == "sqlite" else {"yes": "true", "no": "false"}
    for statement in _OTHERS:
        run(statement.format(series=_SERIES[dialect].format(count=_FEW), **words))
    for name, _ in indexes:
        run(f"DROP INDEX {name}")
    run(_AUDIT.format(series=_SERIES[dialect].format(count=audited)))
    for _, definition in indexes:
        run(definition)


@contextmanager
def _on_sqlite(turn: Round) -> Iterator[Server]:
    server = _server(turn, "sqlite", "")
    server.start()  # it makes its tables
    server.stop()
    path = server.root / "lading/index.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as index:
        index.execute("PRAGMA synchronous = OFF")
        index.execute("PRAGMA cache_size = -500000")
        found = index.execute(
            "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'audit' AND sql LIKE 'CREATE INDEX%'"
        )
        indexes = found.fetchall()
        index.execute("BEGIN")
        _fill(index.execute, "sqlite", turn.options.audited, indexes)
        index.execute("COMMIT")
        index.execute("ANALYZE")
        index.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with _running(server):
        yield server


@contextmanager
def _on_postgresql(turn: Round) -> Iterator[Server]:
    with Postgres({"shared_buffers": "1GB", "maintenance_work_mem": "512MB", "max_wal_size": "8GB"}) as database:
        url = database.empty()
        server = _server(turn, "postgresql", f"database:\n  url: {url}\n")
        server.start()
        server.stop()
        with psycopg.connect(url, autocommit=True) as connection:
            found = connection.execute(
                "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'audit' AND indexname LIKE 'audit_by%'"
            )
            indexes = [(str(row[0]), str(row[1])) for row in found]
            _fill(lambda each: connection.execute(each.encode()), "postgresql", turn.options.audited, indexes)
            connection.execute("VACUUM ANALYZE")
        with _running(server):
            yield server


def _server(turn: Round, database: str, more: str) -> Lading:
    assert isinstance(turn.server, Lading)
    here = turn.kept.directory / f"{turn.server.name}-lists-{database}".replace(" ", "-")
    (here / "root").mkdir(parents=True)
    return turn.server.beside(here / "root", here, more=f"accounts:\n  adminpassword: {_PASSWORD}\n{more}")


@contextmanager
def _running(server: Lading) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()
