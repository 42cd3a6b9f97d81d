"""HTTP/1.1 from the client's end: one connection, one request at a time on it, and the answer as it arrives (RFC 9112).

The parser is llhttp's. It sees the head of an answer and bodies in chunks; a body of a known length, which is what layers
are, passes beside it. Who sends listens meanwhile: a registry that refuses an upload before its end is heard at once.

What goes wrong is raised as :class:`OSError` (a broken connection, :class:`TimeoutError` where nothing moved) or
:class:`Garbled`; :func:`lading.remotes.failures.explained` puts it into words.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator

import httptools

from lading.remotes.stream import Body, Stream

_MAX_HEAD = 256 << 10
"""How many bytes may come without one of the body among them: a head, the lengths of chunks, trailers."""
_SMALL = 64 << 10
"""Up to this many bytes a body is sent together with its head."""
_LARGE = 1 << 20
"""From so many bytes on, what is left of a body is read past the parser."""


class Garbled(Exception):
    """What came is no HTTP, or what was to be sent would be none."""


class Lost(OSError):
    """The other side ended the connection before its time."""


class Headers:
    """An answer's headers, by name in whatever case."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def get(self, name: str, default: str = "") -> str:
        """The value; of several, all of them with commas between."""
        return ", ".join(self.get_list(name)) or default

    def get_list(self, name: str) -> list[str]:
        wanted = name.lower()
        return [value for key, value in self._pairs if key == wanted]

    def items(self) -> list[tuple[str, str]]:
        return self._pairs


