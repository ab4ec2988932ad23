"""What a configuration may hold, with its defaults. Loading it from YAML is `load.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class Secret:
    """A value that is never shown: not in `repr`, `str`, logs or tracebacks. `reveal()` gives it."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        return self.__value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self.reveal()

    def __hash__(self) -> int:
        return hash(self.__value)


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
    url: str = "sqlite:///infobip-exporter.db"


@dataclass(frozen=True, slots=True)
class Web:
    listen_address: str = "0.0.0.0:10470"
    config_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Log:
    level: str = "info"
    format: str = "logfmt"


@dataclass(frozen=True, slots=True)
class Config:
    accounts: tuple[Account, ...]
    poll: Poll = Poll()
    metrics: Metrics = Metrics()
    state: State = State()
    web: Web = Web()
    log: Log = Log()
