"""``Configuration``: every setting, typed, with registry:2's names.

The attributes are the YAML keys, so ``configuration.storage.maintenance.uploadpurging.age`` is what a file calls
``storage: {maintenance: {uploadpurging: {age: 168h}}}``. Durations are ``timedelta``, sizes ``int`` bytes, lists
tuples, secrets ``SecretStr``. Made by ``lading.config.load.load``, which checks what single keys cannot tell.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import PrivateAttr, model_validator

from lading.config.accounts import Accounts
from lading.config.auth import Auth
from lading.config.fields import Section, Text, group, one_of, setting
from lading.config.foreign import Compatibility, Middleware, Redis, Reporting
from lading.config.health import Health
from lading.config.http import HTTP
from lading.config.log import Log
from lading.config.mirror import Mirror, Proxy
from lading.config.notifications import Notifications
from lading.config.own import Collect, Database, Jobs, Limits, Replication, Search, Server
from lading.config.storage import Storage
from lading.config.validation import Catalog, Policy, Tags, Validation
from lading.config.values import URL


class Configuration(Section):
    """The whole configuration, and where it came from."""

    version: Text = setting("0.1", "The form of the file; 0.1 is the only one. Required in a file.")
    log: Log = group("What is logged, and how.")
    loglevel: Annotated[Literal["", "error", "warn", "info", "debug"], one_of("error", "warn", "info", "debug", "")] = (
        setting("", "Deprecated, use log.level; counts where that is absent.")
    )
    storage: Storage = group("Where blobs lie. Exactly one driver is required in a file.")
    auth: Auth = group("Who may do what; without it everyone may do everything. At most one method.")
    middleware: Mapping[str, tuple[Middleware, ...]] = setting(
        {},
        "Go code hooked into registry:2: registry, repository and storage.",
        refused="middlewares are Go code inside registry:2; put a proxy or a CDN in front of Lading instead, and remove "
        "the entry or set disabled: true",
    )
    http: HTTP = group("Where to listen, and how to answer.")
    notifications: Notifications = group("Events posted to other services.")
    redis: Redis = group(
        "registry:2's connection to Redis.",
        no_effect="registry:2 keeps its cache of blob sizes there, and Lading's index answers what that cache answered",
    )
    health: Health = group("What is looked at to say whether the registry is well.")
    proxy: Proxy = group(
        "The whole registry as a mirror of another one, which is asked for what is not here; pushes are refused."
    )
    mirrors: tuple[Mirror, ...] = setting(
        (), "Lading: other registries mirrored beside the repositories of this one, each below a prefix of its own."
    )
    validation: Validation = group("What manifests must fulfil.")
    policy: Policy = group("What repositories may hold.")
    catalog: Catalog = group("The list of repositories.")
    tags: Tags = group("The list of tags.")
    compatibility: Compatibility = group("Older forms.")
    reporting: Reporting = group(
        "Errors reported to Bugsnag or New Relic.",
        refused="errors are not sent to third parties; collect Lading's logs and metrics, and remove reporting",
    )
    database: Database = group("Lading: the index.")
    server: Server = group("Lading: the processes.")
    limits: Limits = group("Lading: bounds on what clients send.")
    collect: Collect = group("Lading: removal of what nothing refers to.")
    jobs: Jobs = group("Lading: work done in the background.")
    search: Search = group("Lading: docker search.")
    replication: Replication = group("Lading: images brought to other registries and from them.")
    accounts: Accounts | None = setting(
        None, "Lading: users, projects and roles of its own. Naming the section is enough to have them."
    )

    _source: Path | None = PrivateAttr(None)
    _notices: tuple[str, ...] = PrivateAttr(())
    _variables: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _accounts_named(cls, given: Any) -> Any:
        """``accounts:`` without keys asks for accounts; taken for absent it would leave the registry open."""
        if isinstance(given, Mapping) and "accounts" in given and given["accounts"] is None:
            return {**given, "accounts": {}}
        return given

    def came_from(self, source: Path | None, variables: Mapping[str, str], notices: tuple[str, ...]) -> Self:
        """Note where this came from; for the loader."""
        self._source, self._variables, self._notices = source, variables, notices
        return self

    @property
    def source(self) -> Path | None:
        """The file this was read from; ``None``: the built-in default."""
        return self._source

    @property
    def notices(self) -> tuple[str, ...]:
        """What to tell at start: keys without effect, variables that name nothing, surprises. One line each.

        That the registry is open to others (:attr:`is_open` and not :attr:`is_local`) is for the caller to tell.
        """
        return self._notices

    @property
    def variables(self) -> Mapping[str, str]:
        """Dotted key → the environment variable that set it."""
        return self._variables

    @property
    def level(self) -> str:
        """The log level in force: ``log.level``, or else the old ``loglevel``."""
        return self.loglevel if self.loglevel and "level" not in self.log.model_fields_set else self.log.level

    @property
    def root(self) -> Path | None:
        """The storage's root directory; ``None`` in memory and in an object store."""
        if self.storage.driver != "filesystem":
            return None
        filesystem = self.storage.filesystem
        return Path(filesystem.rootdirectory if filesystem else "/var/lib/registry")

    @property
    def index(self) -> URL | None:
        """Where the index is; ``None``: in a temporary file, the store being in memory."""
        if self.database.url:
            return self.database.url
        return URL(f"sqlite:///{self.root / 'lading' / 'index.sqlite'}") if self.root else None

    @property
    def is_open(self) -> bool:
        """Whether whoever reaches the registry may push: neither authentication nor client certificates."""
        asks = self.http.tls.clientcas and self.http.tls.clientauth == "require-and-verify-client-cert"
        return self.auth.method is None and not asks and not (self.accounts is not None and self.accounts.enabled)

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it: loopback, or a unix socket."""
        if self.http.net == "unix":
            return True
        host = self.http.address[0]
        return host in {"localhost", "::1"} or host.startswith("127.")
