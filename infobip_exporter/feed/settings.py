"""All of a configuration that one feed depends on."""

from dataclasses import dataclass

from infobip_exporter.config.schema import Metrics, Poll


@dataclass(frozen=True, slots=True)
class Settings:
    """All of a configuration that one feed depends on."""

    account: str
    channel: str
    poll: Poll
    metrics: Metrics
    requests_per_minute: int
    filters: str = ""
    """Tells whether the account's filters have changed; holds none of their values."""
    log_failures: bool = False

    @property
    def name(self) -> str:
        return f"{self.account}/{self.channel}"
