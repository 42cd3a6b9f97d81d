"""``log``: how the registry tells what it does."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import SecretStr

from lading.config.fields import Anything, Flag, Secret, Section, Text, group, one_of, setting

Level = Annotated[Literal["error", "warn", "info", "debug"], one_of("error", "warn", "info", "debug")]
Formatter = Annotated[Literal["text", "json", "logstash"], one_of("text", "json", "logstash")]


class AccessLog(Section):
    disabled: Flag = setting(
        False, "Write no line for each request; with the formatters json and logstash the log has one instead."
    )


class SMTP(Section):
    addr: Text = setting("", "The mail server, host:port.")
    username: Text = setting("", "Its user.")
    password: Secret = setting(SecretStr(""), "Its password.")
    insecure: Flag = setting(False, "Do not check its certificate.")


class MailOptions(Section):
    smtp: SMTP = group("The mail server.")
    from_: Text = setting("", "The sender's address.", alias="from")
    to: tuple[Text, ...] = setting((), "The receivers' addresses.")


class LogHook(Section):
    disabled: Flag = setting(False, "Whether this hook is off.")
    type: Text = setting("", "The kind of hook; registry:2 knows mail.")
    levels: tuple[Text, ...] = setting((), "The levels that trigger it.")
    options: MailOptions = group("How to send the mail.", go="MailOptions")


class Log(Section):
    level: Level = setting("info", "The least level written: error, warn, info or debug.")
    formatter: Formatter = setting("text", "The form of a line: text, json or logstash.")
    fields: Mapping[str, Anything] = setting({}, "Fields added to every line.")
    accesslog: AccessLog = group("The access log.")
    hooks: tuple[LogHook, ...] = setting(
        (),
        "Mail sent when something is logged.",
        refused="mail from inside the registry is not sent; let whatever collects the logs alert you, and remove "
        "log.hooks or set disabled: true on each",
    )
    reportcaller: Flag = setting(
        False,
        "Name the place in the source that wrote a line.",
        no_effect="a line of Lading's names its event, which is unique in the source",
    )
