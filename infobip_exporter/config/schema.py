"""What a configuration may hold, with its defaults. Loading it from YAML is `load.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infobip_exporter.config.postgres_url import is_postgres, split_password
from infobip_exporter.model.secret import Secret


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """Exactly one of `password` and `password_file` is set."""

    username: str
    password: Secret | None = None
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class OAuth2:
    """Client credentials. Exactly one of `client_secret` and `client_secret_file` is set."""

    client_id: str
    client_secret: Secret | None = None
    client_secret_file: Path | None = None
    token_url: str = ""
    """Of the account's own host where it is empty."""
    scopes: tuple[str, ...] = ()
    endpoint_params: Mapping[str, Secret] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Authorization:
    """Exactly one of `credentials` and `credentials_file` is set."""

    type: str = "Bearer"
    credentials: Secret | None = None
    credentials_file: Path | None = None


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """`cert_file` and `key_file` are set together, or neither."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str = ""
    min_version: str = "TLS12"
    insecure_skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """An Infobip account. Exactly one of `api_key` to `authorization` is set."""

    name: str
    base_url: str
    api_key: Secret | None = None
    api_key_file: Path | None = None
    basic_auth: BasicAuth | None = None
    oauth2: OAuth2 | None = None
    authorization: Authorization | None = None
    proxy_url: Secret | None = None
    """Secret, for it may hold a password."""
    no_proxy: str = ""
    proxy_from_environment: bool = True
    """Where there is no `proxy_url`."""
    tls_config: TlsConfig = TlsConfig()
    channels: tuple[str, ...] = ("instagram",)
    requests_per_minute: int = 100
    filters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Poll:
    interval_s: float = 30.0
    lookback_s: float = 0.0
    late_arrival_s: float = 120.0
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Metrics:
    zero_hold_s: float = 60.0
    max_label_values: int = 1000
    max_series: int = 20_000
    labels: tuple[str, ...] = ("entity_id", "application_id")
    duration_labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """`url` may hold a password: `place` is what can be shown."""

    url: str = field(default="sqlite:///infobip-exporter.db", repr=False)
    lease_s: float = 15.0
    password_file: Path | None = None

    @property
    def is_postgres(self) -> bool:
        return is_postgres(self.url)

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
    listen_address: tuple[str, ...] = ("0.0.0.0:10470",)
    """All of them; the file may name one or a list."""
    config_file: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that requests may name, without ports; none for any."""


@dataclass(frozen=True, slots=True)
class Log:
    level: str = "info"
    format: str = "logfmt"
    failures: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    accounts: tuple[Account, ...]
    poll: Poll = Poll()
    metrics: Metrics = Metrics()
    state: State = State()
    web: Web = Web()
    log: Log = Log()
