"""Debian's OpenLDAP, as a process of its own, with the people and groups of a small organisation in it.

There are two trees. ``dc=example,dc=org`` is as OpenLDAP's are: ``uid``, ``groupOfNames``, groups in groups and in a ring,
and somebody in a thousand groups. ``dc=ad,dc=test`` looks like an Active Directory: ``sAMAccountName``, ``memberOf``,
``userAccountControl``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import trustme

from tests.support.packages import program
from tests.support.ports import free_port
from tests.support.postgres import owner, unprivileged
from tests.support.process import Process, run

BASE, PEOPLE, GROUPS = "dc=example,dc=org", "ou=people,dc=example,dc=org", "ou=groups,dc=example,dc=org"
AD = "dc=ad,dc=test"
SEARCHER, SEARCHERS_WORD = f"cn=searcher,{BASE}", "search-word-for-ldap"
ROOT_WORD = "root-word-for-ldap"
WORD = "word-of-{name}"
"""Everybody's password."""
MANY = 1000

_CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
attributetype ( 1.2.840.113556.1.4.221 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch
  SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.8 NAME 'userAccountControl' EQUALITY integerMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.2.102 NAME 'memberOf' EQUALITY distinguishedNameMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 )
attributetype ( 1.2.840.113556.1.4.2 NAME 'objectGUID' EQUALITY octetStringMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 SINGLE-VALUE )
objectclass ( 1.2.840.113556.1.5.9 NAME 'adUser' SUP inetOrgPerson STRUCTURAL
  MUST ( sAMAccountName $ userAccountControl ) MAY ( memberOf $ objectGUID ) )
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {root}/pid
TLSCertificateFile {root}/server.pem
TLSCertificateKeyFile {root}/server.key
TLSCACertificateFile {root}/ca.pem
sizelimit unlimited
"""
_DATABASE = """
database mdb
maxsize 67108864
suffix "{suffix}"
rootdn "cn=root,{suffix}"
rootpw {word}
directory {root}/{name}
dbnosync
limits dn.exact="cn=limited,{suffix}" size=500
index objectClass,uid,member,cn,memberUid,sAMAccountName eq
access to attrs=userPassword by anonymous auth by * none
access to * by users read by anonymous auth
"""


class Slapd(Process):
    """``with Slapd() as directory:`` on free ports of 127.0.0.1, one of them with TLS from the first byte."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="lading-ldap-"))
        self.port, self.tls_port = free_port(), free_port()
        self.ca = self.root / "ca.pem"
        self._configuration = self.root / "slapd.conf"
        super().__init__(
            unprivileged("/usr/sbin/slapd", "-d", "0", "-f", self._configuration, "-h", f"{self.url}/ {self.tls_url}/"),
            log=self.root / "log",
            ready=self._answers,
            timeout=60,
        )

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"ldaps://localhost:{self.tls_port}"

    def settings(self, **more: Any) -> dict[str, Any]:
        """``accounts.ldap`` for the tree as OpenLDAP has it."""
        groups = {"basedn": GROUPS, **more.pop("groups", {})}
        return {
            "url": self.url,
            "binddn": SEARCHER,
            "bindpassword": SEARCHERS_WORD,
            "basedn": PEOPLE,
            "groups": groups,
            **more,
        }

    def start(self) -> Self:
        if not self._configuration.exists():
            self._make()
        return super().start()

    def __exit__(self, *error: object) -> None:
        super().__exit__(None, None, None)
        shutil.rmtree(self.root, ignore_errors=True)

    def change(self, ldif: str) -> None:
        """Add, change or delete entries, as ldapmodify writes it."""
        word = self.root / "word"
        word.write_text(ROOT_WORD)
        argv: list[str | Path] = [program("ldapmodify"), "-x", "-H", self.url, "-D", f"cn=root,{BASE}", "-y", word]
        run(argv, stdin=ldif)

    def add(self, name: str) -> None:
        dn, _, entry = person(name).partition("\n")
        self.change(f"{dn}\nchangetype: add\n{entry}")

    def remove(self, name: str) -> None:
        self.change(f"dn: uid={name},{PEOPLE}\nchangetype: delete\n")

    def _make(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca)
        issued = authority.issue_cert("localhost", "127.0.0.1")
        (self.root / "server.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.root / "server.key")
        parts = [_CONFIGURATION.format(root=self.root)]
        for name, suffix in (("openldap", BASE), ("ad", AD)):
            (self.root / name).mkdir()
            parts.append(_DATABASE.format(root=self.root, name=name, suffix=suffix, word=ROOT_WORD))
        self._configuration.write_text("".join(parts))
        for name, entries in ((BASE, openldap()), (AD, active_directory())):
            (self.root / f"{name}.ldif").write_text("\n".join(entries))
        if os.geteuid() == 0:
            for path in (self.root, *self.root.iterdir()):
                shutil.chown(path, owner())
        for name in (BASE, AD):
            argv: list[str | Path] = [
                "/usr/sbin/slapadd",
                "-q",
                "-f",
                self._configuration,
                "-b",
                name,
                "-l",
                self.root / f"{name}.ldif",
            ]
            run(unprivileged(*argv), directory=self.root)

    def _answers(self) -> bool:
        argv = [program("ldapsearch"), "-x", "-H", self.url, "-b", "", "-s", "base", "-LLL", "1.1"]
        return subprocess.run(argv, capture_output=True, check=False, timeout=30).returncode == 0


def person(name: str, *, mail: str = "") -> str:
    return (
        f"dn: uid={name},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name.title()} Example\n"
        f"sn: Example\nmail: {mail or f'{name}@example.org'}\nuserPassword: {WORD.format(name=name)}\n"
    )


def openldap() -> Iterator[str]:
    yield f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n"
    for unit in (PEOPLE, GROUPS):
        yield f"dn: {unit}\nobjectClass: organizationalUnit\n"
    yield (
        f"dn: {SEARCHER}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: searcher\n"
        f"userPassword: {SEARCHERS_WORD}\n"
    )
    yield (
        f"dn: cn=limited,{BASE}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: limited\n"
        f"userPassword: {SEARCHERS_WORD}\n"
    )
    yield f"dn: ou=away,{PEOPLE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: away\nref: ldap://127.0.0.1:9/\n"
    for name in ("alice", "bob", "carol", "many", "admin", "mallory"):
        yield person(name)
    yield f"dn: uid=nopass,{PEOPLE}\nobjectClass: inetOrgPerson\nuid: nopass\ncn: No Password\nsn: N\n"
    members = {
        "developers": "uid=alice,ou=People,dc=example,dc=org",
        "leads": f"cn=developers,{GROUPS}",
        "staff": f"cn=leads,{GROUPS}",
        "admins": f"uid=carol,{PEOPLE}",
        "empty": SEARCHER,
    }
    for name, member in members.items():
        ring = f"member: cn=staff,{GROUPS}\n" if name == "leads" else ""
        yield f"dn: cn={name},{GROUPS}\nobjectClass: groupOfNames\ncn: {name}\nmember: {member}\n{ring}"
    for number in range(MANY):
        yield f"dn: cn=g{number},{GROUPS}\nobjectClass: groupOfNames\ncn: g{number}\nmember: uid=many,{PEOPLE}\n"
    yield f"dn: cn=over,{GROUPS}\nobjectClass: groupOfNames\ncn: over\nmember: cn=g{MANY - 1},{GROUPS}\n"


def active_directory() -> Iterator[str]:
    yield f"dn: {AD}\nobjectClass: dcObject\nobjectClass: organization\ndc: ad\no: AD\n"
    yield f"dn: cn=Users,{AD}\nobjectClass: organizationalRole\ncn: Users\n"
    yield (
        f"dn: cn=searcher,{AD}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: searcher\n"
        f"userPassword: {SEARCHERS_WORD}\n"
    )
    for name, control in (("dora", 512), ("erwin", 514)):
        yield (
            f"dn: cn={name.title()} Example,cn=Users,{AD}\nobjectClass: adUser\ncn: {name.title()} Example\nsn: Example\n"
            f"sAMAccountName: {name.title()}\nuserAccountControl: {control}\nmail: {name}@ad.test\n"
            f"memberOf: CN=Builders,CN=Users,DC=AD,DC=test\nobjectGUID: {name}-guid\n"
            f"userPassword: {WORD.format(name=name)}\n"
        )
    yield f"dn: cn=Builders,cn=Users,{AD}\nobjectClass: groupOfNames\ncn: Builders\nmember: cn=Dora Example,cn=Users,{AD}\n"
