"""The registry that a mirror asks: with which login, how patiently, and when it is left in peace.

What goes wrong there becomes an error that a client of ours may see: "too many" stays that, with how long to wait; a
login that is refused is ours and not the client's; what makes no sense is the other side's fault (502), never the
client's. After "too many" and while it is away it is left in peace for a while, so that a client waits for nothing. What
it fails at (5xx), or breaks off, is left alone for that while, and all else is asked for: one image that is broken there
keeps no other from coming.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from lading import errors
from lading.config import mirror as config
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor, Manifest
from lading.remotes import helpers
from lading.remotes.copy import Pace
from lading.remotes.credentials import Credential, Keyring
from lading.remotes.failures import configured
from lading.remotes.http import HttpRegistry
from lading.remotes.session import Session
from lading.remotes.tokens import Authorizer
from lading.remotes.transport import Policy
from lading.stores.blobs.base import Inflow, pieces

_HUB = frozenset({"registry-1.docker.io", "index.docker.io", "docker.io"})
_AWAY_SECONDS = 5.0
_LONGEST_REST = 3600
_MOST_RESTS = 10_000
PATIENCE = Policy(attempts=3, backoff=0.2, patience=2, connect=5, silence=30)
"""How a mirror asks: clients wait meanwhile."""


@dataclass(frozen=True)
class Login:
    """Who the mirror is there: a user with a password or a file that holds one, or a helper; nobody, if all is empty."""

    username: str = ""
    password: str = ""
    file: str = ""
    helper: str = ""
    lifetime: float = 0.0

    def __repr__(self) -> str:
        return f"Login({self.username!r})"


class LoginKeyring(Keyring):
    """Knows that one login, and nothing of the machine's own files."""

    def __init__(self, login: Login, url: str) -> None:
        super().__init__({})
        self._login = login
        self._url = url
        self._asked: tuple[float, Credential] | None = None
        self._lock = asyncio.Lock()

    async def find(self, host: str, repository: str = "") -> Credential:  # noqa: ARG002 - one login for all of it
        login = self._login
        if login.file:
            try:
                return Credential(login.username, Path(login.file).read_text(encoding="utf-8").strip())
            except (OSError, ValueError):
                raise errors.CredentialsError("the passwordfile of the mirror cannot be read") from None
        if not login.helper:
            return Credential(login.username, login.password)
        async with self._lock:
            now = time.monotonic()
            if self._asked is None or (login.lifetime and now - self._asked[0] > login.lifetime):
                found = await helpers.get(login.helper.removeprefix("docker-credential-"), self._url)
                self._asked = now, Credential(*found) if found else Credential()
            return self._asked[1]


@dataclass
class _Asked:
    """How a request goes; ``came``: the upstream was there, and sent some of it."""

    came: bool = False


def weight(one: Descriptor) -> int:
    """About how many bytes a descriptor takes."""
    words = (one.artifact_type or "", *(text for pair in (one.annotations or {}).items() for text in pair))
    return 500 + sum(map(len, words))


