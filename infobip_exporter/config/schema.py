"""What a configuration may hold, with its defaults. Loading it from YAML is `load.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infobip_exporter.config.postgres_url import is_postgres, split_password
from infobip_exporter.model.secret import Secret


@dataclass(frozen=True, slots=True)
class Account:
    """An Infobip account. Exactly one of `api_key` and `api_key_file` is set."""

    name: str
    base_url: str
    api_key: Secret | None = None
    api_key_file: Path | None = None
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
