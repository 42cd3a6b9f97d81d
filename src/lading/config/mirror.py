"""``proxy``: the whole registry as a mirror of another one. registry:2's keys, and what it does not have."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import SecretStr

from lading.config.fields import Anything, Duration, Flag, Secret, Section, Text, group, lasting, setting


class ProxyExec(Section):
    command: Text = setting("", "A credential helper, docker-credential-NAME, that is asked for user and password.")
    lifetime: Duration = setting(timedelta(0), "How long its answer holds; 0: until the process ends.")


class Proxy(Section):
    remoteurl: Text = setting("", "The registry mirrored, as https://registry-1.docker.io. Empty: no mirror.")
    username: Text = setting("", "The user there; empty: nobody in particular.")
    password: Secret = setting(SecretStr(""), "The password there.")
    passwordfile: Text = setting("", "Lading: a file that holds the password, read when it is needed.")
    exec: ProxyExec = group(ProxyExec, "User and password from a program.")
    ttl: Duration = setting(timedelta(hours=168), "How long content stays that nobody asks for; 0: for ever.")
    revalidate: Annotated[Duration, lasting("0s", "8760h")] = setting(
        timedelta(minutes=1), "Lading: how long a tag is served before the other registry is asked whether it moved."
    )
    innerredirects: Flag = setting(
        False, "Lading: whether a registry on the internet may redirect a download to an address of a private network."
    )
    cachewritetimeout: Anything = setting(
        None, "How long storing may take.", no_effect="what is fetched is stored while it arrives"
    )
