"""When a directory that is silent is asked again."""

from __future__ import annotations

import pytest

from lading.access.directory.away import Away
from lading.access.directory.breaker import FIRST_PAUSE, LONGEST_PAUSE, Breaker

SILENT, ANSWERED = Away("nobody there", silent=True), Away("no such base")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def closed(breaker: Breaker) -> Away:
    with pytest.raises(Away) as told:
        breaker.enter()
    return told.value


def test_a_directory_that_answers_is_asked() -> None:
    breaker = Breaker(Clock())
    for end in (None, ANSWERED, None):
        assert breaker.enter() is False
        breaker.leave(end, tried=False)
    assert breaker.enter() is False


def test_one_question_tries_while_the_others_do_not_wait() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(5):  # under way together: they count as one
        assert breaker.enter() is False
    for _ in range(5):
        breaker.leave(SILENT, tried=False)
    told = closed(breaker)
    assert (told.why, told.retry_after) == ("nobody there", 1)
    clock.now += FIRST_PAUSE
    assert breaker.enter() is True
    assert closed(breaker).silent
    breaker.leave(SILENT, tried=True)
    clock.now += FIRST_PAUSE
    closed(breaker)
    clock.now += FIRST_PAUSE
    assert breaker.enter() is True
    breaker.leave(None, tried=True)
    assert breaker.enter() is False


def test_pauses_grow_and_end() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.leave(SILENT, tried=False)
    for _ in range(100):
        clock.now += LONGEST_PAUSE
        assert breaker.enter() is True
        breaker.leave(SILENT, tried=True)
    assert closed(breaker).retry_after == round(LONGEST_PAUSE)
    clock.now += LONGEST_PAUSE
    assert breaker.enter() is True
    breaker.leave(ANSWERED, tried=True)
    assert breaker.enter() is False, "an answer that is a refusal is one"
