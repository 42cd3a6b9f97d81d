"""References as docker reads them; the examples are those of distribution's reference package and of docker's pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.errors import DigestInvalid, Invalid, NameInvalid, TagInvalid
from lading.oci.reference import Reference

DIGEST = "sha256:" + "ab" * 32

GOOD = {
    "busybox": ("docker.io", "library/busybox", "", ""),
    "busybox:1.36": ("docker.io", "library/busybox", "1.36", ""),
    "docker.io/busybox": ("docker.io", "library/busybox", "", ""),
    "index.docker.io/busybox": ("docker.io", "library/busybox", "", ""),
    "docker.io/library/busybox": ("docker.io", "library/busybox", "", ""),
    "team/app": ("docker.io", "team/app", "", ""),
    "localhost/app": ("localhost", "app", "", ""),
    "localhost:5000/app:x": ("localhost:5000", "app", "x", ""),
    "localhost:5000": ("docker.io", "library/localhost", "5000", ""),
    "registry.lab/app": ("registry.lab", "app", "", ""),
    "registry:5000/a/b/c": ("registry:5000", "a/b/c", "", ""),
    "UPPER/app": ("UPPER", "app", "", ""),
    "127.0.0.1:5000/app@" + DIGEST: ("127.0.0.1:5000", "app", "", DIGEST),
    "[::1]:5000/app:1": ("[::1]:5000", "app", "1", ""),
    "app:1@" + DIGEST: ("docker.io", "library/app", "1", DIGEST),
    "docker://quiet.example/app": ("quiet.example", "app", "", ""),
    "xn--n3h.com/app:xn--n3h.com": ("xn--n3h.com", "app", "xn--n3h.com", ""),
}

BAD = {
    "": NameInvalid,
    ":tag": NameInvalid,
    "Busybox": NameInvalid,
    "team/App": NameInvalid,
    "a/b:": TagInvalid,
    "app:.x": TagInvalid,
    "app@sha256:ab": DigestInvalid,
    "ab" * 32: NameInvalid,
    "-host.lab/app": NameInvalid,
    "host.lab:99999999/app": NameInvalid,
    "host.lab//app": NameInvalid,
    "host.lab/": NameInvalid,
    "https://host.lab/app": NameInvalid,
    "host.lab/" + "a" * 250: NameInvalid,
    "host.lab/../app": NameInvalid,
    "host.lab/app\n": NameInvalid,
}


@pytest.mark.parametrize("text", GOOD)
def test_a_reference(text: str) -> None:
    read = Reference.parse(text)
    assert (read.host, read.repository, read.tag, read.digest) == GOOD[text]
    assert Reference.parse(str(read)) == read
    assert Reference.parse(read.name).repository == read.repository


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_no_reference(text: str) -> None:
    with pytest.raises(BAD[text]) as found:
        Reference.parse(text)
    assert len(found.value.message) < 600


def test_a_capital_is_told_how_it_is_written() -> None:
    with pytest.raises(NameInvalid, match="must be lower-case: library/busybox"):
        Reference.parse("BusyBox")


@pytest.mark.parametrize(
    ("text", "asked"), [("busybox", "latest"), ("busybox:1", "1"), (f"busybox:1@{DIGEST}", DIGEST)]
)
def test_what_is_asked_of_a_registry(text: str, asked: str) -> None:
    assert Reference.parse(text).reference == asked


@given(st.text(alphabet="aA0.:/@-_[]s", max_size=40))
def test_whatever_is_written_it_is_read_or_refused(text: str) -> None:
    try:
        read = Reference.parse(text)
    except Invalid:
        return
    assert Reference.parse(str(read)) == read
