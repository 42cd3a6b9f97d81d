"""What is raised where a directory cannot be asked."""

from __future__ import annotations

from lading.errors import Unavailable


class Away(Unavailable):
    """The directory does not answer, or not as it should. ``why`` is for administrators; no secret is in it."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "the directory that knows the users cannot be asked now; try again later, or tell the registry's "
            "administrator",
            retry_after=10,
        )
        self.why = why
