"""A network without a way out, for programs that are told made-up addresses."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_SIOCSIFFLAGS = 0x8914  # linux/sockios.h
_IFF_UP_AND_RUNNING = 0x41


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """This thread, and what it starts meanwhile, reach loopback and nothing else; only root can do that."""
    if os.geteuid() != 0:
        pytest.fail("a network of its own is something only root can make: run the tests as root", False)
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        _done(libc.unshare(_CLONE_NEWNET))
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP_AND_RUNNING))
            yield
        finally:
            _done(libc.setns(before.fileno(), _CLONE_NEWNET))


def _done(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
