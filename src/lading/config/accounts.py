"""``accounts``: users, projects and roles of this registry's own."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import SecretStr

from lading.config.fields import (
    After,
    Before,
    Duration,
    Flag,
    Secret,
    Section,
    Text,
    Whole,
    as_networks,
    between,
    group,
    lasting,
    natural,
    one_of,
    setting,
)
from lading.config.ldap import Ldap


def _lists(given: Any) -> Any:
    given = natural(given)
    if not isinstance(given, Mapping):
        return given
    return {name: value if isinstance(value, list) else [value] for name, value in given.items()}


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return text


def _label(text: str) -> str:
    if not text or len(text) > 128 or not text.isprintable() or '"' in text or "\\" in text:
        raise ValueError("must be 1 to 128 printable characters without quotes and backslashes")
    return text


def _header(text: str) -> str:
    if text and re.fullmatch(r"[A-Za-z0-9-]{1,64}", text) is None:
        raise ValueError("must be the name of a header, as Client-Cert")
    return text


def _url(text: str) -> str:
    if text and (not text.startswith(("http://", "https://")) or '"' in text or not text.isprintable() or " " in text):
        raise ValueError("must be a URL, as https://registry.example.com/service/token")
    return text


class Password(Section):
    minlength: Annotated[Whole, between(6, 128)] = setting(8, "The fewest characters a local user's password may have.")
    mixed: Flag = setting(True, "Ask for a small letter, a large one and a digit, as Harbor does.")


class Lockout(Section):
    attempts: Annotated[Whole, between(0, 10_000)] = setting(
        10, "Failed logins within window after which an account's password is not looked at for duration; 0: never."
    )
    addressattempts: Annotated[Whole, between(0, 1_000_000)] = setting(
        100, "The same for a client's address, whatever the names it tries; 0: never."
    )
    window: Annotated[Duration, lasting("10s", "24h")] = setting(timedelta(minutes=10), "Over how long failures count.")
    duration: Annotated[Duration, lasting("1s", "24h")] = setting(timedelta(minutes=10), "How long a lock lasts.")


class Audit(Section):
    pulls: Annotated[Literal["none", "summed", "each"], one_of("none", "summed", "each")] = setting(
        "summed", "Pulls: none, one row a minute for each caller and artifact with a count, or each of them."
    )
    keep: Annotated[Duration, lasting("1h", "876000h")] = setting(timedelta(hours=2160), "How long rows are kept.")
    syslog: Text = setting("", "Send each row to syslog too: a socket as /dev/log, or host:port for UDP.")


class CertificateRule(Section):
    commonname: Text = setting("", "The subject's common name; * stands for one or more characters other than /.")
    email: Text = setting("", "The same for an e-mail address among the subject's alternative names.")
    uri: Text = setting("", "The same for a URI among them, as spiffe://example.com/ns/ci/sa/*.")
    user: Text = setting("", "The user that such a certificate stands for; * is what stood there.")
    robot: Text = setting("", "The robot, without its prefix, as team+*.")


class Certificates(Section):
    rules: tuple[CertificateRule, ...] = setting(
        (),
        "Whom a client's certificate stands for: one of commonname, email, uri; and user or robot. The first counts.",
    )
    header: Annotated[Text, After(_header)] = setting(
        "", "The header in which a proxy of trustedproxies hands a client's certificate on; empty: none does."
    )
    authorities: tuple[Text, ...] = setting(
        (), "With header: PEM files of the authorities that client certificates behind the proxy come from."
    )


class Oidc(Section):
    name: Annotated[Text, After(_label)] = setting("SSO", "What the provider is called on the page to log in.")
    issuer: Annotated[Text, After(_url)] = setting(
        "", "The provider's issuer URL, below which its /.well-known/openid-configuration is. Required."
    )
    clientid: Text = setting("", "The client id it gave us. Required.")
    clientsecret: Secret = setting(SecretStr(""), "The client secret it gave us; empty for a public client.")
    clientsecretfile: Text = setting("", "A file that holds the client secret instead.")
    scopes: tuple[Text, ...] = setting(
        ("openid", "profile", "email", "offline_access"),
        "What is asked of the provider; without offline_access it may not be possible to ask again later.",
    )
    groupsclaim: Text = setting("", "The claim that lists a user's groups; empty: groups are not taken over.")
    admingroup: Text = setting("", "Members of this group administer the registry.")
    groupfilter: Annotated[Text, After(_pattern)] = setting(
        "", "A regular expression; groups in whose names it finds nothing are passed over."
    )
    userclaim: Text = setting(
        "", "The claim that has the user's name here; empty: preferred_username, or what is like it."
    )
    autoonboard: Flag = setting(False, "Make a user at the first login without asking for a name.")
    recheck: Annotated[Duration, lasting("10s", "24h")] = setting(
        timedelta(minutes=1), "After how long the provider is asked again whether a user is still there."
    )
    unchecked: Annotated[Duration, lasting("1m", "8760h")] = setting(
        timedelta(hours=24),
        "How long sessions and CLI secrets last after a login, where it gave no refresh token to ask with.",
    )
    ca: Text = setting("", "A PEM file with authorities to trust besides the system's.")


class Trust(Section):
    name: Annotated[Text, After(_label)] = setting("", "The name of the robot that is made for it. Required.")
    project: Text = setting("", "The project it is in; * for every project. Required.")
    allow: tuple[Text, ...] = setting(("repository:pull,push",), "What it may, as for lading admin robot create.")
    issuer: Annotated[Text, After(_url)] = setting("", "Whose tokens are taken: the issuer's URL. Required.")
    audience: Text = setting("", "For which audience they must be, exactly and alone. Required.")
    claims: Annotated[Mapping[str, tuple[Text, ...]], Before(_lists)] = setting(
        {}, "Claims they must have, each with a pattern or a list of them: * is text without a slash, ** any. Required."
    )
    maxage: Annotated[Duration, lasting("1m", "24h")] = setting(
        timedelta(hours=1), "How long ago they may have been issued."
    )

    @property
    def grants(self) -> tuple[tuple[str, str], ...]:
        """Resources and actions of ``allow``."""
        pairs = (text.partition(":") for text in self.allow)
        return tuple((resource, action) for resource, _, actions in pairs for action in actions.split(","))


class Session(Section):
    idle: Annotated[Duration, lasting("1m", "720h")] = setting(
        timedelta(hours=1), "How long a browser's login lasts without a request."
    )
    lifetime: Annotated[Duration, lasting("1m", "8760h")] = setting(
        timedelta(hours=12), "How long it lasts whatever happens."
    )


class Accounts(Section):
    enabled: Flag = setting(True, "Keep accounts. Once they were on they stay on until this says false.")
    admin: Annotated[Text, After(_label)] = setting("admin", "The name of the first administrator.")
    adminpassword: Secret = setting(
        SecretStr(""),
        "The first administrator's password, read at the first start alone; LADING_ADMIN_PASSWORD is the same. Without "
        "either one is made and shown once.",
    )
    realm: Annotated[Text, After(_url)] = setting(
        "", "The token service's URL as clients reach it; empty: /service/token on whatever host they asked."
    )
    service: Annotated[Text, After(_label)] = setting("lading", "The audience of tokens.")
    issuer: Annotated[Text, After(_label)] = setting("lading", "The issuer of tokens.")
    services: tuple[Text, ...] = setting(
        (), "Other registries that trust tokens of this one, by the name each has for itself (auth.token.service)."
    )
    tokenlifetime: Annotated[Duration, lasting("1m", "24h")] = setting(
        timedelta(minutes=10), "How long a token is good for."
    )
    refreshlifetime: Annotated[Duration, lasting("1h", "8760h")] = setting(
        timedelta(hours=720), "How long a docker login with an identity token is good for after its last use."
    )
    keylifetime: Annotated[Duration, lasting("24h", "87600h")] = setting(
        timedelta(hours=2160), "After how long another key signs tokens."
    )
    keyfile: Text = setting(
        "",
        "The file with the key that seals stored secrets, made when missing; empty: lading/seal.key beside the index.",
    )
    anonymous: Flag = setting(True, "Let callers without a name pull from public projects.")
    public: Flag = setting(False, "Make new projects public unless their maker says otherwise.")
    createonpush: Flag = setting(False, "Make a project when an administrator pushes into one that is not there.")
    selfregistration: Flag = setting(False, "Let people make accounts for themselves.")
    everyonecreates: Flag = setting(True, "Let every user make projects; otherwise only administrators do.")
    trustedproxies: Annotated[tuple[Text, ...], After(as_networks)] = setting(
        ("127.0.0.0/8", "::1/128"),
        "Proxies whose X-Forwarded-For tells the client's address, for locks and the audit log.",
    )
    password: Password = group("Which passwords local users may have.")
    lockout: Lockout = group("When failed logins lock.")
    identitynetworks: Annotated[tuple[Text, ...], After(as_networks)] = setting(
        (), "Networks besides the public ones in which identity providers may be, as 10.0.0.0/8."
    )
    oidc: Oidc | None = setting(None, "An OpenID Connect provider to log in by.")
    trust: tuple[Trust, ...] = setting((), "Jobs of CI systems that may log in with the token they have there.")
    session: Session = group("How long browsers stay logged in.")
    ldap: Ldap | None = setting(None, "A directory (LDAP, Active Directory) whose people log in here.")
    audit: Audit = group("What is kept of who did what.")
    certificates: Certificates = group("Client certificates in place of passwords.")


def oidc_problems(section: Oidc) -> Iterator[tuple[str, str]]:
    """What cannot be of a provider, each with its key."""
    for key in ("issuer", "clientid"):
        if not getattr(section, key):
            yield key, "is required"
    if section.clientsecret.get_secret_value() and section.clientsecretfile:
        yield "clientsecretfile", "cannot go with clientsecret: keep one of the two"
    if "openid" not in section.scopes:
        yield "scopes", "openid must be among them"
    if section.admingroup and not section.groupsclaim:
        yield "admingroup", "needs groupsclaim, which says where a user's groups are told"
