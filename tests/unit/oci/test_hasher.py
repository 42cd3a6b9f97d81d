"""Hashing that is stopped in one process and taken up in another."""

from __future__ import annotations

import hashlib
import itertools
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lading.errors import DigestInvalid
from lading.oci import hasher as hashers
from lading.oci.digest import ALGORITHMS, Digest
from lading.oci.hasher import hasher, resume


def test_what_is_not_stored_is_not_hashed() -> None:
    with pytest.raises(DigestInvalid, match="not supported"):
        hasher("sha384")


def test_this_python_can_save_a_hash() -> None:
    """Debian's Python and this one can: what follows is no test of the fallback."""
    assert hasher().save() is not None


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("seed", range(20))
def test_a_hash_resumed_at_random_places_is_that_of_all_the_bytes(name: str, seed: int) -> None:
    chance = random.Random(f"{name}{seed}")
    data = chance.randbytes(chance.choice([0, 1, 63, 64, 65, 127, 128, 129, 1000, 70_000]))
    cuts = sorted({0, len(data), *(chance.randint(0, len(data)) for _ in range(8))})
    hashing = hasher(name)
    for first, last in itertools.pairwise(cuts):
        hashing.update(data[first:last])
        saved = hashing.save()
        assert saved is not None
        assert hashing.digest() == Digest.of(data[:last], name), "to save or to ask must change nothing"
        taken_up = resume(name, saved)
        assert taken_up is not None
        hashing = taken_up
    assert hashing.digest() == Digest.of(data, name)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_split_near_the_edges_of_a_block(name: str) -> None:
    data = random.Random(name).randbytes(300)
    for cut in range(301):
        first = hasher(name)
        first.update(data[:cut])
        second = resume(name, first.save() or b"")
        assert second is not None
        second.update(data[cut:])
        assert second.digest() == Digest.of(data, name), f"cut at {cut}"


def test_a_saved_state_is_small_and_the_same_everywhere() -> None:
    """The format is part of what clients carry between processes, so it may not depend on the machine."""
    hashing = hasher("sha256")
    hashing.update(b"a" * 100)
    state = hashing.save()
    assert state is not None
    assert len(state) == 40 + 36
    # low word of the length in bits, big-endian, before the unfinished block
    assert state[36:40] == (800).to_bytes(4, "big")
    assert state[40:] == b"a" * 36


def test_more_than_four_gigabits_do_not_wrap() -> None:
    """The length in bits takes more than one word: 600 MiB."""
    hashing, plain = hasher("sha256"), hashlib.sha256()
    block = bytes(1 << 22)
    for _ in range(150):
        hashing.update(block)
        plain.update(block)
    again = resume("sha256", hashing.save() or b"")
    assert again is not None
    again.update(b"end")
    plain.update(b"end")
    assert again.digest().hex == plain.hexdigest()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_any_buffer_is_hashed(name: str) -> None:
    data = bytes(range(256)) * 3
    for given in (data, bytearray(data), memoryview(data), memoryview(bytearray(data)), memoryview(data)[5:500]):
        hashing = hasher(name)
        hashing.update(given)
        hashing.update(b"")
        hashing.update(memoryview(b""))
        assert hashing.digest() == Digest.of(bytes(given), name)


def test_a_state_goes_to_another_process() -> None:
    hashing = hasher("sha512")
    hashing.update(b"one ")
    program = (
        "import sys, pickle; from lading.oci.hasher import resume;"
        "h = resume('sha512', pickle.loads(sys.stdin.buffer.read())); h.update(b'two'); print(h.digest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(hashing.save()), capture_output=True, check=True, timeout=30
    )
    assert done.stdout.decode().strip() == Digest.of(b"one two", "sha512")


@pytest.mark.parametrize("state", [b"", b"short", bytes(39), bytes(40 + 64), bytes(40 + 1000)])
def test_what_is_no_state_is_not_taken_up(state: bytes) -> None:
    with pytest.raises(Exception, match=r"not a saved hash state|requires a buffer"):
        resume("sha256", state)


class TestWithoutLibcrypto:
    """A statically linked Python has no libcrypto to call: hashing works, saving says that it cannot."""

    @pytest.fixture(autouse=True, params=["missing library", "missing symbol", "disagrees"])
    def no_libcrypto(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        def missing(path: str) -> object:
            if request.param == "missing library":
                raise OSError(path)
            return object()

        if request.param == "disagrees":
            monkeypatch.setattr(hashers, "_agrees", lambda name, functions: False)
        else:
            monkeypatch.setattr("ctypes.CDLL", missing)
        hashers._libcrypto.cache_clear()
        yield
        monkeypatch.undo()
        hashers._libcrypto.cache_clear()

    @pytest.mark.parametrize("name", ALGORITHMS)
    def test_it_hashes_and_cannot_save(self, name: str) -> None:
        hashing = hasher(name)
        hashing.update(b"one ")
        assert hashing.digest() == Digest.of(b"one ", name)
        hashing.update(memoryview(bytearray(b"two")))
        assert hashing.digest() == Digest.of(b"one two", name)
        assert hashing.save() is None

    def test_a_state_of_another_process_is_not_taken_up(self) -> None:
        assert resume("sha256", bytes(40)) is None
