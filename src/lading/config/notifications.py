"""``notifications``: events posted to other services."""

from datetime import timedelta
from typing import Annotated, Literal

from lading.config.fields import (
    Duration,
    Flag,
    HttpUrl,
    SecretHeaders,
    Section,
    Text,
    Whole,
    between,
    group,
    instead_of_zero,
    lasting,
    one_of,
    setting,
)
from lading.config.values import URL

Action = Annotated[Literal["pull", "push", "mount", "delete"], one_of("pull", "push", "mount", "delete")]


class Ignore(Section):
    mediatypes: tuple[Text, ...] = setting((), "Media types whose events are not sent.")
    actions: tuple[Action, ...] = setting((), "Actions whose events are not sent: pull, push, mount, delete.")


class Endpoint(Section):
    name: Text = setting("", "What to call the service; each endpoint has its own. Required.")
    disabled: Flag = setting(False, "Send nothing.")
    url: HttpUrl = setting(URL(""), "Where to post events. Required.")
    headers: SecretHeaders = setting({}, "Headers of each request; each has a list of values. Never shown.")
    timeout: Annotated[Duration, instead_of_zero(timedelta(seconds=1)), lasting("1us", "1h")] = setting(
        timedelta(seconds=1), "How long one request may take."
    )
    threshold: Annotated[Whole, instead_of_zero(10), between(1, 1_000_000)] = setting(
        10, "After how many failures to wait before the next try."
    )
    backoff: Annotated[Duration, instead_of_zero(timedelta(seconds=1)), lasting("1us", "24h")] = setting(
        timedelta(seconds=1), "How long to wait then."
    )
    ignoredmediatypes: tuple[Text, ...] = setting(
        (), "Media types whose events are not sent; the same as ignore.mediatypes."
    )
    ignore: Ignore = group("Events that are not sent: those that either list names.")

    def ignores(self, action: str, mediatype: str) -> bool:
        """Whether an event stays here: its action or its media type is on a list."""
        return (
            action in self.ignore.actions or mediatype in self.ignore.mediatypes or mediatype in self.ignoredmediatypes
        )


class Events(Section):
    includereferences: Flag = setting(False, "Name in a manifest's event what the manifest refers to.")


class Notifications(Section):
    events: Events = group("What events say.", go="EventConfig")
    endpoints: tuple[Endpoint, ...] = setting((), "The services told.")
