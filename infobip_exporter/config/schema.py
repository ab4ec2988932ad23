"""What a configuration may hold: each key with its rule and its default. Loading it from YAML is `load.py`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from infobip_exporter.config import addresses, rules
from infobip_exporter.config.postgres_url import is_postgres, split_password
from infobip_exporter.config.sections import (
    EXISTING_FILE,
    FILE,
    Whole,
    each,
    made,
    members,
    one_of,
    read,
    section,
    sound,
    together,
)
from infobip_exporter.config.tree import Value
from infobip_exporter.model.channels import MAX_LIST_LENGTH
from infobip_exporter.model.labels import optional_labels
from infobip_exporter.model.secret import Secret

_MINUTE_S, _HOUR_S = 60, 3600

SHORTEST_LEASE_S = 3
"""A renewal a second; a database that is restarted takes about as long."""

KINDS = ("api_key", "api_key_file", "basic_auth", "oauth2", "authorization")
"""The ways to authenticate, of which an account has one."""

FILTERS = ("sender", "destination", "bulkId", "entityId", "applicationId", "campaignReferenceId")
"""The parameters of the log that an account may be narrowed to, in the API's spelling."""

LIST_FILTERS = ("bulkId", "campaignReferenceId")
"""Those that the API takes as several values, separated by commas."""

_PARAMETER = re.compile(r"[A-Za-z0-9_.-]{1,40}")
"""What a parameter of a token request may be called. A secret in its place is longer."""
_OWN_PARAMETERS = {"client_id", "client_secret", "grant_type", "scope"}


def _endpoint_params(value: Value) -> Mapping[str, Secret]:
    given = value.entries(_PARAMETER, "parameters of the token request")
    for name in _OWN_PARAMETERS & given.keys():
        given[name].wrong("is set by the exporter; leave it out", show=False)
    return sound(made(given, lambda _: rules.password))


def _several(value: Value) -> str | None:
    """The text of a filter that may be several values, which the API takes separated by commas."""
    if not value.is_list:
        return value.checked(_FILTER)
    # Each takes a character at least: a list that is too long by that is not read.
    items = value.items() if value.length <= MAX_LIST_LENGTH else None
    joined = ",".join(text for item in items or () if (text := item.checked(_FILTER)))
    if not items or len(joined) > MAX_LIST_LENGTH:
        value.wrong(f"must list at least one, in {MAX_LIST_LENGTH} characters with the commas")
    return joined


_FILTER = rules.printable(MAX_LIST_LENGTH)
_FILTERS = {name: Whole(_several) if name in LIST_FILTERS else _FILTER for name in FILTERS}
_CHANNELS = each(rules.channel, "must list at least one, or be left out for instagram")


def _check_proxy(account: Value, given: Mapping[str, Value], found: Mapping[str, Any]) -> None:
    if "proxy_url" in given and found.get("proxy_from_environment"):
        account.wrong("has proxy_url and proxy_from_environment: true; keep one")
    if "no_proxy" in given and "proxy_url" not in given:
        account.wrong("has no_proxy without proxy_url; the environment has NO_PROXY")


def _accounts(value: Value) -> tuple["Account", ...]:
    names: set[str] = set()

    def unique(_: Value, given: Mapping[str, Value], found: Mapping[str, Any]) -> None:
        name = found.get("name")
        if name in names:
            given["name"].wrong("is the name of an account before, too; names are unique")
        if name:
            names.add(name)

    values = value.items()
    if values == []:
        value.wrong("must list at least one account")
    checks = (one_of("way to authenticate", *KINDS), _check_proxy, unique)
    return tuple(account for item in values or () if (account := read(Account, item, checks=checks)))


def _way(kind: type, secret: str) -> Whole:
    """A way to authenticate whose secret is given itself or by its file."""
    return section(kind, one_of("secret", secret, f"{secret}_file"))


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """Exactly one of `password` and `password_file` is set."""

    username: Annotated[str, rules.username]
    password: Annotated[Secret | None, rules.password] = None
    password_file: Annotated[Path | None, FILE] = None


@dataclass(frozen=True, slots=True)
class OAuth2:
    """Client credentials. Exactly one of `client_secret` and `client_secret_file` is set."""

    client_id: Annotated[str, rules.printable(256)]
    client_secret: Annotated[Secret | None, rules.password] = None
    client_secret_file: Annotated[Path | None, FILE] = None
    token_url: Annotated[str, addresses.token_url] = ""
    """Of the account's own host where it is empty."""
    scopes: Annotated[tuple[str, ...], each(rules.scope)] = ()
    endpoint_params: Annotated[Mapping[str, Secret], Whole(_endpoint_params)] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Authorization:
    """Exactly one of `credentials` and `credentials_file` is set."""

    type: Annotated[str, rules.authorization_type] = "Bearer"
    credentials: Annotated[Secret | None, rules.token] = None
    credentials_file: Annotated[Path | None, FILE] = None


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """`cert_file` and `key_file` are set together, or neither."""

    ca_file: Annotated[Path | None, FILE] = None
    cert_file: Annotated[Path | None, FILE] = None
    key_file: Annotated[Path | None, FILE] = None
    server_name: Annotated[str, addresses.server_name] = ""
    min_version: Annotated[str, rules.tls_version] = "TLS12"
    insecure_skip_verify: Annotated[bool, rules.boolean] = False


