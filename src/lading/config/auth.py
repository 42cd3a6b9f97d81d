"""``auth``: who may do what. None of it given, everyone may do everything."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import model_validator

from lading.config.fields import After, Anything, Flag, Section, Text, setting

METHODS = ("htpasswd", "token", "silly", "none")
ALGORITHMS = (
    "EdDSA", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512",
    "ES256", "ES384", "ES512", "PS256", "PS384", "PS512",
)  # fmt: skip


def _algorithms(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in ALGORITHMS:
            raise ValueError(f"{name[:60]!r} is not a signing algorithm; there are {', '.join(ALGORITHMS)}")
        if name.startswith("HS"):
            raise ValueError(
                f"{name} signs with a shared secret, and rootcertbundle and jwks hold public keys: whoever reads those "
                "could sign tokens; use EdDSA, ES, PS or RS algorithms"
            )
    return names


class HTPasswd(Section):
    go_map: ClassVar[bool] = True

    realm: Text = setting("", "The realm named in the challenge. Required.")
    path: Text = setting("", "The htpasswd file, bcrypt entries only; read again when it changes. Required.")


class Token(Section):
    go_map: ClassVar[bool] = True

    realm: Text = setting("", "The URL of the token server, named in the challenge. Required.")
    service: Text = setting("", "The name of this registry: the audience of its tokens. Required.")
    issuer: Text = setting("", "Who must have issued a token. Required.")
    rootcertbundle: Text = setting("", "PEM file of certificates whose keys sign tokens. This or jwks is required.")
    jwks: Text = setting("", "JSON Web Key Set file of the keys that sign tokens. This or rootcertbundle is required.")
    signingalgorithms: Annotated[tuple[Text, ...], After(_algorithms)] = setting(
        (),
        "The algorithms a token may be signed with; empty: every one for public keys. HS256 and its kin are refused.",
    )
    autoredirect: Flag = setting(False, "Name this registry's own host and autoredirectpath as the realm.")
    autoredirectpath: Text = setting("/auth/token/", "The path of the realm when autoredirect is on.")


class Auth(Section):
    """At most one method; :attr:`method` names it."""

    go_map: ClassVar[bool] = True
    go_word: ClassVar[bool] = True

    htpasswd: HTPasswd | None = setting(None, "Users and passwords from a file.")
    token: Token | None = setting(None, "Tokens signed by a token server elsewhere.")
    silly: Anything = setting(
        None,
        "registry:2's test of its own: any Authorization header is let in.",
        refused="it lets in whoever sends any Authorization header at all; use auth.htpasswd, or no auth to be open",
    )
    none: Anything = setting(None, "Let everyone in, as without auth.")

    @model_validator(mode="before")
    @classmethod
    def _methods(cls, given: Any) -> Any:
        """A word is the method's name; a method given without keys (``htpasswd:``) is given all the same."""
        if isinstance(given, str):
            return {str(given): {}} if given else {}
        if isinstance(given, Mapping):
            return {name: {} if value is None and name in METHODS else value for name, value in given.items()}
        return given

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that were named, one at most when the configuration is sound."""
        return tuple(name for name in METHODS if name in self.model_fields_set and getattr(self, name) is not None)

    @property
    def method(self) -> Literal["htpasswd", "token"] | None:
        """The method in use; ``None``: no authentication."""
        if self.htpasswd is not None:
            return "htpasswd"
        return "token" if self.token is not None else None
