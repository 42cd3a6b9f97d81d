"""Inputs that a machine makes up: of known ones by small changes, or of two. What turns out in a new way is kept.

A corpus begins with *seeds* and with what earlier runs kept in ``corpus/NAME.jsonl``, a JSON string of Latin-1 a line. An input whose
outcome no other had joins it for the rest of the run; the long run writes those down, and every later one begins with them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

from tests.integration.test_fuzz import ARGUMENTS, FIELD_NAMES, FIELDS, HEADERS, VALUES, WORDS

FOLDER = Path(__file__).with_name("corpus")
_PUNCTUATION = [
    "\r\n",
    "\r\n\r\n",
    ": ",
    "?",
    "&",
    "=",
    "/v2/",
    "/api/v2.0/",
    '"',
    "{",
    "}",
    "[",
    "]",
    ",",
    "null",
    "\\",
]
TOKENS = [
    word.encode("utf-8", "replace")
    for word in (*WORDS, *ARGUMENTS, *VALUES, *HEADERS, *FIELDS, *FIELD_NAMES, *_PUNCTUATION)
]
_LONGEST = 20_000
_LONGEST_KEPT = 2_000
_MOST_FOUND = 200


def mutated(chance: random.Random, known: list[bytes]) -> bytes:
    """One to four changes to a known input."""
    data = bytearray(chance.choice(known))
    for _ in range(chance.randrange(1, 5)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                data[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                data[place:place] = chance.choice(TOKENS)
            case 2:
                del data[place : place + chance.randrange(1, 20)]
            case 3:
                other = chance.choice(known)
                data[place:] = other[chance.randrange(len(other) + 1) :]
            case 4:
                token = chance.choice(TOKENS)
                data[place : place + len(token)] = token
            case _:
                end = min(len(data), place + chance.randrange(1, 40))
                data[place:place] = data[place:end]
    return bytes(data[:_LONGEST])


class Corpus:
    """See the module. ``long``: at random, and what is found is written down; else the same inputs every time."""

    def __init__(self, name: str, seeds: Iterable[bytes], *, long: bool) -> None:
        self._path = FOLDER / f"{name}.jsonl"
        self._long = long
        self._chance = random.Random(None if long else name)
        self.known = list(dict.fromkeys([*seeds, *self.kept()]))
        self.began_with = len(self.known)
        self.found: list[bytes] = []
        self.kinds: set[Hashable] = set()

    def kept(self) -> list[bytes]:
        """What earlier runs found."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [json.loads(line).encode("latin-1") for line in lines]

    def inputs(self, number: int) -> Iterator[bytes]:
        """Those it began with, then what is made of them; ``number`` in all."""
        yield from self.known[: min(number, self.began_with)]
        for _ in range(number - self.began_with):
            yield mutated(self._chance, self.known)

    def turned_out(self, raw: bytes, kind: Hashable) -> None:
        """What came of an input."""
        if kind in self.kinds:
            return
        self.kinds.add(kind)
        if raw not in self.known and len(raw) < _LONGEST_KEPT and len(self.found) < _MOST_FOUND:
            self.found.append(raw)
            self.known.append(raw)

    def keep(self) -> None:
        """Write down what was found."""
        if self._long and self.found:
            with self._path.open("a") as file:
                file.writelines(json.dumps(raw.decode("latin-1")) + "\n" for raw in self.found)

    def __str__(self) -> str:
        return f"{self.began_with} known, {len(self.kinds)} kinds of outcomes, {len(self.found)} new inputs"