@dataclass(frozen=True, slots=True)
class Account:
    """An Infobip account. Exactly one of `api_key` to `authorization` is set."""

    name: Annotated[str, rules.printable(64), "it becomes the label `account`, such as main"]
    base_url: Annotated[
        str, addresses.base_url, "it is the account's own, such as https://xxxxx.api.infobip.com"
    ]
    api_key: Annotated[Secret | None, rules.api_key] = None
    api_key_file: Annotated[Path | None, FILE] = None
    basic_auth: Annotated[BasicAuth | None, _way(BasicAuth, "password")] = None
    oauth2: Annotated[OAuth2 | None, _way(OAuth2, "client_secret")] = None
    authorization: Annotated[Authorization | None, _way(Authorization, "credentials")] = None
    proxy_url: Annotated[Secret | None, addresses.proxy_url] = None
    """Secret, for it may hold a password."""
    no_proxy: Annotated[str, rules.no_proxy] = ""
    proxy_from_environment: Annotated[bool, rules.boolean] = True
    """Where there is no `proxy_url`."""
    tls_config: Annotated[TlsConfig, section(TlsConfig, together("cert_file", "key_file"))] = TlsConfig()
    channels: Annotated[tuple[str, ...], _CHANNELS] = ("instagram",)
    requests_per_minute: Annotated[int, rules.whole(1, 6000)] = 100
    filters: Annotated[Mapping[str, str], members(_FILTERS)] = field(default_factory=dict)

    @property
    def secrets(self) -> list[Secret]:
        """Those that the configuration holds itself, those in files left out."""
        given = [self.api_key, self.proxy_url]
        if self.proxy_url and (password := urlsplit(self.proxy_url.reveal()).password):
            given.append(Secret(unquote(password)))
        if self.basic_auth:
            given.append(self.basic_auth.password)
        if self.oauth2:
            given += [self.oauth2.client_secret, *self.oauth2.endpoint_params.values()]
        if self.authorization:
            given.append(self.authorization.credentials)
        return [secret for secret in given if secret]


@dataclass(frozen=True, slots=True)
class Poll:
    interval_s: Annotated[float, rules.duration(1, _HOUR_S)] = 30.0
    lookback_s: Annotated[float, rules.duration(0, 48 * _HOUR_S)] = 0.0
    late_arrival_s: Annotated[float, rules.duration(0, 24 * _HOUR_S)] = 120.0
    timeout_s: Annotated[float, rules.duration(1, 5 * _MINUTE_S)] = 10.0


_LABELS = each(rules.one_of(optional_labels()))
_ADDRESSES = each(addresses.listen_address, "must list at least one address", or_one=True)


@dataclass(frozen=True, slots=True)
class Metrics:
    zero_hold_s: Annotated[float, rules.duration(0, _HOUR_S)] = 60.0
    max_label_values: Annotated[int, rules.whole(1, 1_000_000)] = 1000
    max_series: Annotated[int, rules.whole(100, 1_000_000)] = 20_000
    labels: Annotated[tuple[str, ...], _LABELS] = ("entity_id", "application_id")
    duration_labels: Annotated[tuple[str, ...], _LABELS] = ()


@dataclass(frozen=True, slots=True)
class State:
    """`url` may hold a password: `place` is what can be shown."""

    url: Annotated[str, rules.state_url] = field(default="sqlite:///infobip-exporter.db", repr=False)
    lease_s: Annotated[float, rules.duration(SHORTEST_LEASE_S, 10 * _MINUTE_S)] = 15.0
    password_file: Annotated[Path | None, EXISTING_FILE] = None

    @property
    def is_postgres(self) -> bool:
        return is_postgres(self.url)

    @property
    def file(self) -> Path:
        """Of SQLite."""
        return Path(self.url.removeprefix(rules.SQLITE))

    @property
    def place(self) -> str:
        """The URL without its password."""
        return split_password(self.url)[0] if self.is_postgres else self.url

    @property
    def password(self) -> Secret | None:
        """The one in the URL."""
        return split_password(self.url)[1] if self.is_postgres else None


@dataclass(frozen=True, slots=True)
class Web:
    listen_address: Annotated[tuple[str, ...], _ADDRESSES] = ("0.0.0.0:10470",)
    """All of them; the file may name one or a list."""
    config_file: Annotated[Path | None, EXISTING_FILE] = None
    allowed_hosts: Annotated[tuple[str, ...], each(addresses.host_pattern)] = ()
    """Hosts that requests may name, without ports; none for any."""


@dataclass(frozen=True, slots=True)
class Log:
    level: Annotated[str, rules.one_of(rules.LOG_LEVELS)] = "info"
    format: Annotated[str, rules.one_of(rules.LOG_FORMATS)] = "logfmt"
    failures: Annotated[bool, rules.boolean] = False


@dataclass(frozen=True, slots=True)
class Config:
    accounts: Annotated[
        tuple[Account, ...], Whole(_accounts), "at least one is needed, see config.example.yaml"
    ]
    poll: Annotated[Poll, section(Poll)] = Poll()
    metrics: Annotated[Metrics, section(Metrics)] = Metrics()
    state: Annotated[State, section(State)] = State()
    web: Annotated[Web, section(Web)] = Web()
    log: Annotated[Log, section(Log)] = Log()

    @property
    def secrets(self) -> list[Secret]:
        """Those that the configuration holds itself."""
        of_accounts = [secret for account in self.accounts for secret in account.secrets]
        return [*of_accounts, *filter(None, [self.state.password])]