class Upstream:
    """The registry ``host``, whose repositories go by their name behind ``prefix`` here (empty, or with its slash).

    ``reach`` says how it is asked; blobs come at ``speed`` bytes a second at most, all together (0: as fast as they do).
    """

    def __init__(self, host: str, keyring: Keyring, reach: Policy, *, prefix: str = "", speed: int = 0) -> None:
        import lading.remotes.sockets  # noqa: PLC0415, F401 - dear to import: where there is a mirror, and before a client waits

        self.host = host
        self.prefix = prefix
        self._session = Session(host, keyring, reach)
        self._client = HttpRegistry(self._session)
        self._pace = Pace(speed) if speed else None
        self._rests: OrderedDict[str, tuple[float, errors.LadingError]] = OrderedDict()

    @classmethod
    def of(cls, section: config.Upstream, prefix: str = "") -> Upstream:
        """The registry that the configuration names."""
        login = Login(
            section.username,
            section.password.get_secret_value(),
            section.passwordfile,
            section.exec.command,
            section.exec.lifetime.total_seconds(),
        )
        parts = urlsplit(section.remoteurl)
        reach = replace(PATIENCE, plain_http=parts.scheme == "http", guarded=not section.innerredirects)
        return cls(parts.netloc, LoginKeyring(login, section.remoteurl), reach, prefix=prefix)

    async def close(self) -> None:
        await self._session.close()

    def is_called(self, name: str) -> bool:
        """Whether clients call it by that host."""
        return name == self.host or {name, self.host} <= _HUB

    def named(self, repository: str) -> str:
        """What a repository is called there: Docker Hub has its official images under ``library/``."""
        name = repository.removeprefix(self.prefix)
        return f"library/{name}" if self.host in _HUB and "/" not in name else name

    def place(self, repository: str) -> str:
        """The one name a repository has here, however it was asked for."""
        return self.prefix + self.named(repository)

    async def resolve(self, repository: str, tag: str) -> Descriptor | None:
        async with self._asking("manifests", repository, tag):
            return await self._client.resolve(self.named(repository), tag)

    async def manifest(self, repository: str, digest: str) -> Manifest:
        async with self._asking("manifests", repository, digest):
            return await self._client.manifest(self.named(repository), digest)

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """The size of a blob there in bytes; None: it has none such."""
        async with self._asking("blobs", repository, digest):
            return await self._client.blob_size(self.named(repository), digest)

    async def blob(self, repository: str, blob: Descriptor, start: int) -> AsyncGenerator[bytes | Inflow]:
        """The bytes from ``start`` on, as many as come; whoever stores them finds out whether they are the blob's."""
        async with self._asking("blobs", repository, blob.digest) as asked:
            async with self._client.unverified(self.named(repository), blob, start) as parts:
                async with aclosing(self._paced(parts)) as paced:
                    async for part in paced:
                        asked.came = True
                        yield part

    async def _paced(self, parts: AsyncIterator[bytes | Inflow]) -> AsyncGenerator[bytes | Inflow]:
        if self._pace is None:
            async for part in parts:
                yield part
            return
        async for chunk in pieces(parts):
            for piece in self._pace.pieces(chunk):
                await self._pace.turn(len(piece))
                yield piece

    async def tags(self, repository: str, most: int) -> list[str]:
        """Its tags in byte order, ``most`` of them."""
        found: list[str] = []
        async with self._asking("manifests", repository, "tags"):
            async for tag in self._client.tags(self.named(repository)):
                found.append(tag)
                if len(found) >= most:
                    break
        return sorted(found)

    async def referrers(self, repository: str, subject: str, most: int) -> list[Descriptor]:
        """What refers to a manifest there, ``most`` bytes of it."""
        found: list[Descriptor] = []
        async with self._asking("manifests", repository, f"{subject}?referrers"):
            async for one in self._client.referrers(self.named(repository), subject):
                most -= weight(one)
                if most < 0:
                    break
                found.append(one)
        return found

    @asynccontextmanager
    async def _asking(self, what: str, repository: str, thing: str) -> AsyncIterator[_Asked]:
        """``what`` is a kind of requests, ``thing`` what is asked for in a repository: either may have been refused."""
        single = f"{what} {repository}@{thing}"
        for name in (what, single):
            until, why = self._rests.get(name, (0.0, None))
            left = until - time.monotonic()
            if why is not None and left > 0:
                raise _again(why, left)
        asked = _Asked()
        try:
            yield asked
            for name in (what, single):
                self._rests.pop(name, None)
        except errors.TooMany as error:
            limited = errors.TooMany(error.message, retry_after=min(error.retry_after, _LONGEST_REST))
            self._rest(what, limited, limited.retry_after)
            raise limited from None
        except errors.Untrusted as error:
            self._ask_anew()
            plain = errors.Untrusted(configured(error.message))
            self._rest(what, plain, _AWAY_SECONDS)
            raise plain from None
        except (errors.Unavailable, errors.Unreachable) as error:
            self._ask_anew()
            answered = asked.came or isinstance(error, errors.Unavailable)
            self._rest(single if answered else what, error, _AWAY_SECONDS)
            raise
        except errors.BadAnswer:
            self._ask_anew()
            raise
        except (errors.Unauthenticated, errors.Denied) as error:
            self._ask_anew()
            raise errors.Denied(f"this mirror may not have it: {_plain(error.message)}") from None
        except (
            errors.Invalid,
            errors.RangeInvalid,
            errors.TooLarge,
            errors.Conflict,
            errors.Unsupported,
            errors.CredentialsError,
        ) as error:
            raise errors.BadAnswer(f"{self.host}: {error.message}") from None

    def _ask_anew(self) -> None:
        """Find out again how one logs in there: what was told may hold no longer, or have been somebody else's word."""
        self._session.authorizer = Authorizer(self._session.transport, self._session.keyring)

    def _rest(self, what: str, why: errors.LadingError, seconds: float) -> None:
        self._rests[what] = time.monotonic() + seconds, why
        self._rests.move_to_end(what)
        if len(self._rests) > _MOST_RESTS:
            self._rests.popitem(last=False)


def _again(why: errors.LadingError, left: float) -> errors.LadingError:
    seconds = max(1, int(left + 0.999))
    if isinstance(why, errors.TooMany):
        return errors.TooMany(why.message, retry_after=seconds)
    if isinstance(why, errors.Unavailable):
        return errors.Unavailable(why.message, retry_after=seconds)
    return type(why)(why.message)


def _plain(message: str) -> str:
    """Without the advice to log in, which is for a person at a terminal."""
    return message.partition("; log in with:")[0]
