"""Incidents of a feed: logged once when they begin, when their cause changes, and when they end."""

from structlog.typing import FilteringBoundLogger

from infobip_exporter.feed.clock import Clock
from infobip_exporter.metrics.snapshot import Incident, PastIncident


class Incidents:
    """What keeps a feed from its work, by `where`: `API request`, `state` or `feed`."""

    def __init__(self, log: FilteringBoundLogger, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._open: dict[str, Incident] = {}
        self.last: PastIncident | None = None
        """The newest that is over."""

    @property
    def first(self) -> Incident | None:
        """The open one that began first."""
        return min(self._open.values(), key=lambda incident: incident.since_s, default=None)

    def began(self, where: str, text: str, *, refused: bool = False) -> None:
        """Something failed, or fails still. `refused`: the API does not accept the credentials."""
        known = self._open.get(where)
        if known is not None and known.text == text:
            return
        since_s = known.since_s if known is not None else self._clock.wall_s()
        self._open[where] = Incident(text, since_s, refused)
        self._log.error(f"{where} failed, retrying", error=text)

    def ended(self, where: str) -> None:
        known = self._open.pop(where, None)
        if known is not None:
            ended_s = self._clock.wall_s()
            self.last = PastIncident(known.text, known.since_s, ended_s)
            self._log.info(f"{where} works again", failed_for_s=round(ended_s - known.since_s, 1))
