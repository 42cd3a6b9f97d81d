"""``python -m bench``: prepare, measure in rounds, report, and leave nothing behind."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import (
    accounts,
    client,
    collecting,
    docker,
    fairness,
    growth,
    lists,
    memory,
    mirror,
    objectstore,
    pages,
    postgres,
    pull,
    push,
    replication,
    report,
    tls,
)
from bench.figures import Figure, Kept, Options, Round
from bench.fixture import Fixture, Shape, adopt, adoptable, prepare
from bench.servers import BenchmarkError, Lading, Nginx, Registry, Server, program
from bench.wire import AnswerError

_DESCRIPTION = """\
Lading beside registry:2 and a static nginx, on loopback, in one run. In each round every figure is taken from every
server in turn, so that whatever else the machine does meets all of them. Figures: {figures}.
"""
_DEFAULT_COMMAND = ".venv/bin/lading serve"
_REFERENCES = ("registry:2", "nginx")
_DISTRIBUTION = "distribution"


def main() -> int:
    """Run the benchmark; 1 when it cannot go on, 130 on Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _run(_arguments())
    except (BenchmarkError, AnswerError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    return 0


def _run(arguments: argparse.Namespace) -> None:
    options = _options(arguments)
    chosen = _chosen(arguments.only, _all(options))
    _require(arguments.server, arguments.distribution, chosen)
    results, failed = report.Results(), list[str]()
    words = _commands(arguments)
    with ExitStack() as stack:
        temporary = Path(tempfile.mkdtemp(prefix="bench-", dir=arguments.directory))
        stack.callback(_remove, temporary)
        found = report.environment(temporary, list(words.values()), arguments.distribution)
        shape = Shape(arguments.repositories, arguments.tags_each, arguments.blob_size)
        pulls = any(figure.static or figure.volume for figure in chosen)
        fixture = Fixture(temporary / "fixture", shape, "")
        if pulls:
            fixture = _fixture(arguments.fixture or fixture.directory, shape)
            found["volume"] = f"{shape.repositories * shape.tags_each} tags in {shape.repositories} repositories"
        servers = _servers(arguments.server, words, arguments.distribution, fixture, temporary)
        for server in servers if pulls else ():
            if isinstance(server, Lading):
                _say(f"{server.name} adopts the volume")
                seconds = adopt(server.words[: server.words.index("serve")], adoptable(fixture, server.root))
                found[f"{server.name} adopted the volume in"] = f"{seconds:.1f} s"
        kept = Kept(temporary, stack)
        for server in servers if pulls else ():
            stack.callback(server.stop)
            server.start()
            pull.verify(server, fixture)
        for number in range(arguments.rounds):
            for figure in chosen:
                # The order turns from round to round: none is always first.
                for server in (*servers[number % len(servers) :], *servers[: number % len(servers)]):
                    if isinstance(server, Nginx) and not figure.static:
                        continue
                    _say(f"round {number + 1} of {arguments.rounds}: {figure.name}: {server.name}")
                    directory = temporary / f"{number}-{figure.name}-{server.name}".replace(":", "")
                    turn = Round(server, fixture, directory, options, number + 1, kept)
                    try:
                        sample = figure.sample(turn)
                    except (BenchmarkError, AnswerError, OSError) as error:
                        # The other figures are not to be lost for this one's.
                        failed.append(f"{figure.name} of {server.name} failed: {error}")
                        _say(failed[-1])
                        continue
                    if sample:
                        results.add(figure.name, server.name, sample)
        for server in servers if pulls else ():
            found[f"memory of {server.name} after the pulls, each process"] = "; ".join(
                f"peak {held.peak / 1e6:.0f} MB, {held.own / 1e6:.0f} MB its own" for held in server.memory()
            )
    report.show(results, chosen, [server.name for server in servers], (*_REFERENCES, _DISTRIBUTION), found)
    if arguments.json:
        whole = report.as_json(results, chosen, found, vars(options) | {"rounds": arguments.rounds})
        arguments.json.write_text(json.dumps(whole, indent=2) + "\n")
    if failed:
        raise BenchmarkError("\n".join(failed))


def _arguments() -> argparse.Namespace:
    options = Options(seconds=0)
    names = [figure.name for figure in _all(options)]
    parser = argparse.ArgumentParser(prog="python -m bench", description=_DESCRIPTION.format(figures=", ".join(names)))
    parser.add_argument("--rounds", type=int, help="rounds to run (default 5)")
    parser.add_argument("--seconds", type=float, help="seconds of each request figure (default 5)")
    parser.add_argument("--quick", action="store_true", help="one round of 2 s, a tenth of the tags, smaller blobs")
    parser.add_argument(
        "--only", action="append", metavar="FIGURE", help="these figures alone (with commas, or repeated)"
    )
    parser.add_argument(
        "--server",
        action="append",
        choices=["lading", *_REFERENCES],
        help="this server alone (may be repeated; default all three)",
    )
    parser.add_argument(
        "--lading-command",
        action="append",
        metavar="COMMAND",
        help=f"the command that serves, up to its configuration file (default {_DEFAULT_COMMAND!r}); "
        "repeated, the variants run beside each other",
    )
    parser.add_argument(
        "--distribution",
        metavar="BINARY",
        help="the program of another version of registry:2 (distribution v3: registry), measured beside the others",
    )
    parser.add_argument("--repositories", type=int, help="repositories in the volume (default 10000)")
    parser.add_argument("--tags-each", type=int, default=10, help="tags in each (default 10)")
    parser.add_argument("--blob-size", type=int, default=1 << 28, help="bytes of the blob pulled (default 256 MiB)")
    parser.add_argument(
        "--fixture", type=Path, metavar="DIRECTORY", help="keep the volume here, and use it again in the next run"
    )
    parser.add_argument("--directory", type=Path, help="where temporary files go (default the system's place)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to this file as well")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 5)
    arguments.seconds = arguments.seconds or (2.0 if arguments.quick else 5.0)
    arguments.repositories = arguments.repositories or (1_000 if arguments.quick else 10_000)
    arguments.server = list(dict.fromkeys(arguments.server or ["lading", *_REFERENCES]))
    arguments.lading_command = arguments.lading_command or [_DEFAULT_COMMAND]
    return arguments


