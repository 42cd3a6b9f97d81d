"""What a program did to the files below one folder, read from the trace that ``strace -f -y -xx`` wrote of it.

A call counts from when it had returned, but for two: a sync covers only what had returned when it began, and an answer
to a client counts from when it began to be sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "openat,write,writev,pwrite64,pwritev,pwritev2,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,"
    "ftruncate,truncate,fsync,fdatasync,link,linkat,symlink,symlinkat,fallocate,copy_file_range,sendto,sendmsg,sendfile"
)
"""Every call that changes a file, makes a change durable, or answers."""

_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>(.*)|(\w+)\((.*))$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_FD = re.compile(r"(?:\d+|AT_FDCWD)<([^>]*)>")
_RESULT = re.compile(r"^(.*)\) += (-?\d+)")
_HTTP = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_UNFINISHED = " <unfinished ...>"
_SYNC = ("fsync", "fdatasync")


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    ``kind`` and what goes with it: ``create``, ``mkdir``, ``unlink`` and ``rmdir`` (path), ``rename`` and ``link`` (path
    and target), ``write`` (path, offset or -1 for the end, data), ``truncate`` (path, offset), ``sync-begins`` and
    ``sync-ends`` (path, and a number that both have), ``answer`` (the status as offset).
    """

    kind: str
    path: str = ""
    target: str = ""
    offset: int = 0
    data: bytes = field(default=b"", repr=False)


def events(trace: Path, root: Path) -> Iterator[Event]:
    """What happened below ``root``, and every answer, in order."""
    began: dict[str, tuple[str, str]] = {}
    syncs: dict[str, int] = {}
    number = 0
    for line in trace.read_text("latin-1").splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        pid, resumed, rest, call, text = found.groups()
        if call is not None and text is not None:
            if call in _SYNC and (path := _below(root, _fd(text))):
                number += 1
                syncs[pid] = number
                yield Event("sync-begins", path, offset=number)
            yield from _answers(call, text)
            if text.endswith(_UNFINISHED):
                began[pid] = (call, text.removesuffix(_UNFINISHED))
                continue
        else:
            call, before = began.pop(pid, (resumed, ""))
            text = before + rest
        yield from _finished(root, call, text, syncs.pop(pid, 0))


def _answers(call: str, text: str) -> Iterator[Event]:
    if call in ("write", "writev", "sendto", "sendmsg") and "socket:" in _fd(text):
        sent = b"".join(_decoded(part) for part, _ in _STRING.findall(text))
        if status := _HTTP.match(sent):
            yield Event("answer", offset=int(status[1]))


def _finished(root: Path, call: str, text: str, sync: int) -> Iterator[Event]:
    result = _RESULT.match(text)
    if result is None or int(result[2]) < 0:
        return
    arguments = result[1]
    if call in _SYNC:
        if sync:
            yield Event("sync-ends", _below(root, _fd(text)), offset=sync)
    elif call in ("pwrite64", "pwritev", "pwritev2", "write", "writev"):
        yield from _written(root, call, arguments, int(result[2]))
    elif call == "ftruncate":
        if path := _below(root, _fd(arguments)):
            yield Event("truncate", path, offset=int(arguments.rpartition(", ")[2]))
    elif call not in ("sendto", "sendmsg", "sendfile"):
        yield from _named(root, call, arguments)


def _named(root: Path, call: str, arguments: str) -> Iterator[Event]:
    """What a call does that names paths."""
    names = [_decoded(part).decode() for part, _ in _STRING.findall(arguments)]
    if call.endswith("at"):
        names = [_joined(_fd(arguments), names[0]), *names[1:]]
    path, *more = (_below(root, name) for name in names)
    if not path:
        return
    match call:
        case "openat":
            if "O_CREAT" in arguments:
                yield Event("create", path)
            if "O_TRUNC" in arguments:
                yield Event("truncate", path)
        case "mkdir" | "unlink" | "rmdir" | "mkdirat" | "unlinkat":
            yield Event("rmdir" if "AT_REMOVEDIR" in arguments else call.removesuffix("at"), path)
        case "rename" | "link":
            yield Event(call, path, more[0])
        case _:
            raise NotImplementedError(f"{call} is not simulated: {arguments[:300]}")


def _written(root: Path, call: str, arguments: str, count: int) -> Iterator[Event]:
    path = _below(root, _fd(arguments))
    if not path:
        return
    strings = _STRING.findall(arguments)
    assert not any(cut for _, cut in strings), "strace cut the data short: -s is too small"
    data = b"".join(_decoded(part) for part, _ in strings)[:count]
    numbers = arguments.split(", ")
    place = {"pwrite64": -1, "pwritev": -1, "pwritev2": -2}.get(call)
    yield Event("write", path, offset=-1 if place is None else int(numbers[place]), data=data)


def _decoded(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _fd(arguments: str) -> str:
    """The path of the first descriptor that a call names."""
    found = _FD.search(arguments)
    return _decoded(found[1]).decode("utf-8", "replace") if found and found[1].startswith("\\x") else ""


def _joined(folder: str, name: str) -> str:
    return name if name.startswith("/") else f"{folder}/{name}"


def _below(root: Path, path: str) -> str:
    """The path from the root's parent, so that the root has a name too; empty for what lies elsewhere."""
    if path == str(root.parent):
        return "."
    inside = path == str(root) or path.startswith(f"{root}/")
    return path.removeprefix(f"{root.parent}/") if inside else ""
