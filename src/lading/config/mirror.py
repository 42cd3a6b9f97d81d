"""``proxy`` and ``mirrors``: other registries that are asked for what is not here. registry:2's keys, and more."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import SecretStr

from lading.config.fields import After, Anything, Duration, Flag, Secret, Section, Size, Text, group, lasting, setting

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PREFIX = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*/?", re.ASCII)
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?", re.ASCII)


def _prefix(text: str) -> str:
    if text and (len(text) > 128 or _PREFIX.fullmatch(text) is None):
        raise ValueError("is nothing a repository's name may begin with; write it as docker.io or team/hub")
    return text.rstrip("/")


def _hosts(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if _HOST.fullmatch(name.lower()) is None:
            raise ValueError(f"{name[:60]!r} is no host[:port], as docker.io")
    return tuple(name.lower() for name in names)


Hosts = Annotated[tuple[Text, ...], After(_hosts)]


class ProxyExec(Section):
    command: Text = setting("", "A credential helper, docker-credential-NAME, that is asked for user and password.")
    lifetime: Duration = setting(timedelta(0), "How long its answer holds; 0: until the process ends.")


class Upstream(Section):
    """Another registry, and how it is mirrored."""

    remoteurl: Text = setting("", "The registry mirrored, as https://registry-1.docker.io. Empty: no mirror.")
    username: Text = setting("", "The user there; empty: nobody in particular.")
    password: Secret = setting(SecretStr(""), "The password there.")
    passwordfile: Text = setting("", "Lading: a file that holds the password, read when it is needed.")
    exec: ProxyExec = group("User and password from a program.")
    ttl: Duration = setting(
        timedelta(hours=168),
        "How long content stays that nobody asks for; 0: for ever. In proxy, also for proxy projects.",
    )
    maxsize: Size = setting(
        0, "Lading: how many bytes of it to keep, as 100GiB; what was longest not asked for goes. 0: any number."
    )
    revalidate: Annotated[Duration, lasting("0s", "8760h")] = setting(
        timedelta(minutes=1),
        "Lading: how long a tag is served before the other registry is asked whether it moved. In proxy, also for proxy projects.",
    )
    innerredirects: Flag = setting(
        False, "Lading: whether a registry on the internet may redirect a download to an address of a private network."
    )
    allow: tuple[Text, ...] = setting(
        (), "Lading: the repositories handed out, by their names there, as library/*; * is any text. Empty: all."
    )
    deny: tuple[Text, ...] = setting((), "Lading: repositories not handed out, also of those allowed.")


class Proxy(Upstream):
    cachewritetimeout: Anything = setting(
        None, "How long storing may take.", no_effect="what is fetched is stored while it arrives"
    )


class Mirror(Upstream):
    prefix: Annotated[Text, After(_prefix)] = setting(
        "", "What its repositories' names begin with here, as docker.io or team/hub. Required."
    )
    namespaces: Hosts = setting(
        (), "Whose names it answers for where a client says whose it means (containerd's ?ns=), as docker.io."
    )
    hosts: Hosts = setting(
        (), "Host names of this server under which the upstream's names go without the prefix, for dockerd."
    )
    public: Flag = setting(
        False, "With accounts: whether everybody may pull, if the prefix's project is not there yet and is made."
    )

    @property
    def begins(self) -> str:
        """The prefix with its slash."""
        return f"{self.prefix}/"

    @property
    def project(self) -> str:
        """The project its repositories are in, with accounts."""
        return self.prefix.partition("/")[0]
