"""Free ports on loopback, safe with several test processes at once."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

_FIRST, _LAST = 10240, 32000
_held: list[IO[bytes]] = []


def free_port() -> int:
    """A port nothing listens on, held for this process until it ends.

    Taken from below the kernel's range for outgoing connections, so that no client's socket lands on it between
    this call and the server's bind; a lock file keeps other test processes from picking the same.
    """
    locks = Path(tempfile.gettempdir()) / f"lading-test-ports-{os.getuid()}"
    locks.mkdir(exist_ok=True)
    for _ in range(200):
        port = random.SystemRandom().randrange(_FIRST, _LAST)
        lock = (locks / str(port)).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _held.append(lock)
        return port
    raise RuntimeError(f"no free port between {_FIRST} and {_LAST} on 127.0.0.1 in 200 attempts")
