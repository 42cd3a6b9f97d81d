"""Every error Lading raises on purpose, with its kind.

A plane raises one of these; a face turns the *kind* into its own status and body (``api/problems.py``), so that a
rule never knows HTTP and a handler never invents a message. The tree::

    LadingError
    ├── Invalid                   the caller's words are wrong                                      400
    │   ├── DigestInvalid         a digest outside the grammar, or not that of the bytes
    │   ├── SizeInvalid           a body longer or shorter than it said
    │   ├── NameInvalid           a repository name outside the grammar
    │   ├── TagInvalid            a tag outside the grammar
    │   ├── ManifestInvalid       bytes that are no manifest, or one that is not allowed
    │   ├── ManifestBlobUnknown   a manifest naming content that is not in its repository
    │   ├── TooWide               a question that would go through too much of the index
    │   └── PageInvalid           a page size that is no number or out of bounds
    ├── RangeInvalid              bytes asked for or sent that do not fit                           416
    ├── TooLarge                  more than the registry takes                                      413
    ├── Missing                   what was asked for is not there                                   404
    │   ├── RepositoryUnknown · ManifestUnknown · BlobUnknown · UploadUnknown
    ├── Conflict                  someone else is at it                                             409
    ├── Unsupported               switched off, or not done here                                    405
    ├── Unauthenticated           who are you? (carries the challenge)                              401
    ├── Denied                    you may not                                                       403
    ├── TooMany                   slow down (carries how long to wait)                              429
    ├── Unavailable               try again later (carries how long to wait)                        503
    ├── RemoteError               another registry, or the way to it                                502
    │   ├── Unreachable           nobody answers at its address
    │   ├── Untrusted             its certificate does not convince, or it is no TLS at all
    │   └── BadAnswer             it answers, and not as the protocol says
    ├── CredentialsError          a file or a helper that keeps credentials does not work
    ├── LocalError                a file or folder here: not writable, full, no image
    └── StartError                the program cannot start or run the command: a message for a terminal
        ├── ConfigurationError    one or more settings are wrong; each is named
        └── StoreError            the store is not what it should be: not writable, unknown layout, …
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class LadingError(Exception):
    """Something a user should be told.

    ``code`` is the distribution spec's error code ("Error Codes"), ``detail`` whatever JSON helps the caller.
    """

    code: ClassVar[str] = "UNKNOWN"

    def __init__(self, message: str, *, detail: Mapping[str, Any] | Sequence[Any] | str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class Invalid(LadingError):
    """The caller's words are wrong."""

    code = "UNSUPPORTED"


class DigestInvalid(Invalid):
    code = "DIGEST_INVALID"


class SizeInvalid(Invalid):
    code = "SIZE_INVALID"


class NameInvalid(Invalid):
    code = "NAME_INVALID"


class TagInvalid(Invalid):
    code = "TAG_INVALID"


class ManifestInvalid(Invalid):
    code = "MANIFEST_INVALID"


class ManifestBlobUnknown(Invalid):
    code = "MANIFEST_BLOB_UNKNOWN"


class TooWide(Invalid):
    """A question that was given up, since what fits it is found only by going through too many rows."""


class PageInvalid(Invalid):
    code = "PAGINATION_NUMBER_INVALID"


class RangeInvalid(LadingError):
    """Bytes asked for, or sent, that do not fit what is there."""

    code = "RANGE_INVALID"


class TooLarge(LadingError):
    """More than the registry takes."""

    code = "SIZE_INVALID"


class Missing(LadingError):
    """What was asked for is not there (or is not for the caller to see)."""

    code = "NOT_FOUND"


class RepositoryUnknown(Missing):
    code = "NAME_UNKNOWN"


class ManifestUnknown(Missing):
    code = "MANIFEST_UNKNOWN"


class BlobUnknown(Missing):
    code = "BLOB_UNKNOWN"


class UploadUnknown(Missing):
    code = "BLOB_UPLOAD_UNKNOWN"


class Conflict(LadingError):
    """Someone else is changing the same thing right now."""

    code = "BLOB_UPLOAD_INVALID"


class Unsupported(LadingError):
    """Switched off here, or not something this registry does."""

    code = "UNSUPPORTED"


class Unauthenticated(LadingError):
    """The caller must say who they are; ``challenge`` is the value of ``WWW-Authenticate``."""

    code = "UNAUTHORIZED"

    def __init__(self, message: str, *, challenge: str, detail: Any = None) -> None:
        super().__init__(message, detail=detail)
        self.challenge = challenge


class Denied(LadingError):
    """The caller is known and may not."""

    code = "DENIED"


class TooMany(LadingError):
    """Slow down; ``retry_after`` in seconds."""

    code = "TOOMANYREQUESTS"

    def __init__(self, message: str, *, retry_after: int = 1, detail: Any = None) -> None:
        super().__init__(message, detail=detail)
        self.retry_after = retry_after


class Unavailable(LadingError):
    """Not now; ``retry_after`` in seconds."""

    code = "UNAVAILABLE"

    def __init__(self, message: str, *, retry_after: int = 5, detail: Any = None) -> None:
        super().__init__(message, detail=detail)
        self.retry_after = retry_after


class RemoteError(LadingError):
    """Another registry, or the way to it, does not do what was asked."""


class Unreachable(RemoteError):
    """Nobody answers: no such host, nothing listens, the connection breaks again and again."""


class Untrusted(RemoteError):
    """The other side's certificate does not convince, or it does not speak TLS where it must."""


class BadAnswer(RemoteError):
    """The other side answers, and not as the protocol says."""


class CredentialsError(LadingError):
    """A file or a helper that keeps credentials does not work; the message never has a credential in it."""


class LocalError(LadingError):
    """A file or folder of this machine cannot be used: not writable, full, or not what it should be."""


class StartError(LadingError):
    """The program cannot start, or a command cannot run; ``message`` is for a terminal."""


class ConfigurationError(StartError):
    """Settings are wrong. ``problems`` has a line each, beginning with the key's dotted path."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class StoreError(StartError):
    """The store is not usable as it is: not writable, an unknown layout, made by a newer version."""


class StoreFull(StoreError):
    """The store has no room for more; what is in it can be read."""
