"""A line that is cut: a TCP proxy that resets its connections when so many bytes went one way."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Self

UP, DOWN = "up", "down"
_RESET = struct.pack("ii", 1, 0)


class Cutting:
    """``with Cutting(port) as line:``; ``line.cut_at(UP, [100, 200])`` resets whoever sends the hundredth byte, then the
    two hundredth, counted over all connections. ``moved`` is how many bytes went each way, ``cuts`` how often it was cut.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.moved = {UP: 0, DOWN: 0}
        self.cuts = 0
        self._places: dict[str, list[int]] = {UP: [], DOWN: []}
        self._lock = threading.Lock()

    def cut_at(self, way: str, places: Sequence[int]) -> None:
        """Count from now on."""
        with self._lock:
            self.moved[way] = 0
            self._places[way] = sorted(places)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            threading.Thread(target=self._join, args=(near, far), daemon=True).start()

    def _join(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            answers = threading.Thread(target=self._carry, args=(far, near, DOWN), daemon=True)
            answers.start()
            self._carry(near, far, UP)
            answers.join()

    def _carry(self, source: socket.socket, target: socket.socket, way: str) -> None:
        try:
            while data := source.recv(16 << 10):
                if self._is_cut(way, len(data)):
                    for one in (source, target):
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    break
                target.sendall(data)
            else:
                target.shutdown(socket.SHUT_WR)
                return
        except OSError:
            pass
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _is_cut(self, way: str, count: int) -> bool:
        with self._lock:
            self.moved[way] += count
            places = self._places[way]
            if places and self.moved[way] >= places[0]:
                self._places[way] = [place for place in places if place > self.moved[way]]
                self.cuts += 1
                return True
            return False