class Connection:
    """A connection over ``stream``, which stays open as long as both sides like it to."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._stays = True
        self._bodiless = False
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[str, str]] = []
        self._bare = 0
        self._status = 0
        self._left: int | None = None
        self._until_end = False
        self._whole = True
        self._pieces: list[bytes] = []
        self._rest: Body | None = None

    @property
    def status(self) -> int:
        return self._status

    @property
    def headers(self) -> Headers:
        return Headers(self._headers)

    def usable(self) -> bool:
        """Whether another request may be sent on it: the answer is read to its end, and nothing came unasked."""
        try:
            if self._status and not self._whole and self._rest is None and (heard := self.stream.heard()) is not None:
                self._parse(heard)  # the rest of an answer whose head was enough, if it is there
            over = self._whole or (self._rest is not None and not self._rest.left)
            self._stays = self._stays and over and self.stream.heard() is None
        except (OSError, Garbled):
            self._stays = False
        return self._stays

    def close(self) -> None:
        self._stays = False
        self.stream.close()

    async def request(
        self,
        head: bytes,
        content: bytes | AsyncIterator[bytes],
        silence: float,
        *,
        chunked: bool = False,
        bodiless: bool = False,
        patience: float = 0.0,
    ) -> None:
        """Send a request and wait until the head of its answer is there.

        ``silence``: how long nothing may move, in seconds, and ``patience`` how long the answer may take, if that is
        longer. ``chunked`` frames what has no length; ``bodiless``: the answer has no body, whatever its head says.
        """
        self._begin(bodiless=bodiless)
        try:
            if not await self._sent(head, content, silence, chunked=chunked):
                self._stays = False  # it answered before it had everything
            async with asyncio.timeout(max(silence, patience)):  # a head that comes in drips is no answer, either
                while not self._status:
                    self._parse(await self.stream.read(max(silence, patience)))
        except ssl.SSLError as error:
            self.close()
            raise _lost(error, answered=bool(self._status)) from None
        except BaseException:
            self.close()
            raise

    async def parts(self, silence: float) -> AsyncGenerator[bytes | Body]:
        """The answer's body, once: in pieces, and what is left of it as one :class:`Body` where that is known to be large."""
        while True:
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                yield piece
            if self._whole:
                return
            if self._left is not None and self._left >= _LARGE:
                self._rest = Body(self.stream, self._left, silence)
                yield self._rest
                if self._rest.error is not None:
                    raise _lost(self._rest.error, answered=True)
                if self._rest.left:
                    raise Lost("it ended before its time")
                return
            try:
                self._parse(await self.stream.read(silence))
            except ssl.SSLError as error:
                raise _lost(error, answered=True) from None

    # what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status:
            return  # a trailer: what counts is in the head
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1").strip()))

    def on_headers_complete(self) -> None:
        if self._status:
            raise Garbled("it answers twice")
        status = self._parser.get_status_code()
        if status == 101:
            raise Garbled("it switches to another protocol")
        if status < 200:
            self._headers = []  # one that says to go on
            return
        headers = Headers(self._headers)
        tokens = {word.strip().lower() for word in headers.get("connection").split(",")}
        self._stays &= "keep-alive" in tokens if self._parser.get_http_version() == "1.0" else "close" not in tokens
        length = headers.get("content-length")
        if self._bodiless or status in {204, 304}:
            self._left = 0
        elif "chunked" in headers.get("transfer-encoding").lower():
            self._left = None
        elif length:
            self._left = int(length)  # the parser has looked at it
        else:
            self._until_end, self._stays = True, False
        self._status = status
        self._whole = self._left == 0

    def on_body(self, piece: bytes) -> None:
        if self._whole or not self._status:
            self._stays = False  # nobody asked for this
            return
        self._pieces.append(piece)
        self._bare = 0
        if self._left is not None:
            self._left -= len(piece)
            self._whole = not self._left

    def on_message_complete(self) -> None:
        if self._status:
            self._whole = True

    def _begin(self, *, bodiless: bool) -> None:
        self._bodiless = bodiless
        self._parser = httptools.HttpResponseParser(self)
        self._headers = []
        self._bare = 0
        self._status = 0
        self._left = None
        self._until_end = False
        self._whole = False
        self._pieces = []
        self._rest = None

    def _parse(self, data: bytes) -> None:
        if not data:
            self._stays = False
            self._whole = self._until_end
            if not self._whole:
                raise Lost("it ended before its time")
            return
        self._bare += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._stays = False
            if not self._whole:  # what follows an answer that is whole is noise
                raise Garbled(str(error.__cause__ or error.__context__ or error)) from None
        if not self._whole and self._bare > _MAX_HEAD:
            raise Garbled("what frames its answer has no end")

    async def _sent(self, head: bytes, content: bytes | AsyncIterator[bytes], silence: float, *, chunked: bool) -> bool:
        """Send all of it; False where the answer came first."""
        if isinstance(content, bytes):
            if len(content) <= _SMALL:
                return await self._gone(head + content, silence)
            return await self._gone(head, silence) and await self._gone(content, silence)
        if not await self._gone(head, silence):
            return False
        async for piece in content:
            if self._answered():
                return False
            if chunked and piece:
                piece = b"%x\r\n%b\r\n" % (len(piece), piece)  # noqa: PLW2901 - the same piece, framed
            if not await self._gone(piece, silence):
                return False
        return not chunked or await self._gone(b"0\r\n\r\n", silence)

    async def _gone(self, data: bytes, silence: float) -> bool:
        left = memoryview(data)
        while left:
            try:
                left = left[await self.stream.send(left, silence) :]
            except OSError as error:
                if not isinstance(error, TimeoutError) and self._answered():
                    return False  # who refuses an upload may not take the rest of it
                raise
            if left and self._answered():
                return False
        return True

    def _answered(self) -> bool:
        """Whether the answer has begun, while we send."""
        while not self._status and (heard := self.stream.heard()) is not None:
            self._parse(heard)
        return bool(self._status)


def _lost(error: OSError, *, answered: bool) -> OSError:
    """What a failure of TLS means once the handshake is over: a line that broke, or our certificate that is refused."""
    reason = getattr(error, "reason", None) or ""
    if not isinstance(error, ssl.SSLError) or (not answered and "ALERT" in reason and "RECORD" not in reason):
        return error
    return Lost("what came is no TLS of the other side's")
