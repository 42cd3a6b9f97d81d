"""Sections of registry:2 that Lading does not need, or does not have (yet): read, so that each is answered by name."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import SecretStr

from lading.config.fields import Anything, Flag, Secret, Section, Text, group, setting


class Middleware(Section):
    name: Text = setting("", "The middleware's name.")
    disabled: Flag = setting(False, "Whether it is off.")
    options: Mapping[str, Anything] = setting({}, "Its options.")


class RedisPool(Section):
    maxidle: Anything = setting(None, "Connections kept open.")
    maxactive: Anything = setting(None, "Connections open at once.")
    idletimeout: Anything = setting(None, "How long a connection is kept.")


class RedisTLS(Section):
    enabled: Anything = setting(None, "Speak TLS.")
    certificate: Text = setting("", "The client's certificate.")
    key: Text = setting("", "Its key.")
    rootcas: tuple[Text, ...] = setting((), "Authorities of the server.")


class Redis(Section):
    """registry:2 keeps its cache of blob sizes here; ``addr`` and ``pool`` are version 2's, the rest version 3's."""

    go_inlined: ClassVar[str] = "OPTIONS"

    addr: Text = setting("", "The server.")
    addrs: tuple[Text, ...] = setting((), "The servers.")
    pool: RedisPool = group("Connections.")
    clientname: Text = setting("", "The client's name.")
    db: Anything = setting(0, "The database's number.")
    protocol: Anything = setting(0, "The protocol's version.")
    username: Text = setting("", "The user.")
    password: Secret = setting(SecretStr(""), "The password.")
    sentinelusername: Text = setting("", "The sentinel's user.")
    sentinelpassword: Secret = setting(SecretStr(""), "The sentinel's password.")
    maxretries: Anything = setting(0, "Tries.")
    minretrybackoff: Anything = setting(0, "The least wait between tries.")
    maxretrybackoff: Anything = setting(0, "The longest wait between tries.")
    dialtimeout: Anything = setting(0, "How long connecting may take.")
    readtimeout: Anything = setting(0, "How long an answer may take.")
    writetimeout: Anything = setting(0, "How long a command may take.")
    contexttimeoutenabled: Anything = setting(False, "Whether requests' deadlines count.")
    poolfifo: Anything = setting(False, "Which connection is used first.")
    poolsize: Anything = setting(0, "Connections at most.")
    pooltimeout: Anything = setting(0, "How long to wait for a connection.")
    minidleconns: Anything = setting(0, "Idle connections at least.")
    maxidleconns: Anything = setting(0, "Idle connections at most.")
    maxactiveconns: Anything = setting(0, "Connections in use at most.")
    connmaxidletime: Anything = setting(0, "How long a connection may idle.")
    connmaxlifetime: Anything = setting(0, "How long a connection may live.")
    maxredirects: Anything = setting(0, "Redirects followed.")
    readonly: Anything = setting(False, "Ask replicas.")
    routebylatency: Anything = setting(False, "Ask the nearest.")
    routerandomly: Anything = setting(False, "Ask any.")
    mastername: Text = setting("", "The sentinel's master.")
    disableidentity: Anything = setting(False, "Do not name the client.")
    identitysuffix: Text = setting("", "Added to the client's name.")
    unstableresp3: Anything = setting(False, "Features not settled yet.")
    tls: RedisTLS = group("TLS.")


class Schema1(Section):
    signingkeyfile: Text = setting(
        "", "The key that signs them.", go="TrustKey", no_effect="schema 1 manifests are not served, so none is signed"
    )
    enabled: Flag = setting(
        False,
        "Take and serve Docker schema 1 manifests.",
        refused="schema 1 is obsolete and insecure, and registry 3 has removed it; push the images again with any "
        "docker since 1.10, and remove compatibility.schema1",
    )


class Compatibility(Section):
    schema1: Schema1 = group("Docker's first form of manifests.")


class Bugsnag(Section):
    apikey: Secret = setting(SecretStr(""), "The key.")
    releasestage: Text = setting("", "The stage.")
    endpoint: Text = setting("", "The server.")


class NewRelic(Section):
    licensekey: Secret = setting(SecretStr(""), "The key.")
    name: Text = setting("", "The name shown there.")
    verbose: Flag = setting(False, "Say more.")


class Reporting(Section):
    bugsnag: Bugsnag = group("Bugsnag.")
    newrelic: NewRelic = group("New Relic.", go="NewRelic")
