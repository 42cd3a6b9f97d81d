"""An upload as a state machine: two processes, any order of requests, against a model that is a string of bytes."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from lading.errors import DigestInvalid, RangeInvalid, SizeInvalid, UploadUnknown
from lading.oci.digest import ALGORITHMS, Digest
from lading.registry.uploads import Progress, Range
from tests.unit.registry.world import BY, World, broken, stream

T = TypeVar("T")

CHUNKS = st.binary(max_size=200) | st.just(b"x" * 70_000)
SIDE = st.integers(0, 1)


class Upload:
    """What a model knows of an upload: its bytes, and every ticket that was ever given for it."""

    def __init__(self, progress: Progress) -> None:
        self.uuid = progress.uuid
        self.data = b""
        self.tickets = [progress.ticket, ""]


class Machine(RuleBasedStateMachine):
    uploads = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="lading-upload-"))
        self.sides = [World(self.root), World(self.root)]
        self.open: dict[str, int] = {}
        self.stored: dict[str, bytes] = {}

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        for side in self.sides:
            self.do(side.close())
        self.loop.close()
        shutil.rmtree(self.root)

    def went(self, upload: Upload, progress: Progress) -> None:
        assert (progress.uuid, progress.size) == (upload.uuid, len(upload.data))
        self.open[upload.uuid] = progress.size
        upload.tickets.append(progress.ticket)

    def ticket(self, upload: Upload, back: int) -> str:
        """The newest ticket, or an older one, or none at all."""
        return upload.tickets[-1 - back % len(upload.tickets)]

    @rule(target=uploads, side=SIDE, algorithm=st.sampled_from(ALGORITHMS))
    def start(self, side: int, algorithm: str) -> Upload:
        progress = self.do(self.sides[side].uploads.start("a", algorithm))
        self.open[progress.uuid] = 0
        return Upload(progress)

    @rule(upload=uploads, side=SIDE, chunk=CHUNKS, back=st.integers(0, 3))
    def append(self, upload: Upload, side: int, chunk: bytes, back: int) -> None:
        upload.data += chunk
        ask = self.sides[side].uploads.append("a", upload.uuid, self.ticket(upload, back), stream(chunk), None)
        self.went(upload, self.do(ask))

    @rule(upload=uploads, side=SIDE, chunk=CHUNKS.filter(bool), off=st.integers(-2, 2), back=st.integers(0, 3))
    def append_a_range(self, upload: Upload, side: int, chunk: bytes, off: int, back: int) -> None:
        first = max(0, len(upload.data) + off)
        expected = Range(first, first + len(chunk) - 1)
        ask = self.sides[side].uploads.append("a", upload.uuid, self.ticket(upload, back), stream(chunk), expected)
        if first != len(upload.data):
            with pytest.raises(RangeInvalid):
                self.do(ask)
            return
        upload.data += chunk
        self.went(upload, self.do(ask))

    @rule(upload=uploads, side=SIDE, chunk=CHUNKS.filter(bool), more=st.sampled_from([-1, 1, 1000]))
    def append_another_length_than_said(self, upload: Upload, side: int, chunk: bytes, more: int) -> None:
        first = len(upload.data)
        expected = Range(first, first + len(chunk) + more - 1)
        ask = self.sides[side].uploads.append("a", upload.uuid, self.ticket(upload, 0), stream(chunk), expected)
        with pytest.raises(SizeInvalid):
            self.do(ask)

    @rule(upload=uploads, side=SIDE, chunk=CHUNKS, back=st.integers(0, 3))
    def break_off(self, upload: Upload, side: int, chunk: bytes, back: int) -> None:
        upload.data += chunk
        self.open[upload.uuid] = len(upload.data)
        parts = broken([chunk], ConnectionResetError())
        ask = self.sides[side].uploads.append("a", upload.uuid, self.ticket(upload, back), parts, None)
        with pytest.raises(ConnectionResetError):
            self.do(ask)

    @rule(upload=uploads, side=SIDE, back=st.integers(0, 3))
    def status(self, upload: Upload, side: int, back: int) -> None:
        self.went(upload, self.do(self.sides[side].uploads.status("a", upload.uuid, self.ticket(upload, back))))

    @rule(
        upload=consumes(uploads),
        side=SIDE,
        rest=CHUNKS,
        back=st.integers(0, 3),
        algorithm=st.sampled_from(ALGORITHMS),
        honest=st.booleans(),
    )
    def finish(self, upload: Upload, side: int, rest: bytes, back: int, algorithm: str, honest: bool) -> None:
        data = upload.data + rest
        digest = Digest.of(data if honest else data + b"!", algorithm)
        ticket = self.ticket(upload, back)

        def ask(side: int) -> Coroutine[Any, Any, int]:
            return self.sides[side].uploads.finish("a", upload.uuid, ticket, digest, stream(rest), None, BY)

        del self.open[upload.uuid]
        if honest:
            assert self.do(ask(side)) == len(data)
            self.stored[digest] = data
            if ticket:
                assert self.do(ask(1 - side)) == len(data), "the same again, as after a lost answer"
        else:
            with pytest.raises(DigestInvalid):
                self.do(ask(side))
        for other in self.sides:
            with pytest.raises(UploadUnknown):
                self.do(other.uploads.status("a", upload.uuid, ticket))

    @rule(upload=consumes(uploads), side=SIDE, back=st.integers(0, 3))
    def cancel(self, upload: Upload, side: int, back: int) -> None:
        self.do(self.sides[side].uploads.cancel("a", upload.uuid, self.ticket(upload, back)))
        del self.open[upload.uuid]
        with pytest.raises(UploadUnknown):
            self.do(self.sides[1 - side].uploads.cancel("a", upload.uuid, ""))

    @precondition(lambda self: self.stored)
    @rule(side=SIDE)
    def read(self, side: int) -> None:
        for digest, data in self.stored.items():
            assert self.do(self.sides[side].read("a", digest)) == data

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        store = self.sides[0].store
        assert {found.uuid: found.size for found in store._uploads()} == self.open
        assert dict(store._blobs()) == {digest: len(data) for digest, data in self.stored.items()}


TestUploads = Machine.TestCase
TestUploads.settings = settings(max_examples=25, stateful_step_count=25)