def _all(options: Options) -> tuple[Figure, ...]:
    parts = (
        pull,
        tls,
        fairness,
        push,
        docker,
        client,
        mirror,
        replication,
        memory,
        growth,
        accounts,
        postgres,
        objectstore,
        pages,
        lists,
        collecting,
    )
    return tuple(figure for part in parts for figure in part.figures(options))


def _options(arguments: argparse.Namespace) -> Options:
    if not arguments.quick:
        return Options(seconds=arguments.seconds)
    return Options(
        arguments.seconds,
        large=20_000_000,
        small_count=100,
        huge=200_000_000,
        requests=20_000,
        many=200_000,
        unreferenced=5_000,
        audited=1_000_000,
    )


def _chosen(only: Sequence[str] | None, figures: Sequence[Figure]) -> list[Figure]:
    only = [name for words in only or () for name in words.split(",")]
    unknown = set(only) - {figure.name for figure in figures}
    if unknown:
        raise BenchmarkError(
            f"no such figure: {', '.join(sorted(unknown))}; there are {', '.join(figure.name for figure in figures)}"
        )
    return [figure for figure in figures if not only or figure.name in only]


def _require(kinds: Sequence[str], distribution: str | None, chosen: Sequence[Figure]) -> None:
    """Say at once what is not installed, not after a minute of preparing."""
    if any(figure.static or figure.volume for figure in chosen):
        program("wrk", "wrk")
    if "registry:2" in kinds:
        program("docker-registry", "docker-registry")
    if "nginx" in kinds:
        program("nginx", "nginx-light")
    if distribution and shutil.which(distribution) is None:
        raise BenchmarkError(f"{distribution} (--distribution) is no program")


def _commands(arguments: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """Lading's commands by the name the table gives them."""
    if "lading" not in arguments.server:
        return {}
    words = [tuple(shlex.split(command)) for command in arguments.lading_command]
    for command in words:
        if "serve" not in command:
            raise BenchmarkError(
                f"--lading-command wants a command with the word serve in it, not {shlex.join(command)!r}"
            )
        if shutil.which(command[0]) is None:
            raise BenchmarkError(f"{command[0]} is not there; make setup installs it, --lading-command names another")
    return {f"lading {number}" if len(words) > 1 else "lading": command for number, command in enumerate(words, 1)}


def _fixture(directory: Path, shape: Shape) -> Fixture:
    _say(f"volume of {shape.repositories * shape.tags_each} tags in {directory}")
    return prepare(directory, shape)


def _servers(
    kinds: Sequence[str], words: dict[str, tuple[str, ...]], distribution: str | None, fixture: Fixture, temporary: Path
) -> list[Server]:
    """Every server asked for, over the volume; Lading's have a root of their own, that has to adopt it."""
    servers: list[Server] = []
    for name, command in words.items():
        directory = temporary / name.replace(" ", "-")
        servers.append(Lading(name, directory / "root", directory, words=command))
    if "registry:2" in kinds:
        servers.append(Registry("registry:2", fixture.volume, temporary / "registry2"))
    if "nginx" in kinds:
        servers.append(Nginx("nginx", fixture.static, temporary / "nginx"))
    if distribution:
        servers.append(Registry(_DISTRIBUTION, fixture.volume, temporary / _DISTRIBUTION, binary=distribution))
    return servers


def _remove(directory: Path) -> None:
    _say(f"removing {directory}")
    shutil.rmtree(directory)


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
