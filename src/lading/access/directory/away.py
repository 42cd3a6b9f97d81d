"""What is raised where a directory cannot be asked."""

from __future__ import annotations

from lading.errors import Unavailable


class Away(Unavailable):
    """The directory does not answer, or not as it should. ``why`` is for administrators; no secret is in it.

    ``silent``: nobody answers at all, so that to ask again at once would only take as long again; ``pause`` is how long
    it is left alone then, in seconds.
    """

    def __init__(self, why: str, *, silent: bool = False, pause: int = 10) -> None:
        super().__init__(
            "the directory that knows the users cannot be asked now; try again later, or tell the registry's "
            "administrator",
            retry_after=pause,
        )
        self.why = why
        self.silent = silent
