"""The parent process: checks everything that can be checked, opens the sockets, keeps the workers alive.

Every worker has its own listening socket on the same address (``SO_REUSEPORT``), and the kernel deals connections out
between them. The parent holds all the sockets, so connections that wait for a worker that died are served by the one
that takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import logging
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lading.cli.server.adopt import tell
from lading.cli.server.takeover import take_over
from lading.errors import ConfigurationError, StartError
from lading.telemetry import logs

if TYPE_CHECKING:
    import ssl

    from lading.config.model import Configuration

log = logging.getLogger(__name__)

_BACKLOG = 4096
_PR_SET_PDEATHSIG = 1
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_RESPAWN_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_CANNOT_START = 78  # how a worker ends that found something wrong which only workers look at; EX_CONFIG of sysexits.h
_READY = "ready"
_PATIENCE_SECONDS = 30.0
_SAID_BYTES = 4000  # a pipe takes so many at once, or none


class Supervisor:
    """Runs ``number`` workers for one configuration."""

    def __init__(self, configuration: Configuration, number: int) -> None:
        self.configuration = configuration
        self.number = number
        self._sockets: list[socket.socket] = []
        self._debug_sockets: list[socket.socket] = []
        self._workers: dict[int, int] = {}
        self._started: dict[int, float] = {}
        self._leaving: set[int] = set()
        self._first: set[int] = set()
        self._pauses: dict[int, float] = {}
        self._due: dict[int, float] = {}
        self._told, self._telling = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wrong = ""
        self._renewing = False
        self._tls: ssl.SSLContext | None = None
        self._temporary: Path | None = None
        self._stopping = False
        self._parent = os.getpid()
        self.accounts = False

    @property
    def address(self) -> str:
        """Where it listens, as a person would type it."""
        if self.configuration.http.net == "unix":
            return self.configuration.http.addr
        host, port = self._sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def prepare(self) -> None:
        """Check and open everything, so that what cannot work is told before anything runs."""
        logs.configure(self.configuration.log, self.configuration.level)
        self._read_certificates()
        self._sockets = self._listen()
        debug = self.configuration.http.debug.address
        if debug is not None:
            self._debug_sockets = _listen_tcp("http.debug.addr", *debug, self.number)
        self._check_store()

    def run(self) -> None:
        """Serve until told to stop; ``StartError`` where the workers say that it cannot be done."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, self._renew)
        try:
            try:
                for place in range(self.number):
                    self._first.add(self._spawn(place))
            except InterruptedError:
                pass  # told to stop while it began
            self._watch()
            if self._wrong:
                raise StartError(self._wrong)
        finally:
            if os.getpid() == self._parent:
                self._clean_up()

    # ---- workers

    def _spawn(self, place: int, *, tells: bool = False) -> int:
        """Its process, which ``tells`` when it serves; one that cannot says why, and the next one takes its place."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._started[place] = time.monotonic()
        # the parent's handlers may run neither in the child nor before the parent knows of it
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        worker = os.fork()
        if worker:
            self._workers[worker] = place
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            return worker
        status = 1
        try:
            for number in _HANDLED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            # a worker does not outlive its parent, however that ended
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() == self._parent:
                self._serve(place, tells=tells)
            status = 0
        except StartError as error:
            status = _CANNOT_START
            self._say(str(error))
        except BaseException:
            log.exception("a worker failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _serve(self, place: int, *, tells: bool) -> None:
        from lading.cli.server import worker

        own, debug = self._pairs()[place]
        for other in (*self._sockets, *self._debug_sockets):
            if other is not own and other is not debug:
                other.close()
        ready = partial(self._say, _READY) if tells else _nothing
        worker.run(self.configuration, self._places(), (own, debug), self._tls, ready, governed=self.accounts)

    def _pairs(self) -> list[tuple[socket.socket, socket.socket | None]]:
        sockets = self._sockets if len(self._sockets) > 1 else self._sockets * self.number
        debug: list[socket.socket | None] = list(self._debug_sockets) or [None] * self.number
        return list(zip(sockets, debug, strict=True))

    def _watch(self) -> None:
        deadline: float | None = None
        while self._workers or self._due:
            if self._stopping:
                self._due.clear()
                self._close_sockets()
            try:
                self._fill()
                ended, status = self._wait()
                if ended:
                    self._ended(ended, status)
                elif self._stopping:
                    deadline = deadline or time.monotonic() + self.configuration.http.draintimeout.total_seconds() + 5.0
                    if time.monotonic() > deadline:
                        self._signal(signal.SIGKILL)
            except InterruptedError:
                continue
            except ChildProcessError:
                return

    def _wait(self) -> tuple[int, int]:
        """The worker that ended, and how; 0 where none did and there is something else to look at."""
        ended, status = 0, 0
        if self._workers:
            ended, status = os.waitpid(-1, os.WNOHANG if self._stopping or self._due else 0)
        if not ended:
            time.sleep(0.02 if self._stopping else 0.1)
        return ended, status

    def _fill(self) -> None:
        """Have another worker at each place whose pause is over."""
        for place, moment in list(self._due.items()):
            if time.monotonic() >= moment:
                del self._due[place]
                self._spawn(place)

    def _ended(self, worker: int, status: int) -> None:
        place = self._workers.pop(worker, None)
        said = self._said() if os.waitstatus_to_exitcode(status) == _CANNOT_START else ""
        first = worker in self._first
        self._first.discard(worker)  # its number may come again
        if place is None or self._stopping or worker in self._leaving:
            self._leaving.discard(worker)
            return
        if said and first:
            # what one finds at the very start all of them find, and so would whoever takes its place
            self._wrong, self._stopping = said, True
            self._signal(signal.SIGTERM)
            return
        pause = self._pause(place, failed=bool(said))
        if said:
            log.error("a worker cannot start: %s; tried again in %g s, and at a SIGHUP", said, pause)
        elif status:
            log.error("worker %d ended (%s); another takes its place", worker, _how(status))
        self._due[place] = time.monotonic() + pause

    def _pause(self, place: int, *, failed: bool) -> float:
        """Seconds before the next worker at a place: none after one that served, and more with each that did not."""
        if not failed and time.monotonic() - self._started[place] >= _RESPAWN_SECONDS:
            self._pauses.pop(place, None)
            return 0.0
        before = self._pauses.get(place, 0.0)
        self._pauses[place] = min(2 * before, _LONGEST_PAUSE_SECONDS) or _RESPAWN_SECONDS
        if before:
            self._let_go(place)
        return self._pauses[place]

    def _let_go(self, place: int) -> None:
        """Have the kernel deal nothing to a place where nobody serves: other workers take it, or it is refused at once.

        The address stays taken, and the worker that serves there again listens again.
        """
        http, (own, debug) = self.configuration.http, self._pairs()[place]
        addresses = (own, http.address if http.net == "tcp" else None), (debug, http.debug.address)
        for each, address in addresses:
            # a socket at a path is everybody's, and a port that the kernel chose would be another one afterwards
            if each is None or address is None or not address[1]:
                continue
            # shut twice, it would hand out connections that have ended, once somebody listens again
            if each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                each.shutdown(socket.SHUT_RD)

    def _say(self, text: str) -> None:
        os.write(self._telling, text.encode()[:_SAID_BYTES] + b"\0")

    def _said(self) -> str:
        """What a worker said: why it could not start, or that it has."""
        try:
            return os.read(self._told, 1 << 16).partition(b"\0")[0].decode(errors="replace")
        except BlockingIOError:
            return ""  # others said it, and it was read with theirs

    def _stop(self, number: int, frame: object) -> None:  # noqa: ARG002 - the signature of a signal handler
        if self._stopping:
            self._signal(signal.SIGKILL)
        self._stopping = True
        self._signal(signal.SIGTERM)
        raise InterruptedError

    def _renew(self, number: int, frame: object) -> None:  # noqa: ARG002 - the signature of a signal handler
        # new certificates: each worker finishes what it does, while the one that takes its place has them
        old = {worker: place for worker, place in self._workers.items() if worker not in self._leaving}
        if self._renewing or self._stopping:
            return
        self._due = dict.fromkeys(self._due, 0.0)
        if not old:
            return
        self._renewing = True
        first, *others = old.values()
        try:
            self._read_certificates()
            self._try_one(first)
        except StartError as error:
            log.error(
                "told to begin anew, but what is wrong now would end it; all that was read before stays in use: %s",
                error,
            )
            return
        finally:
            self._renewing = False
        self._leaving.update(old)
        for worker in old:
            _kill(worker, signal.SIGTERM)
        for place in others:
            self._spawn(place)

    def _try_one(self, place: int) -> None:
        """Have another worker at a place, beside the one that is there; ``StartError`` where it cannot start."""
        worker, said = self._spawn(place, tells=True), ""
        end = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < end:
            select.select([self._told], (), (), 0.1)
            said = said or self._said()
            if said == _READY:
                return
            ended, status = os.waitpid(worker, os.WNOHANG)
            if ended:
                del self._workers[worker]
                raise StartError(said or f"the worker that was tried ended ({_how(status)})")
        self._leaving.add(worker)
        _kill(worker, signal.SIGKILL)
        raise StartError(f"the worker that was tried did not serve within {_PATIENCE_SECONDS:g} s")

    def _read_certificates(self) -> None:
        # here, and not by each worker: one that takes another's place must not depend on what lies there by then
        if self.configuration.http.tls.enabled:
            from lading.cli.server import tls

            self._tls = tls.context(self.configuration.http.tls)

    def _signal(self, number: int) -> None:
        for worker in list(self._workers):
            _kill(worker, number)

    def _close_sockets(self) -> None:
        """Let go of them while workers finish: what nobody will take is refused at once, and asked of another replica."""
        for each in (*self._sockets, *self._debug_sockets):
            each.close()

    def _clean_up(self) -> None:
        if self.configuration.http.net == "unix":
            Path(self.configuration.http.addr).unlink(missing_ok=True)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    # ---- what workers need

    def _places(self) -> tuple[Path | None, str]:
        """The root directory of a store of files, and the index."""
        root, index = self.configuration.root, self.configuration.index
        if root is None and index is not None and self.configuration.storage.driver != "inmemory":
            return None, index
        if root is None and self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="lading-"))
        root = root or self._temporary
        assert root is not None
        return root, index or f"sqlite:///{root / 'lading' / 'index.sqlite'}"

    def _check_store(self) -> None:
        from lading.stores.blobs.driver import where

        root, index = self._places()
        adopted = asyncio.run(take_over(self.configuration.storage, root, index))
        if adopted is not None:
            tell(adopted, where(self.configuration.storage, root))
        htpasswd = self.configuration.auth.htpasswd
        if htpasswd is not None:
            from lading.access.accounts import provision

            # here alone: one that vanishes later is on its way to be replaced, and a new one would lock everybody out
            provision(Path(htpasswd.path))
        self.accounts, told = asyncio.run(_set_up_accounts(self.configuration, root, index))
        for line in told:
            print(f"lading: {line}", flush=True)

    def _listen(self) -> list[socket.socket]:
        http = self.configuration.http
        if http.net == "unix":
            return [_listen_unix(http.addr)]
        return _listen_tcp("http.addr", *http.address, self.number)


async def _set_up_accounts(configuration: Configuration, root: Path | None, index: str) -> tuple[bool, list[str]]:
    """Whether accounts are on, and what was made for them."""
    from lading.control.switch import are_on, note
    from lading.stores.metadata.engine import open_index

    metadata = open_index(index)
    try:
        if not await are_on(metadata, configuration.accounts):
            if configuration.accounts is not None:
                await metadata.write(lambda tx: note(tx, on=False))
            return False, []
        from lading.access.htpasswd import Htpasswd
        from lading.access.sealing import Seal, read_key
        from lading.control.accounts import set_up
        from lading.settings import account_settings, seal_path

        htpasswd = configuration.auth.htpasswd
        if htpasswd is not None:
            Htpasswd.open(htpasswd.path, htpasswd.realm, provision=False).close()
        seal = Seal(read_key(seal_path(configuration, root)))
        return True, await set_up(metadata, seal, account_settings(configuration))
    finally:
        await metadata.close()


def _listen_tcp(key: str, host: str, port: int, number: int) -> list[socket.socket]:
    family = socket.AF_INET6 if ":" in host or not host else socket.AF_INET
    if not host and not socket.has_dualstack_ipv6():
        family = socket.AF_INET
    try:
        if port:
            # two servers may share a port by SO_REUSEPORT; one that is there already must be noticed
            _bind(family, host, port, shared=False).close()
        made = [_bind(family, host, port, shared=True)]
        while len(made) < number:
            made.append(_bind(family, host, made[0].getsockname()[1], shared=True))
    except OSError as error:
        raise _cannot_listen(key, f"{host}:{port}", error) from None
    return made


def _bind(family: int, host: str, port: int, *, shared: bool) -> socket.socket:
    resolved = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    chosen = next((each for each in resolved if each[0] == family), resolved[0])
    made = socket.socket(chosen[0], socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if chosen[0] == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if not host else 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind(chosen[4])
        if shared:  # the one that only looks whether the port is free must not take connections
            made.listen(_BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _listen_unix(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        made.bind(path)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise _cannot_listen("http.addr", path, error, _AT_A_PATH) from None
    return made


def _remove_stale(path: str) -> None:
    if not Path(path).exists():
        return
    if not Path(path).is_socket():
        raise ConfigurationError(f"http.addr: {path} is there already and is no socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()  # left by a process that was killed
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


_AT_A_PORT = {
    errno.EADDRINUSE: "another program listens there; stop it, or choose another port",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose a higher one, such as 5000",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
    errno.EMFILE: "raise the limit of open files (ulimit -n, or LimitNOFILE of the service), or have fewer workers",
}
_AT_A_PATH = {
    errno.EADDRINUSE: "another program listens there; stop it, or choose another path",
    errno.EACCES: "this user may make no socket in that folder; see to its owner and mode, or choose another",
    errno.ENOENT: "make its folder, or choose another",
}


def _cannot_listen(key: str, where: str, error: OSError, hints: Mapping[int, str] = _AT_A_PORT) -> StartError:
    hint = hints.get(error.errno or 0, "check the address")
    return StartError(f"cannot listen on {where} ({key}): {error.strerror or error}. {hint[0].upper()}{hint[1:]}")


def _nothing() -> None:
    """Nobody waits for a worker to serve."""


def _kill(worker: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, number)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"
